"""An engine at a chosen pace, as the gateway sees one: a gRPC server that sends prebuilt messages.

    python benchmarks/paced/engine.py

Prints its ports. One port speaks what Triton does of ModelConfig and ModelStreamInfer; the other
sends bare 200-byte events to whoever connects, for a relay that only copies. Both send at the same
moments: `spread|burst RATE` on standard input sets them, with RATE tokens a second and stream. In
`burst` all streams get their token together, as an engine's step emits them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable

import uvloop
from hpack import Decoder, Encoder
from tritonclient.grpc import service_pb2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
WINDOW = 65535
EVENT = b"data: " + b"x" * 191 + b"~\n\n"
INPUTS = ("input_ids", "input_lengths", "request_output_len", "end_id", "streaming", "stop")
INPUTS += ("temperature", "runtime_top_k", "runtime_top_p", "seed", "stop_words_list")
OUTPUTS = ("output_ids", "sequence_length")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload) << 8 | kind
    return struct.pack(">IBI", head, flags, stream) + payload


def grpc_message(content: bytes) -> bytes:
    return b"\0" + len(content).to_bytes(4, "big") + content


def headers(stream: int, *fields: tuple[str, str], end: bool = False) -> bytes:
    encoder = Encoder()
    block = b"".join(
        encoder.add((name.encode(), value.encode()), sensitive=True) for name, value in fields
    )
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


class Tokens:
    """What one stream still gets: its messages differ only in the token."""

    def __init__(self, stream: int, request: service_pb2.ModelInferRequest) -> None:
        sizes = {
            each.name: raw
            for each, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        prompt = sizes["input_ids"]
        ids = [prompt[at : at + 4] for at in range(0, len(prompt), 4)]
        # Its middle is text: the template's own tokens are at both ends, and have none.
        self.prompt = ids[len(ids) // 2 :][:16]
        (self.left,) = struct.unpack("<i", sizes["request_output_len"])
        self.number = stream
        self.window = WINDOW
        self.sent = 0
        self._head, self._last = (self._frame(request, final=final) for final in (False, True))

    def _frame(self, request: service_pb2.ModelInferRequest, *, final: bool) -> bytes:
        envelope = service_pb2.ModelStreamInferResponse()
        answer = envelope.infer_response
        answer.model_name, answer.model_version, answer.id = request.model_name, "1", request.id
        answer.parameters["triton_final_response"].bool_param = final
        answer.outputs.add(name="output_ids", datatype="INT32", shape=[1, 1, 1])
        answer.raw_output_contents.append(b"\0\0\0\0")
        content = grpc_message(envelope.SerializeToString())
        return frame(DATA, 0, self.number, content)[:-4]

    def next(self) -> bytes:
        """The next token's frame; nothing while the client does not read."""
        head = self._head if self.left > 1 else self._last
        size = len(head) + 4 - 9
        if size > self.window:
            return b""
        self.window -= size
        self.left -= 1
        self.sent += 1
        piece = head + self.prompt[self.sent % len(self.prompt)]
        return piece if self.left else piece + self.end()

    def end(self) -> bytes:
        return headers(self.number, ("grpc-status", "0"), end=True)


class Connection(asyncio.Protocol):
    """One client of the gRPC port."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._buffer = bytearray()
        self._decoder = Decoder()
        self._paths: dict[int, str] = {}
        self._bodies: dict[int, bytearray] = {}
        self.streams: dict[int, Tokens] = {}
        self._ids: dict[str, int] = {}
        self.paused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        no_delay(transport)
        transport.write(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 20)))
        transport.write(frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))
        self._pacer.connections.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._pacer.connections.remove(self)
        self.streams.clear()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.startswith(PREFACE):
            del self._buffer[: len(PREFACE)]
        while len(self._buffer) >= 9:
            head, flags, stream = struct.unpack_from(">IBI", self._buffer)
            end = 9 + (head >> 8)
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[9:end])
            del self._buffer[:end]
            self._on_frame(head & 0xFF, flags, stream, payload)

    def _on_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == HEADERS:
            self._paths[stream] = dict(
                self._decoder.decode(payload[5:] if flags & 32 else payload)
            )[":path"]
            self._bodies[stream] = bytearray()
        elif kind == DATA:
            self._bodies[stream] += payload
            self.transport.write(
                frame(WINDOW_UPDATE, 0, 0, max(1, len(payload)).to_bytes(4, "big"))
            )
            if flags & END_STREAM:
                self._on_request(stream, self._paths.pop(stream), self._bodies.pop(stream)[5:])
        elif kind == SETTINGS and not flags & ACK:
            self.transport.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.transport.write(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE and stream in self.streams:
            self.streams[stream].window += int.from_bytes(payload, "big")
        elif kind == RST_STREAM:
            self.streams.pop(stream, None)

    def _on_request(self, stream: int, path: str, body: bytearray) -> None:
        ok = headers(stream, (":status", "200"), ("content-type", "application/grpc"))
        end = headers(stream, ("grpc-status", "0"), end=True)
        if path.endswith("/ModelStreamInfer"):
            request = service_pb2.ModelInferRequest.FromString(bytes(body))
            self.transport.write(ok)
            if any(each.name == "stop" for each in request.inputs):
                self._stop(request.id)
                self.transport.write(end)
                return
            self.streams[stream] = Tokens(stream, request)
            self._ids[request.id] = stream
            if self.streams[stream].left == 1:
                self.transport.write(self.streams.pop(stream).next())
            return
        answer = b""
        if path.endswith("/ModelConfig"):
            config = service_pb2.ModelConfigResponse()
            for name in INPUTS:
                config.config.input.add(name=name)
            for name in OUTPUTS:
                config.config.output.add(name=name)
            answer = config.SerializeToString()
        self.transport.write(ok + frame(DATA, 0, stream, grpc_message(answer)) + end)

    def _stop(self, request_id: str) -> None:
        tokens = self.streams.pop(self._ids.pop(request_id, 0), None)
        if tokens is not None:
            self.transport.write(tokens.end())

    def step(self) -> None:
        """A token of every stream."""
        if self.streams and not self.paused:
            self.transport.write(b"".join([each.next() for each in self.streams.values()]))
            self.streams = {number: each for number, each in self.streams.items() if each.left}

    def one(self, tokens: Tokens) -> None:
        if self.streams.get(tokens.number) is not tokens:
            return
        self.transport.write(tokens.next())
        if not tokens.left:
            self.streams.pop(tokens.number, None)


class Bare(asyncio.Protocol):
    """One reader of bare events; what it sends is of no interest."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self.paused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        no_delay(transport)
        self._pacer.bare.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._pacer.bare.remove(self)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def step(self) -> None:
        # It may have ended since its turn was planned.
        if not self.paused and not self.transport.is_closing():
            self.transport.write(EVENT)


class Pacer:
    """Decides when tokens are sent."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.bare: list[Bare] = []
        self.burst = True
        self.rate = 50.0

    def set(self, pattern: str, rate: float) -> None:
        self.burst, self.rate = pattern == "burst", rate

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            sends = [self._step_all] if self.burst else (self._each() or [self._nothing])
            period = 1 / self.rate
            for send in sends:
                due = max(due + period / len(sends), loop.time() - period)
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                send()

    def _step_all(self) -> None:
        for each in (*self.connections, *self.bare):
            each.step()

    def _each(self) -> list[Callable[[], None]]:
        return [
            *(
                lambda one=one, tokens=tokens: one.one(tokens)
                for one in self.connections
                for tokens in one.streams.values()
            ),
            *(each.step for each in self.bare),
        ]

    def _nothing(self) -> None:
        pass


def no_delay(transport: asyncio.Transport) -> None:
    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def main() -> None:
    loop = asyncio.get_running_loop()
    pacer = Pacer()
    grpc = await loop.create_server(lambda: Connection(pacer), "127.0.0.1", 0, backlog=2048)
    bare = await loop.create_server(lambda: Bare(pacer), "127.0.0.1", 0, backlog=2048)
    print(*(server.sockets[0].getsockname()[1] for server in (grpc, bare)), flush=True)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(pacer.run())
        while line := (await asyncio.to_thread(sys.stdin.readline)).split():
            pacer.set(line[0], float(line[1]))
            print("set", flush=True)
        running.cancel()


if __name__ == "__main__":
    uvloop.run(main())
