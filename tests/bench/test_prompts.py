"""Prompts of a given length, and prompts from a file."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from enginix.bench.prompts import Messages, from_file, synthetic, words_for
from enginix.errors import UsageError


def test_one_seed_asks_the_same_and_another_does_not() -> None:
    one, same, other = (list(islice(synthetic(9, seed), 4)) for seed in (1, 1, 2))

    assert one == same != other
    assert len({str(messages) for messages in one}) == 4


@pytest.mark.parametrize(("per_word", "template"), [(1.0, 0), (1.5, 20), (3.0, 7)])
async def test_a_prompts_length_is_found_from_the_servers_own_count(
    per_word: float, template: int
) -> None:
    async def count(messages: Messages) -> int:
        return round(len(messages[0]["content"].split()) * per_word) + template

    words = await words_for(100, count)

    assert words * per_word + template == pytest.approx(100, abs=per_word)


async def test_without_a_count_a_word_is_a_token() -> None:
    async def count(messages: Messages) -> None:
        return None

    assert await words_for(100, count) == 100


async def test_a_template_longer_than_the_prompt_leaves_one_word() -> None:
    async def count(messages: Messages) -> int:
        return len(messages[0]["content"].split()) + 500

    assert await words_for(100, count) == 1


def test_the_prompts_of_a_file_repeat(tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    path.write_text('Hello\n\n{"prompt": "Who?"}\n{"messages": [{"role": "user"}]}\n')

    asked = list(islice(from_file(path), 4))

    assert asked == [
        [{"role": "user", "content": "Hello"}],
        [{"role": "user", "content": "Who?"}],
        [{"role": "user"}],
        [{"role": "user", "content": "Hello"}],
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\n\n", "is empty; expected a prompt in each line"),
        ('Hello\n{"text": "a"}\n', "line 2: expected text, or JSON with `prompt` or `messages`"),
        ("{half\n", "line 1: expected text"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "prompts"
    path.write_text(text)

    with pytest.raises(UsageError, match=why):
        from_file(path)
