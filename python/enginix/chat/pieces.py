"""What each token of a vocabulary contributes to the text: a string, or bytes of one.

Mirrors the decoders of generating models (byte-level BPE, SentencePiece with byte fallback,
Metaspace) token by token, so that a stream costs one dictionary look-up per token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from enginix.chat.events import Answer, Plain, Reasoning
from enginix.errors import EngineDamaged


@dataclass(frozen=True, slots=True)
class Spelling:
    """How token names map to text; the first token of a text differs in some models."""

    spell: Callable[[str], bytes]
    spell_first: Callable[[str], bytes] | None = None


class Pieces(dict[int, str | bytes]):
    """Token id -> text, or bytes if they are not complete characters; filled on demand."""

    def __init__(
        self,
        name_of: Callable[[int], str | None],
        spell: Callable[[str], bytes],
        dropped: frozenset[str],
    ) -> None:
        super().__init__()
        self._name_of = name_of
        self._spell = spell
        self._dropped = dropped
        self._plain: dict[Plain, PlainEvents] = {}

    def plain(self, how: Plain) -> PlainEvents:
        """The tokens whose text passes so."""
        if how not in self._plain:
            self._plain[how] = PlainEvents(self, how)
        return self._plain[how]

    def __missing__(self, token: int) -> str | bytes:
        name = self._name_of(token)
        # Do not cache ids outside the vocabulary: a broken backend must not fill the memory.
        if name is None:
            return ""
        spelled = b"" if name in self._dropped else self._spell(name)
        try:
            piece: str | bytes = spelled.decode()
        except UnicodeDecodeError:
            piece = spelled
        self[token] = piece
        return piece


class PlainEvents(dict[int, Answer | Reasoning | None]):
    """Token id -> its event, as long as text passes; None if that depends on what surrounds it."""

    def __init__(self, pieces: Pieces, how: Plain) -> None:
        super().__init__()
        self.kind = how.kind
        self._pieces = pieces
        self._how = how
        self._texts: PlainTexts | None = None

    def texts(self, encode: Callable[[str], bytes]) -> PlainTexts:
        """Their texts, as `encode` has them, which must be the same every time."""
        if self._texts is None:
            self._texts = PlainTexts(self, encode)
        return self._texts

    def __missing__(self, token: int) -> Answer | Reasoning | None:
        piece = self._pieces[token]
        if not isinstance(piece, str) or not piece:
            return None
        plain = self[token] = self._how.kind(piece) if self._how.passes(piece) else None
        return plain


class PlainTexts(dict[int, bytes | None]):
    """Token id -> the encoded text of its event; None if it has no plain event."""

    def __init__(self, events: PlainEvents, encode: Callable[[str], bytes]) -> None:
        super().__init__()
        self._events = events
        self._encode = encode

    def __missing__(self, token: int) -> bytes | None:
        event = self._events[token]
        if event is None:
            return None
        text = self[token] = self._encode(event.text)
        return text


def read_spelling(decoder: Mapping[str, Any] | None) -> Spelling:
    """The spelling that a tokenizer.json's `decoder` describes."""
    steps = _steps(decoder)
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        return Spelling(spell_bytes)
    if kinds == ["Metaspace"]:
        mark = steps[0]["replacement"]
        keeps = steps[0].get("prepend_scheme", "always") == "never"
        return Spelling(
            lambda name: name.replace(mark, " ").encode(),
            None if keeps else lambda name: name.replace(mark, "").encode(),
        )
    strips = kinds[-1:] == ["Strip"] and _strips_one_space(steps.pop())
    if [step["type"] for step in steps] != ["Replace", "ByteFallback", "Fuse"]:
        raise EngineDamaged(
            f"tokenizer.json has the decoder {' + '.join(kinds) or 'None'}; enginix supports "
            "ByteLevel, Metaspace, and Replace + ByteFallback + Fuse (+ Strip); "
            "convert the tokenizer to one of these"
        )
    old, new = steps[0]["pattern"].get("String"), steps[0]["content"]
    spell = sentence_piece_speller(old, new)
    return Spelling(spell, (lambda name: spell(name).removeprefix(b" ")) if strips else None)


def _steps(decoder: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if decoder is None:
        return []
    return list(decoder["decoders"]) if decoder["type"] == "Sequence" else [decoder]


def _strips_one_space(step: Mapping[str, Any]) -> bool:
    return (step["content"], step["start"], step["stop"]) == (" ", 1, 0)


def sentence_piece_speller(old: str, new: str) -> Callable[[str], bytes]:
    def spell(name: str) -> bytes:
        if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
            try:
                return bytes.fromhex(name[3:5])
            except ValueError:
                pass
        return name.replace(old, new).encode()

    return spell


def spell_bytes(name: str) -> bytes:
    """Byte-level BPE stores every byte as one printable character; added tokens are plain text."""
    try:
        return bytes([BYTES[char] for char in name])
    except KeyError:
        return name.encode()


def _bytes_by_character() -> dict[str, int]:
    # GPT-2's table: https://github.com/openai/gpt-2/blob/master/src/encoder.py
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    shifted = {chr(256 + position): byte for position, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | shifted


BYTES = _bytes_by_character()
