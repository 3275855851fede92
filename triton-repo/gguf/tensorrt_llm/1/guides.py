"""Constrains an answer to a JSON schema, a regular expression or a grammar as it is generated.

The work is done by llguidance, which the xllamacpp wheel has compiled in: it says which tokens may
come next.
"""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Callable
from ctypes import CDLL, Structure, c_bool, c_char_p, c_uint32, c_void_p
from dataclasses import dataclass, field

import numpy as np
from gbnf import GrammarError, lark_of
from llama_cpp import LlamaError

# TensorRT-LLM's name of a guide -> llguidance's name of a constraint.
KINDS = {
    "json": "json_schema",
    "json_schema": "json_schema",
    "regex": "regex",
    "ebnf_grammar": "lark",
}

ANY_OBJECT = '{"type": "object"}'
# JSON allows any white space between tokens: a small model that starts it never stops.
# `oneOf` is treated as `anyOf`: nothing here can ensure that no second schema matches.
JSON_OPTIONS = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "coerce_one_of": True,
}

MESSAGE_BYTES = 2000
# Larger than llguidance's structure, which llguidance fills.
INIT_BYTES = 512
# Marks a special token for llguidance: no text can contain it.
SPECIAL = b"\xff"


class TokenizerInit(Structure):
    _fields_ = (
        ("vocab_size", c_uint32),
        ("tok_eos", c_uint32),
        ("token_lens", c_void_p),
        ("token_bytes", c_char_p),
        ("tokenizer_json", c_char_p),
        ("tokenize_assumes_string", c_bool),
        ("tokenize_fn", c_void_p),
        ("use_approximate_greedy_tokenize_fn", c_bool),
        ("tokenize_user_data", c_void_p),
        ("slices", c_void_p),
        ("reserved", c_void_p * 8),
    )


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`spell` gives a token's bytes, none for a control token; `ends` end an answer."""

    size: int
    spell: Callable[[int], bytes]
    ends: tuple[int, ...]


class Guide:
    """The constraint on one answer."""

    def __init__(self, library: CDLL, matcher: int, vocabulary: Vocabulary) -> None:
        self._library = library
        self._matcher: int | None = matcher
        self._vocabulary = vocabulary
        self._ends = np.array(vocabulary.ends)
        self._size = vocabulary.size
        self._mask = np.zeros((vocabulary.size + 31) // 32, np.uint32)

    def constrain(self, logits: np.ndarray) -> None:
        """Exclude the tokens that may not come next."""
        code = self._library.llg_matcher_compute_mask_into(
            self._matcher, self._mask.ctypes.data, self._mask.nbytes
        )
        if code:
            raise self._error("the guide cannot be followed any further")
        bits = np.unpackbits(self._mask.view(np.uint8), count=self._size, bitorder="little")
        allowed = bits.view(np.bool_)
        # llguidance knows one end token; allow all of the model's.
        allowed[self._ends] = allowed[self._ends[0]]
        logits[~allowed] = -np.inf

    def accept(self, token: int) -> None:
        if token not in self._ends and self._library.llg_matcher_consume_token(
            self._matcher, token
        ):
            raise self._error(f"the guide did not expect token {token}")

    def try_first(self) -> None:
        """Compute the first allowed tokens, which is much of a guide's work."""
        self.constrain(np.zeros(self._size, np.float32))

    def copy(self) -> Guide:
        """A copy for another answer; take it before this one has advanced."""
        matcher = self._library.llg_clone_matcher(self._matcher)
        return Guide(self._library, matcher, self._vocabulary)

    def close(self) -> None:
        if self._matcher is not None:
            self._library.llg_free_matcher(self._matcher)
            self._matcher = None

    def __del__(self) -> None:
        # The cache drops guides that another thread may still be copying.
        self.close()

    def _error(self, what: str) -> LlamaError:
        message = self._library.llg_matcher_get_error(self._matcher) or b""
        # Hundreds of lines with its whole state follow.
        return LlamaError(f"{what}: {_one_line(message.partition(b'<state>')[0])}")


@dataclass(slots=True)
class Guides:
    """Makes guides for one model; prepares its vocabulary for the first guide. Thread-safe."""

    library: CDLL
    vocabulary: Vocabulary
    _init: ctypes.Array[ctypes.c_char] | None = field(default=None, init=False)
    _preparing: threading.Lock = field(default_factory=threading.Lock, init=False)

    def make(self, kind: str, text: str) -> Guide:
        """Raises LlamaError, with llguidance's own message, for a text that is not such a guide."""
        with self._preparing:
            if self._init is None:
                self._init = self._prepare()
        matcher = self.library.llg_new_matcher(
            ctypes.addressof(self._init), KINDS[kind].encode(), _constraint(kind, text).encode()
        )
        if message := self.library.llg_matcher_get_error(matcher):
            self.library.llg_free_matcher(matcher)
            raise LlamaError(f"the guide is no usable {kind}: {_one_line(message)}")
        guide = Guide(self.library, matcher, self.vocabulary)
        try:
            guide.try_first()
        except LlamaError as error:
            guide.close()
            raise LlamaError(f"the guide is no usable {kind}: no answer can follow it") from error
        return guide

    def _prepare(self) -> ctypes.Array[ctypes.c_char]:
        spelled = [self._spell(token) for token in range(self.vocabulary.size)]
        lengths = np.array([len(word) for word in spelled], np.uint32)
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        settings = TokenizerInit(
            vocab_size=self.vocabulary.size,
            tok_eos=self.vocabulary.ends[0],
            token_lens=lengths.ctypes.data,
            token_bytes=b"".join(spelled),
            use_approximate_greedy_tokenize_fn=True,
        )
        tokenizer = self.library.llg_new_tokenizer(
            ctypes.addressof(settings), message, MESSAGE_BYTES
        )
        if not tokenizer:
            raise LlamaError(
                f"this model's vocabulary cannot be guided: {_one_line(message.value)}"
            )
        init = ctypes.create_string_buffer(INIT_BYTES)
        self.library.llg_constraint_init_set_defaults(ctypes.addressof(init), tokenizer)
        return init

    def _spell(self, token: int) -> bytes:
        return self.vocabulary.spell(token) or SPECIAL + str(token).encode()


def _constraint(kind: str, text: str) -> str:
    """A guide's text in the form that llguidance accepts."""
    if kind == "ebnf_grammar":
        try:
            return lark_of(text)
        except GrammarError as error:
            raise LlamaError(f"the guide is no usable ebnf_grammar: {error}") from error
    return text if kind == "regex" else _json_constraint(kind, text)


def _json_constraint(kind: str, text: str) -> str:
    try:
        schema = json.loads(text if kind == "json_schema" else ANY_OBJECT)
    except (json.JSONDecodeError, RecursionError) as error:
        raise LlamaError(f"the guide is no usable json_schema: it is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise LlamaError(f"the guide is no usable json_schema: expected an object, got {schema!r}")
    return json.dumps({"x-guidance": JSON_OPTIONS, **schema})


def _one_line(message: bytes) -> str:
    return " ".join(message.decode(errors="replace").split())
