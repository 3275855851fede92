"""Each of a model's servers has a command, ports, GPUs and files of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enginix.errors import NotACheckpoint, UsageError
from enginix.serve.environment import Environment
from enginix.serve.model_entry import ModelEntry
from enginix.serve.model_server import ModelServer, commands_of, gpus_needed, model_server
from enginix.serve.profile import Profile, check
from enginix.serve.servers import SERVERS

HOME = Path("/home/enginix")
TRITON = ModelEntry("demo", http_port=1, grpc_port=2, metrics_port=3)
VLLM = ModelEntry("qwen3-coder-30b", engine="vllm", http_port=4)
TRTLLM = ModelEntry("qwen3-30b-a3b", engine="trtllm", http_port=5)


def none(_: object) -> Path:
    raise NotACheckpoint("there is none here")


HERE = Environment(
    home=HOME,
    logs=HOME / "logs",
    enginix=["enginix"],
    runtime=lambda _: None,
    find_engine=lambda name: HOME / "engines" / name,
    find_checkpoint=none,
    gateway_variables={},
    server_variables=lambda *_: {},
)


def served(entry: ModelEntry, **changes: Any) -> ModelServer:
    entry = replace(entry, **changes)
    profile = Profile("p", "P", [entry])
    check(profile, "p")
    return model_server(profile, entry, HERE)


def test_one_server_has_the_models_own_name_and_ports() -> None:
    (only,) = served(TRITON).replicas
    assert (only.name, only.entry, only.address) == ("demo", TRITON, "127.0.0.1:2")
    assert only.log == HOME / "logs" / "triton-demo.log"


@pytest.mark.parametrize("name", ["../../../etc/x", "org/name"])
def test_the_files_of_a_model_stay_in_their_directories_whatever_clients_call_it(name: str) -> None:
    (only,) = served(TRTLLM, name=name, source="qwen3-30b-a3b", autodeploy={"x": 1}).replicas
    assert only.log.parent == HOME / "logs"
    assert {path.parent for path in only.command.files} == {HOME / "run" / "p-9000"}


def test_each_replica_has_ports_gpus_and_a_log_of_its_own() -> None:
    server = served(TRITON, replicas=2, gpus=["0", "1", "2", "3"])
    first, second = server.replicas
    assert (first.entry.http_port, first.entry.grpc_port, first.entry.metrics_port) == (1, 2, 3)
    ports = {second.entry.http_port, second.entry.grpc_port, second.entry.metrics_port}
    assert len(ports - {0, 1, 2, 3}) == 3
    assert f"--grpc-port={second.entry.grpc_port}" in second.command.argv
    assert [one.command.env["CUDA_VISIBLE_DEVICES"] for one in server.replicas] == ["0,1", "2,3"]
    assert (second.name, second.log.name) == ("demo#2", "triton-demo#2.log")
    assert server.row["address"] == f"127.0.0.1:2,127.0.0.1:{second.entry.grpc_port}"


def test_each_replica_of_trtllm_serve_reads_settings_of_its_own() -> None:
    server = served(TRTLLM, replicas=2)
    first, second = (set(one.command.files) for one in server.replicas)
    assert len(first) == len(second) == 1
    assert not first & second
    assert len(commands_of(Profile("p", "P", [server.entry]), [server], HERE)) == 3


def test_gateways_are_told_of_own_servers_first_and_then_of_those_elsewhere() -> None:
    endpoints = ["10.0.0.1:8000", "https://far.example:8443"]
    server = served(VLLM, replicas=1, endpoints=endpoints)
    assert server.row["url"] == ("http://127.0.0.1:4,http://10.0.0.1:8000,https://far.example:8443")
    assert server.row["upstream"] == "qwen3-coder-30b"


def test_with_endpoints_alone_nothing_is_run_here() -> None:
    server = served(TRITON, endpoints=["10.0.0.1:8001", "[::1]:8001"])
    assert server.replicas == []
    assert server.row["address"] == "10.0.0.1:8001,[::1]:8001"
    assert server.row["directory"] == str(HOME / "engines" / "demo")


@pytest.mark.parametrize(
    ("engine", "text", "address"),
    [
        ("triton", "gpu-box:8001", "gpu-box:8001"),
        ("triton", "[fd00::1]:8001", "[fd00::1]:8001"),
        ("vllm", "gpu-box:8000", "http://gpu-box:8000"),
        ("vllm", "https://gpu-box:8443/", "https://gpu-box:8443"),
    ],
)
def test_an_endpoint_is_spelled_as_gateways_read_it(engine: str, text: str, address: str) -> None:
    assert SERVERS[engine].endpoint(text) == address


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        *(("triton", text) for text in ("gpu-box", "gpu-box:0", "gpu-box:70000", ":8001", "")),
        *(("triton", text) for text in ("http://gpu-box:8001", "a:1,b:2", "::1:8001", "a b:1")),
        *(("vllm", text) for text in ("gpu-box", "ftp://a:1", "http://a:1/v1", "http://u@a:1")),
    ],
)
def test_what_is_no_address_is_refused_with_what_is_expected(engine: str, text: str) -> None:
    with pytest.raises(UsageError, match=r"is no address of .*; expected HOST:PORT"):
        SERVERS[engine].endpoint(text)


@pytest.mark.parametrize(
    ("entry", "needed"),
    [
        (VLLM, 1),
        (replace(VLLM, options={"tensor_parallel_size": 2}), 2),
        (ModelEntry("demo", engine="llamacpp"), 0),
        (TRITON, 0),
    ],
)
def test_how_many_gpus_a_server_needs(entry: ModelEntry, needed: int) -> None:
    assert gpus_needed(entry, HERE) == needed
