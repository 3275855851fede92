"""Reads ModelStreamInferResponse bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from enginix.errors import BackendError, GenerationFailed
from enginix.generation.lane import Lane
from enginix.generation.request import ScoredToken, Take, TokenChunk
from enginix.triton.client.failures import in_band
from enginix.triton.client.tensor_names import PROMPT_OUTPUTS, REUSED
from enginix.triton.client.transport import Offer

# Output that is read -> the letter of struct for its elements, all of which have four bytes.
OUTPUTS = {
    "output_ids": "i",
    "output_log_probs": "f",
    "top_log_prob_ids": "i",
    "top_log_probs": "f",
    REUSED: "i",
    **dict(zip(PROMPT_OUTPUTS, "fif", strict=True)),
}
FINAL = "triton_final_response"
# Shared: most messages hold one id.
ONE_ID = struct.Struct("<i")
# How many kinds of messages a reader learns from its response, and how many all of them share.
MAX_KNOWN = 8


class Known(NamedTuple):
    """A verified message: its bytes before the ids, and how these are packed."""

    size: int
    head: bytes
    ids: struct.Struct


NONE_KNOWN = Known(-1, b"", ONE_ID)


class Layout(NamedTuple):
    """A verified message of any request whose id is as long: all but that id."""

    size: int
    id_size: int
    states_reuse: bool
    before: bytes
    after: bytes


class Layouts:
    """Those of one model: what one response has verified, the next ones need not."""

    def __init__(self) -> None:
        # The oldest leave: a model that is loaded anew may send other tensors.
        self._all: dict[Layout, struct.Struct] = {}

    def known(self, request_id: bytes, reuse_stated: bool) -> tuple[Known, ...]:
        """The messages of the request with this id, but none that would be first to state it."""
        return tuple(
            Known(each.size, each.before + request_id + each.after, ids)
            for each, ids in self._all.items()
            if each.id_size == len(request_id) and (reuse_stated or not each.states_reuse)
        )

    def add(self, known: Known, request_id: bytes, states_reuse: bool) -> None:
        if known.head.count(request_id) == 1:
            before, _, after = known.head.partition(request_id)
            layout = Layout(known.size, len(request_id), states_reuse, before, after)
            # Responses that run at the same time learn the same.
            self._all[layout] = known.ids
            if len(self._all) > MAX_KNOWN:
                del self._all[next(iter(self._all))]


class Reader:
    """Reads the messages of one response.

    Nearly all of them differ only in the bytes of their token ids and, from TensorRT-LLM, of the
    statistics that follow these. Once that is verified for one message, others of its size are
    read without protobuf, which costs five times as much. Never the first with ids, nor the first
    with statistics: these count.
    """

    __slots__ = ("_id", "_known", "_lane", "_last", "_layouts", "_room", "_take", "failure")

    def __init__(self, request_id: str = "", layouts: Layouts | None = None) -> None:
        self._id = request_id.encode()
        self._layouts = layouts or Layouts()
        # The error in the message after the chunks that `read` returned last.
        self.failure: BackendError | None = None
        # Few, and a dictionary takes 0.2 KB. None before the first ids.
        self._known: tuple[Known, ...] | None = None
        # How many it may still learn, whatever others have taught.
        self._room = MAX_KNOWN
        # Of the last message that was offered: nearly every next one is like it.
        self._last = NONE_KNOWN
        self._take: Take | None = None
        self._lane: Lane | None = None

    def read(self, messages: Iterable[bytes]) -> list[TokenChunk]:
        """Raise BackendError if it comes before any chunk; otherwise store it in `failure`."""
        chunks: list[TokenChunk] = []
        try:
            for message in messages:
                if (known := self._find(message)) is not None:
                    chunks.append(TokenChunk(known.ids.unpack_from(message, len(known.head))))
                    continue
                chunks.append(read_chunk(message))
                self._learn(message, chunks[-1])
        except BackendError as error:
            if not chunks:
                raise
            self.failure = error
        return chunks

    def offering(self, take: Take, lane: Lane | None = None) -> Offer:
        """Give `take` the ids of messages that are known to hold nothing else, and tell `lane`."""
        self._take, self._lane = take, lane
        return self._offer

    def _offer(self, messages: list[bytes]) -> bool:
        assert self._take is not None, "it is offered to"
        size, head, ids = self._last
        found: list[tuple[int, ...]] = []
        for message in messages:
            if len(message) != size or not message.startswith(head):
                known = self._find(message)
                if known is None:
                    return False
                self._last = size, head, ids = known
                if self._lane is not None:
                    self._lane.size, self._lane.head = size, head if ids is ONE_ID else b""
            found.append(ids.unpack_from(message, len(head)))
        return self._take(found)

    def _find(self, message: bytes) -> Known | None:
        for known in self._known or ():
            if len(message) == known.size and message.startswith(known.head):
                return known
        return None

    def _learn(self, message: bytes, chunk: TokenChunk) -> None:
        if not chunk.ids:
            return
        states_reuse = chunk.reused_blocks is not None
        if self._known is None:
            self._known = self._layouts.known(self._id, states_reuse)
        if not self._room or _holds_more(chunk) or self._find(message) is not None:
            return
        ids = ONE_ID if len(chunk.ids) == 1 else struct.Struct(f"<{len(chunk.ids)}i")
        start = message.find(ids.pack(*chunk.ids))
        if start >= 0 and _is_head(message, start, ids, chunk):
            known = Known(len(message), message[:start], ids)
            self._known += (known,)
            self._room -= 1
            self._layouts.add(known, self._id, states_reuse)


def _holds_more(chunk: TokenChunk) -> bool:
    """Whether there is more in it than ids and statistics."""
    return chunk.final or chunk.logprobs is not None or bool(chunk.top) or chunk.prompt is not None


def _is_head(message: bytes, start: int, ids: struct.Struct, chunk: TokenChunk) -> bool:
    """Whether protobuf reads other ids, and all else unchanged, from other bytes at `start`."""
    others = tuple(~token for token in chunk.ids)
    other = message[:start] + ids.pack(*others) + message[start + ids.size :]
    try:
        return read_chunk(other) == chunk._replace(ids=others)
    except GenerationFailed:
        return False


def read_chunk(message: bytes) -> TokenChunk:
    try:
        envelope = service_pb2.ModelStreamInferResponse.FromString(message)
    except DecodeError:
        raise GenerationFailed(
            f"Triton sent {len(message)} bytes that are not a ModelStreamInferResponse"
        ) from None
    if envelope.error_message:
        raise in_band(envelope.error_message)
    response = envelope.infer_response
    found: dict[str, tuple[Any, ...]] = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=False):
        # TensorRT-LLM sends all its statistics when one of them is requested.
        if (letter := OUTPUTS.get(output.name)) is None:
            continue
        if len(raw) != 4 * prod(output.shape):
            raise _wrong_size(output.name, output.shape, raw)
        found[output.name] = struct.unpack(f"<{len(raw) >> 2}{letter}", raw)
    ids = found.get("output_ids", ())
    top = _by_position(found.get("top_log_prob_ids", ()), found.get("top_log_probs", ()), len(ids))
    final = response.parameters[FINAL].bool_param
    reused = found.get(REUSED)
    prompt = _scored(*(found.get(name) for name in PROMPT_OUTPUTS))
    return TokenChunk(
        ids, found.get("output_log_probs"), final, top, reused[0] if reused else None, prompt
    )


def _scored(
    logprobs: Sequence[float] | None, ids: Sequence[int] | None, top: Sequence[float] | None
) -> tuple[ScoredToken, ...] | None:
    """The prompt's tokens, in the one message that has them."""
    if logprobs is None:
        return None
    places = _by_position(ids or (), top or (), len(logprobs)) or ((),) * len(logprobs)
    return tuple(ScoredToken(*each) for each in zip(logprobs, places, strict=True))


def _by_position(
    ids: Sequence[int], logprobs: Sequence[float], places: int
) -> tuple[tuple[tuple[int, float], ...], ...]:
    """Group the pairs; every position has the same number of them."""
    if not ids or not places:
        return ()
    pairs = tuple(zip(ids, logprobs, strict=True))
    each = len(pairs) // places
    return tuple(pairs[start : start + each] for start in range(0, each * places, each))


def _wrong_size(name: str, shape: Iterable[int], raw: bytes) -> GenerationFailed:
    return GenerationFailed(
        f"Triton sent {len(raw)} bytes for {name} of shape {list(shape)}, expected "
        f"{4 * prod(shape)}; the Python environment of its models needs numpy < 2"
    )
