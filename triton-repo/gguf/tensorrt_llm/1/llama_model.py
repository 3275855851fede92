"""A model loaded into llama.cpp, with a context of several sequences and one batch."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from guide_cache import GuideCache
from guides import KINDS, Vocabulary
from llama_cpp import LlamaError, load_library
from placement import Placement
from sampling import Chain, Sampler, Sampling, check_sampling
from stop_words import Sampled
from threads import default_threads, is_small, threads_for
from token_batch import TokenBatch

# The longest token: one of Qwen's is 128 spaces.
PIECE_BYTES = 1024

# llama_decode's code for a batch that does not fit into the memory, which stays unchanged.
NO_ROOM = 1

# The room of a small model's sequences before one of them needs more. Prompts of 30,000 tokens are
# rare, and room for 16 of them is a gigabyte, which takes seconds to clear.
FIRST_ROOM = 4096


class LlamaModel:
    """`parallel` sequences of up to `context` tokens; a step reads `prompt_tokens` of prompts.

    `threads`: 0 for as many as suit the model and this machine.
    `ends`: tokens that end a guided answer, beside those that llama.cpp knows of.
    A small model's sequences start with room for `first_room` tokens; when `decode` returns
    NO_ROOM, `grow` makes more, up to `context`. Each has a part of the memory to itself: in a
    common one, rounding depends on where a sequence lies, and seeds do not repeat an answer.

    Belongs to one thread, but for `check_request`, `sampler` and `spell`.
    """

    def __init__(
        self,
        path: Path,
        *,
        parallel: int,
        context: int,
        threads: int = 0,
        prompt_tokens: int = 512,
        ends: Collection[int] = (),
        first_room: int = FIRST_ROOM,
    ) -> None:
        self._library = load_library()
        self.parallel = parallel
        self._model = self._load(path)
        self.prompt_tokens = prompt_tokens
        # Beside the prompts, every sequence may have one token of its answer in the batch.
        self.batch = TokenBatch(prompt_tokens + parallel)
        self.is_small = is_small(path)
        self.context = context
        self.room = min(first_room, context) if self.is_small else context
        self._threads = threads or threads_for(path)
        self._deep_threads = threads or default_threads()
        self._placement = Placement()
        self._threads_set = 0
        self._context = self._make_context(self.room)
        self._memory = self._library.llama_get_memory(self._context)
        self.vocabulary = self._library.llama_model_get_vocab(self._model)
        self.vocabulary_size: int = self._library.llama_vocab_n_tokens(self.vocabulary)
        self._spelled: dict[int, bytes] = {}
        self.ends = tuple(
            token
            for token in range(self.vocabulary_size)
            if token in ends or self._library.llama_vocab_is_eog(self.vocabulary, token)
        )
        self._guides = GuideCache(
            self._library, Vocabulary(self.vocabulary_size, self.spell, self.ends)
        )
        self._logits = np.empty((0, 0), np.float32)
        self._logits_address = 0

    def check_request(self, prompt_ids: Sequence[int], max_tokens: int) -> int:
        """How many tokens the answer may have; LlamaError if none is possible."""
        if not prompt_ids:
            raise LlamaError("the prompt is empty; expected at least one token")
        if max_tokens < 1:
            raise LlamaError(f"max_tokens is {max_tokens}; expected at least 1")
        self.check_ids(prompt_ids)
        if len(prompt_ids) >= self.context:
            raise LlamaError(
                f"the prompt has {len(prompt_ids)} tokens, and prompt and answer together may have "
                f"{self.context}; shorten the prompt"
            )
        return min(max_tokens, self.context - len(prompt_ids))

    def check_ids(self, prompt_ids: Sequence[int]) -> None:
        """Raise LlamaError for a token that this model does not have."""
        if min(prompt_ids) < 0 or max(prompt_ids) >= self.vocabulary_size:
            raise LlamaError(
                f"the prompt holds token ids from {min(prompt_ids)} to {max(prompt_ids)}; "
                f"this model has 0 to {self.vocabulary_size - 1}"
            )

    def sampler(
        self, sampling: Sampling, prompt_ids: Sequence[int], ends: Sequence[int]
    ) -> Sampler:
        """`ends` are kept away for `min_tokens`; LlamaError for options that cannot be followed."""
        check_sampling(sampling, self.vocabulary_size)
        # Clients disable the end by a token that the model does not have.
        ends = [token for token in ends if 0 <= token < self.vocabulary_size]
        if sampling.guide is None:
            return Sampler(self._chain(sampling, prompt_ids), sampling, ends)
        if not self.ends:
            raise LlamaError("this model has no end token, so a guided answer could not end")
        kind, text = sampling.guide
        if kind not in KINDS:
            known = ", ".join(sorted(KINDS))
            raise LlamaError(f"guided_decoding_guide_type is {kind!r}; expected one of {known}")
        guide = self._guides.make(kind, text)
        return Sampler(self._chain(sampling, prompt_ids), sampling, ends, guide)

    def guide_is_ready(self, kind: str, text: str) -> bool:
        """Whether a sampler with this guide is made at once."""
        return self._guides.ready(kind, text)

    def guide_is_slow(self, kind: str, text: str) -> bool:
        """Whether such a sampler takes long every time; compiles the guide elsewhere to know it."""
        return self._guides.slow(kind, text)

    def _chain(self, sampling: Sampling, prompt_ids: Sequence[int]) -> Chain | None:
        if sampling.is_greedy and not sampling.has_penalties:
            return None
        return Chain(self._library, self.vocabulary, sampling, prompt_ids)

    def spell(self, token: int) -> bytes:
        """The bytes of a token's text; none for a control token."""
        if token not in self._spelled:
            self._spelled[token] = self._spell(token)
        return self._spelled[token]

    def forget(self, sequence: int, keep: int) -> bool:
        """Drop the sequence's tokens after the first `keep`; False if it had to drop all."""
        if self._library.llama_memory_seq_rm(self._memory, sequence, keep, -1):
            return True
        self._library.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return False

    def grow(self, tokens: int) -> bool:
        """Make room for sequences of that length, dropping all; False if that is impossible."""
        room = self.room
        while room < min(tokens, self.context):
            room = min(2 * room, self.context)
        if room == self.room:
            return False
        try:
            context = self._make_context(room)
        except LlamaError:
            return False
        self._library.llama_free(self._context)
        self.room, self._context, self._threads_set = room, context, 0
        self._memory = self._library.llama_get_memory(context)
        self._logits_address = 0
        return True

    def decode(self) -> int:
        """Run a step; return 0, NO_ROOM, or llama.cpp's error code."""
        threads = self._deep_threads if self.batch.is_deep else self._threads
        if threads == self._threads_set:
            return self._decode()
        self._library.llama_set_n_threads(self._context, threads, threads)
        self._threads_set = threads
        with self._placement.step(threads):
            return self._decode()

    def _decode(self) -> int:
        code: int = self._library.llama_decode(self._context, self.batch.as_parameter())
        return code

    def sample(self, sampler: Sampler, sequence: int) -> Sampled:
        """The next token of a sequence, all of whose tokens have been read."""
        entry, row = self.batch.outputs[sequence]
        return sampler.sample(self._context, entry, self._all_logits()[row])

    def rows_of(self, sequence: int) -> np.ndarray:
        """The logits after each of a sequence's tokens in the last step, if it kept them all."""
        return self._all_logits()[self.batch.rows[sequence]]

    def logits(self, rows: int) -> np.ndarray:
        """Those of the last step's first outputs, a row for each; valid until the next step."""
        address = self._library.llama_get_logits(self._context)
        values = (ctypes.c_float * (rows * self.vocabulary_size)).from_address(address)
        return np.ctypeslib.as_array(values).reshape(rows, -1)

    def close(self) -> None:
        self._guides.close()
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)

    def _spell(self, token: int) -> bytes:
        if self._library.llama_vocab_is_control(self.vocabulary, token):
            return b""
        text = ctypes.create_string_buffer(PIECE_BYTES)
        size = self._library.llama_token_to_piece(
            self.vocabulary, token, text, PIECE_BYTES, 0, True
        )
        return text.raw[: max(size, 0)]

    def _load(self, path: Path) -> int:
        parameters = self._library.llama_model_default_params()
        parameters.n_gpu_layers = 0
        model: int | None = self._library.llama_model_load_from_file(os.fsencode(path), parameters)
        if not model:
            raise LlamaError(f"llama.cpp cannot load {path}; is it a whole GGUF file?")
        return model

    def _make_context(self, room: int) -> int:
        parameters = self._library.llama_context_default_params()
        parameters.n_ctx = self.parallel * room
        parameters.n_seq_max = self.parallel
        parameters.n_batch = parameters.n_ubatch = self.batch.capacity
        parameters.no_perf = True
        made: int | None = self._library.llama_init_from_model(self._model, parameters)
        if not made:
            raise LlamaError(
                f"llama.cpp cannot make a context of {self.parallel} x {room} tokens; "
                "is there memory for it? Fewer sequences, or shorter ones, need less"
            )
        return made

    def _all_logits(self) -> np.ndarray:
        """The rows of the last step; the buffer moves only when it grows."""
        if self.batch.row_count > self.parallel:
            return self.logits(self.batch.row_count)
        address = self._library.llama_get_logits(self._context)
        if address != self._logits_address:
            self._logits = self.logits(self.parallel)
            self._logits_address = address
        return self._logits
