"""Converts text to token ids and back with the `tokenizers` library.

Detokenization does not use the library: every token's text is looked up once and joined here,
where UTF-8 split over tokens is held back. At most three bytes ever wait.
"""

from __future__ import annotations

import json
import re
from array import array
from codecs import utf_8_decode
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import AddedToken

from enginix.chat.pieces import Pieces, read_spelling
from enginix.chat.reply import ALL_MARKERS
from enginix.chat.segments import SegmentCache
from enginix.errors import engine_damaged
from enginix.hub_files import engine_files

# Longer texts are tokenized without the GIL, so that other streams continue; for shorter ones
# that costs more than it saves.
LONG_TEXT = 4096
# Tokenizing a shorter chat takes no longer than looking for its parts.
REMEMBERED_TEXT = 256


class Tokenizer:
    """One checkpoint's tokenizer; shared by any number of streams and threads.

    `stop_token_ids`: the ids that end an answer, the main one first.
    `chat_tokens`: the special tokens that a rendered chat has between its messages."""

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        *,
        stop_token_ids: tuple[int, ...] = (),
        bos_token_id: int | None = None,
        chat_tokens: Collection[str] = (),
    ) -> None:
        # Some checkpoints set a truncation limit here, which would silently cut long prompts.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        decoder = tokenizer.decoder
        self._spelling = read_spelling(json.loads(decoder.__getstate__()) if decoder else None)
        added = tokenizer.get_added_tokens_decoder().values()
        self._special = frozenset(token.content for token in added if token.special)
        self._tables: dict[frozenset[str], tuple[Pieces, Pieces | None]] = {}
        cut = boundary(tokenizer, chat_tokens)
        self._segments = SegmentCache(cut, self._encode_each) if cut else None
        self.stop_token_ids = stop_token_ids
        self.bos_token_id = bos_token_id

    @classmethod
    def load(cls, directory: Path) -> Tokenizer:
        """Read tokenizer.json and the special tokens from the configuration next to it."""
        path = directory / "tokenizer.json"
        if not path.is_file():
            raise engine_damaged(f"{path} is missing, so text cannot be tokenized")
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises no narrower class
            raise engine_damaged(f"{path} cannot be read: {error}") from error
        files = engine_files(directory)
        bos = files.special_tokens.get("bos_token")
        templates = "".join((*files.chat_templates.values(), *files.special_tokens.values()))
        added = tokenizer.get_added_tokens_decoder().values()
        return cls(
            tokenizer,
            stop_token_ids=tuple(files.end_ids(tokenizer.token_to_id)),
            bos_token_id=tokenizer.token_to_id(bos) if bos else None,
            chat_tokens={token.content for token in added if token.content in templates},
        )

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def token_id(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Token ids of `text`, recognising special tokens in it.

        A rendered chat needs nothing added: its template wrote the first token. For raw prompts
        `add_special_tokens` adds the model's initial token, once.
        """
        text = _without_surrogates(text)
        if len(text) < LONG_TEXT:
            encoding = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        else:
            encoding = self._tokenizer.encode_batch_fast(
                [text], add_special_tokens=add_special_tokens
            )[0]
        ids: list[int] = encoding.ids
        doubled = add_special_tokens and ids[:2] == [self.bos_token_id] * 2
        return ids[1:] if doubled else ids

    def encode_chat(self, text: str) -> array[int]:
        """What `encode` returns for a rendered chat; parts of it may be remembered."""
        if self._segments is None or len(text) < REMEMBERED_TEXT:
            return array("i", self.encode(text))
        return self._segments.ids(_without_surrogates(text))

    def _encode_each(self, texts: Sequence[str]) -> list[list[int]]:
        if sum(map(len, texts)) < LONG_TEXT:
            return [self.encode(text) for text in texts]
        found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def decode(self, ids: Iterable[int], *, keep: Collection[str] = ()) -> str:
        """The text of `ids`, byte for byte what a stream of them gives."""
        return self.stream(keep=keep).feed(list(ids))

    def stream(self, *, keep: Collection[str] | None = None, continues: bool = False) -> TextStream:
        """A new incremental detokenizer.

        `keep`: special tokens that count as text, because a chat format uses them
        (`reply.markers`); by default those of every format. All others produce no text.
        `continues`: the text continues a prompt, so its first space is kept.
        """
        wanted = ALL_MARKERS if keep is None else frozenset(keep)
        pieces, first = self._table(wanted & self._special)
        return TextStream(pieces, None if continues else first)

    def bytes_of(self, token: int) -> bytes:
        """The bytes of one token, special ones too; empty outside the vocabulary."""
        piece = self._table(self._special)[0][token]
        return piece.encode() if isinstance(piece, str) else piece

    def _table(self, kept: frozenset[str]) -> tuple[Pieces, Pieces | None]:
        table = self._tables.get(kept)
        if table is None:
            spelling, dropped = self._spelling, self._special - kept
            first = spelling.spell_first
            table = self._tables[kept] = (
                Pieces(self._name_of, spelling.spell, dropped),
                Pieces(self._name_of, first, dropped) if first else None,
            )
        return table

    def _name_of(self, token: int) -> str | None:
        # The library raises for anything but an unsigned 32-bit number.
        return self._tokenizer.id_to_token(token) if 0 <= token < 1 << 32 else None


def _without_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def boundary(tokenizer: tokenizers.Tokenizer, wanted: Collection[str]) -> re.Pattern[str] | None:
    """Matches those of the `wanted` tokens before which a text may be cut; None if there are none.

    The library finds added tokens first, those that are not `normalized` in the original text:
    from the left, at each place the longest. Whatever follows works on the pieces between them.
    """
    added = tokenizer.get_added_tokens_decoder()
    isolated = {id: token for id, token in added.items() if not token.normalized}
    if getattr(tokenizer.model, "dropout", None) or any(
        token.single_word for token in isolated.values()
    ):
        # Random merges; tokens that are found only between certain neighbours.
        return None
    texts = [token.content for token in isolated.values()]
    found = [
        token.content
        for id, token in isolated.items()
        if token.content in wanted
        and _is_isolated_alone(token, texts)
        # Nothing is added to it, and nothing repeated, by the post-processor.
        and tokenizer.encode(token.content, add_special_tokens=False).ids == [id]
    ]
    return re.compile("|".join(map(re.escape, found))) if found else None


def _is_isolated_alone(token: AddedToken, others: Iterable[str]) -> bool:
    """Whether the library finds the token wherever its text occurs, and takes no text before it."""
    text = token.content
    # Others may take the spaces after them.
    if token.lstrip or not text or text.strip() != text:
        return False
    beginnings = tuple(text[:end] for end in range(1, len(text)))
    # Another that contains it, or begins further left, would be found instead.
    return not any(
        (text in other and text != other) or other[1:].endswith(beginnings) for other in others
    )


class TextStream:
    """Token ids in, text out; bytes of an incomplete character wait for the rest of it.

    Bytes that can never become a character turn into U+FFFD at once, as when decoding everything at
    the end. An incomplete character at the end of the answer is dropped.
    """

    __slots__ = ("_first", "_pending", "_pieces")

    def __init__(self, pieces: Pieces, first: Pieces | None) -> None:
        self._pieces = pieces
        self._first = first
        self._pending = b""

    @property
    def pieces(self) -> Pieces | None:
        """What the next tokens add to the text; None if they add to what is before them."""
        return None if self._pending or self._first is not None else self._pieces

    def feed(self, ids: Sequence[int]) -> str:
        if self._first is not None:
            return self._first_text(self._first, ids)
        text = ""
        pieces = self._pieces
        for token in ids:
            piece = pieces[token]
            if piece.__class__ is str and not self._pending:
                text += piece
            elif piece:
                text += self._join(piece)
        return text

    def _first_text(self, first: Pieces, ids: Sequence[int]) -> str:
        for position, token in enumerate(ids):
            # Dropped tokens do not count as the first.
            if self._pieces[token]:
                self._first = None
                return self._join(first[token]) + self.feed(ids[position + 1 :])
        return ""

    def _join(self, piece: str | bytes) -> str:
        data = self._pending + (piece.encode() if isinstance(piece, str) else piece)
        text, used = utf_8_decode(data, "replace", False)
        self._pending = data[used:]
        return text
