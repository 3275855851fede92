"""Command lines are plain values, made of a profile's entries and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enginix.manifest import Chat
from enginix.serve.commands import (
    gateway_command,
    gateway_model,
    left_in_text,
    llama_server_command,
    triton_command,
    trtllm_command,
    vllm_command,
)
from enginix.serve.profile import GatewayEntry, ModelEntry, Option, load_profile

ENGINE = Path("/e")


def test_triton_is_given_the_engine_and_its_ports() -> None:
    entry = ModelEntry("demo", http_port=1, grpc_port=2, metrics_port=3)
    assert triton_command(["enginix"], entry, ENGINE).argv == [
        *("enginix", "triton", "/e"),
        *("--http-port=1", "--grpc-port=2", "--metrics-port=3", "--start-timeout=120"),
    ]


def test_trtllm_serve_reads_autodeploy_and_memory_from_a_file_beside_it() -> None:
    entry = load_profile("multi").models[0]
    command = trtllm_command(["trtllm-serve"], entry, "/checkpoint", Path("/run/options.yaml"))
    assert command.argv == [
        *("trtllm-serve", "/checkpoint", "--host=127.0.0.1", "--port=8200"),
        *("--backend=_autodeploy", "--extra_llm_api_options=/run/options.yaml"),
        "--reasoning_parser=deepseek-r1",
    ]
    settings = json.loads(command.files[Path("/run/options.yaml")])
    assert settings["compile_backend"] == "torch-cudagraph"
    assert settings["kv_cache_config"] == {"free_gpu_memory_fraction": 0.3}


def test_vllm_is_given_its_memory_its_limits_and_its_parser() -> None:
    (entry,) = load_profile("vllm-qwen3-coder").models
    assert vllm_command(["vllm", "serve"], entry, "Qwen/Coder").argv == [
        *("vllm", "serve", "Qwen/Coder", "--host=127.0.0.1", "--port=8300"),
        *("--served-model-name=qwen3-coder-30b", "--gpu-memory-utilization=0.9"),
        *("--enable-auto-tool-choice", "--tool-call-parser=qwen3_coder"),
        *("--max-model-len=32768", "--max-num-seqs=4"),
    ]


def test_llama_server_is_given_the_file_and_waits_without_spinning() -> None:
    entry = ModelEntry("tiny", engine="llamacpp", http_port=5, options={"parallel": 2})
    command = llama_server_command(["python", "server.py"], entry, Path("/e/model.gguf"))
    assert command.argv == [
        *("python", "server.py", "--model=/e/model.gguf", "--alias=tiny"),
        *("--host=127.0.0.1", "--port=5", "--parallel=2"),
    ]
    assert command.env == {"OMP_WAIT_POLICY": "passive"}


def test_an_option_without_a_value_is_a_bare_flag_in_each_program_s_spelling() -> None:
    entry = ModelEntry("a", engine="trtllm", options={"trust_remote_code": True, "tp_size": 2})
    argv = trtllm_command(["trtllm-serve"], entry, "m", Path("/y")).argv
    assert argv[-2:] == ["--trust_remote_code", "--tp_size=2"]
    entry = ModelEntry("a", engine="vllm", options={"enable_auto_tool_choice": True})
    assert vllm_command(["vllm"], entry, "m").argv[-1] == "--enable-auto-tool-choice"


def test_an_entry_sees_only_its_own_gpus() -> None:
    entry = ModelEntry("a", engine="vllm", gpus=["1", "2"])
    assert vllm_command(["vllm"], entry, "m").env == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "1,2",
    }


def test_the_gateway_is_told_where_every_model_is() -> None:
    triton = ModelEntry("a", grpc_port=2)
    vllm = ModelEntry("b", engine="vllm", http_port=3, aliases=["bee"], contains=["qwen"])
    models = [
        gateway_model(triton, directory=ENGINE, upstream="a", chat=Chat()),
        gateway_model(vllm, directory=None, upstream="B-30B", chat=Chat()),
    ]
    command = gateway_command(
        ["enginix"], GatewayEntry(9), Path("/run/g"), {"models": models}, Path("/run/s")
    )
    assert command.argv == [
        *("enginix", "openai", "--models=/run/g", "--host=127.0.0.1", "--port=9"),
        "--supervisor=/run/s",
    ]
    open_to = GatewayEntry(
        9,
        allowed_hosts=["ai.lan"],
        cors_origins=["https://chat.example"],
        allow_image_urls=True,
    )
    *_, host, origin, images = gateway_command(
        ["enginix"], open_to, Path("/g"), {}, Path("/s")
    ).argv
    assert (host, origin) == ("--allowed-host=ai.lan", "--cors-origin=https://chat.example")
    assert images == "--allow-image-urls"
    first, second = json.loads(command.files[Path("/run/g")])["models"]
    assert (first["directory"], first["address"]) == ("/e", "127.0.0.1:2")
    assert (second["url"], second["upstream"]) == ("http://127.0.0.1:3", "B-30B")
    assert (second["aliases"], second["contains"]) == (["bee"], ["qwen"])


@pytest.mark.parametrize(
    ("engine", "options", "left"),
    [
        ("trtllm", {}, {"reasoning": "think-tags", "starts_inside": False, "tools": "hermes-json"}),
        ("trtllm", {"reasoning_parser": "qwen3"}, {"tools": "hermes-json"}),
        ("trtllm", {"reasoning_parser": "qwen3", "tool_parser": "qwen3"}, {}),
        ("vllm", {}, {"reasoning": "think-tags", "starts_inside": False}),
        ("vllm", {"reasoning_parser": "qwen3"}, {}),
        ("llamacpp", {}, {}),
    ],
)
def test_what_no_server_was_told_to_read_is_left_to_our_parsers(
    engine: str, options: dict[str, Option], left: dict[str, object]
) -> None:
    entry = ModelEntry("q", engine=engine, options=options)
    chat = Chat("think-tags", "hermes-json", "enable_thinking")
    assert left_in_text(entry, chat) == left
