"""What servers say of themselves, over real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from enginix.bench.report.roofline import Memory
from enginix.bench.report.servers import Hardware, Server, client_machine, server
from enginix.bench.target import Target


@contextmanager
def serving(documents: Mapping[str, Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = documents.get(self.path)
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(b"" if found is None else json.dumps(found).encode())

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def described(documents: Mapping[str, Any], hardware: Hardware = Hardware()) -> Server:  # noqa: B008
    with serving(documents) as url:
        return server("name", Target(url), "m", hardware)


ROW = {
    "id": "model",
    "aliases": ["m"],
    "owned_by": "enginix",
    "kind": "tensorrt-llm",
    "architecture": "Qwen3ForCausalLM",
    "quantization": "NVFP4",
    "weights_bytes": 19_200_000_000,
    "ranks": 4,
    "built_for_gpu": "NVIDIA H200",
}


def test_an_enginix_gateway_says_version_engine_and_hardware() -> None:
    found = described({"/v1/status": {"version": "0.1.0", "models": [{"id": "other"}, ROW]}})

    assert (found.software, found.details) == (
        "enginix 0.1.0",
        "tensorrt-llm, Qwen3ForCausalLM, NVFP4",
    )
    assert found.roofline.tokens_per_second == 1000
    assert found.local


def test_what_the_user_says_of_the_hardware_wins() -> None:
    hardware = Hardware(Memory(100, "100 GB/s (as given)"), 10_000_000_000)

    found = described({"/v1/status": {"models": [ROW]}}, hardware)

    assert found.roofline.tokens_per_second == 10
    assert "100 GB/s (as given)" in found.roofline.because


def test_an_unlisted_gpu_has_an_unknown_bandwidth() -> None:
    found = described({"/v1/status": {"models": [{**ROW, "built_for_gpu": "NVIDIA X1"}]}})

    assert found.roofline.because.startswith("unknown: the bandwidth of NVIDIA X1")


def test_another_server_is_known_by_its_list_of_models_and_version() -> None:
    documents = {
        "/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}]},
        "/version": {"version": "0.11.0"},
    }

    found = described(documents)

    assert (found.software, found.details) == ("vllm 0.11.0", "unknown")
    assert found.roofline.because.startswith("unknown: say which GPUs")


def test_a_server_that_says_nothing_is_unknown() -> None:
    odd: list[dict[str, Any]] = [
        {},
        {"/v1/status": [], "/v1/models": {"data": "no"}, "/version": "9"},
        {"/v1/status": {"models": 3}},
        {"/v1/status": {"models": ["m", {"id": "x", "aliases": 5}]}},
    ]
    for documents in odd:
        assert described(documents).software == "unknown software of unknown version"


def test_a_size_that_is_no_number_is_not_known() -> None:
    models = [{**ROW, "weights_bytes": "19 GB"}]

    assert "--weights-bytes" in described({"/v1/status": {"models": models}}).roofline.because


def test_the_client_is_described_without_its_name() -> None:
    assert "logical cores" in client_machine()
