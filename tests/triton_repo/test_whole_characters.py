"""However an answer's tokens arrive, its parts decode to its text, and none ends in a character."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tokenizers import Tokenizer
from whole_characters import TextPart, WholeCharacters

SPELLED = {1: b"a", 2: "é".encode()[:1], 3: "é".encode()[1:], 4: b"", 5: b"\xff", 6: b"b"}


def parts(groups: Iterable[list[int]]) -> list[TextPart]:
    groups = list(groups)
    whole = WholeCharacters(SPELLED.__getitem__)
    return [
        whole.feed(group, final=number == len(groups)) for number, group in enumerate(groups, 1)
    ]


def test_an_ascii_token_is_a_part_of_its_own() -> None:
    assert parts([[1], [6]]) == [TextPart([], [1]), TextPart([1], [6])]


def test_the_tokens_of_one_character_come_together() -> None:
    assert parts([[2], [3]]) == [TextPart([], ()), TextPart([], [2, 3])]


def test_a_character_that_is_never_finished_comes_at_the_end() -> None:
    assert parts([[1], [2]]) == [TextPart([], [1]), TextPart([1], [2])]


def test_a_control_token_is_no_context() -> None:
    assert parts([[1], [4], [6]]) == [TextPart([], [1]), TextPart([1], [4]), TextPart([1], [6])]


def test_bytes_that_are_no_character_do_not_hold_up_the_rest() -> None:
    assert parts([[5], [1]]) == [TextPart([], [5]), TextPart([5], [1])]


def spell_of(tokenizer: Tokenizer) -> dict[int, bytes]:
    """Each token's bytes, from the tokenizer's byte-level alphabet."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet |= {chr(256 + place): byte for place, byte in enumerate(others)}
    added = tokenizer.get_added_tokens_decoder()
    return {
        token: b"" if token in added else bytes(alphabet[letter] for letter in word)
        for word, token in tokenizer.get_vocab().items()
    }


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_parts_of_every_recorded_answer_decode_to_it(
    size: int, tokenizer: Tokenizer, evals: list[dict[str, Any]]
) -> None:
    spelled = spell_of(tokenizer)
    for recorded in evals:
        ids = recorded["answer_ids"]
        whole, text = WholeCharacters(spelled.__getitem__), ""
        for start in range(0, len(ids), size):
            part = whole.feed(ids[start : start + size], final=start + size >= len(ids))
            context = tokenizer.decode(list(part.context_ids))
            added = tokenizer.decode([*part.context_ids, *part.ids]).removeprefix(context)
            assert "\N{REPLACEMENT CHARACTER}" not in added
            text += added
        assert text == tokenizer.decode(ids)
