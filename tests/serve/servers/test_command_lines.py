"""Command lines are plain values, made of a profile's entries and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import load_profile
from enginix.serve.servers.llamacpp import LLAMACPP
from enginix.serve.servers.triton import TRITON
from enginix.serve.servers.trtllm import TRTLLM
from enginix.serve.servers.vllm import VLLM

UNUSED = Path("/unused")


def test_triton_is_given_the_engine_and_its_ports() -> None:
    entry = ModelEntry("demo", http_port=1, grpc_port=2, metrics_port=3)
    assert TRITON.command(["enginix", "triton"], entry, "/e", UNUSED).argv == [
        *("enginix", "triton", "/e"),
        *("--http-port=1", "--grpc-port=2", "--metrics-port=3", "--start-timeout=120"),
    ]


def test_trtllm_serve_reads_autodeploy_and_memory_from_a_file_beside_it() -> None:
    entry = load_profile("multi").models[0]
    command = TRTLLM.command(["trtllm-serve"], entry, "/checkpoint", Path("/run/options.yaml"))
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
    assert VLLM.command(["vllm", "serve"], entry, "Qwen/Coder", UNUSED).argv == [
        *("vllm", "serve", "Qwen/Coder", "--host=127.0.0.1", "--port=8300"),
        *("--served-model-name=qwen3-coder-30b", "--enable-prompt-tokens-details"),
        "--gpu-memory-utilization=0.9",
        *("--enable-auto-tool-choice", "--tool-call-parser=qwen3_coder"),
        *("--max-model-len=32768", "--max-num-seqs=4"),
    ]


def test_llama_server_is_given_the_file_and_spins_for_a_moment_only() -> None:
    entry = ModelEntry("tiny", engine="llamacpp", http_port=5, options={"parallel": 2})
    command = LLAMACPP.command(["python", "server.py"], entry, "/e/model.gguf", UNUSED)
    assert command.argv == [
        *("python", "server.py", "--model=/e/model.gguf", "--alias=tiny"),
        *("--host=127.0.0.1", "--port=5", "--keep-to-cores", "--parallel=2"),
    ]
    assert command.env == {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "300000"}


def test_an_option_without_a_value_is_a_bare_flag_in_each_program_s_spelling() -> None:
    entry = ModelEntry("a", engine="trtllm", options={"trust_remote_code": True, "tp_size": 2})
    argv = TRTLLM.command(["trtllm-serve"], entry, "m", Path("/y")).argv
    assert argv[-2:] == ["--trust_remote_code", "--tp_size=2"]
    entry = ModelEntry("a", engine="vllm", options={"enable_auto_tool_choice": True})
    assert VLLM.command(["vllm"], entry, "m", UNUSED).argv[-1] == "--enable-auto-tool-choice"


def test_an_entry_sees_only_its_own_gpus() -> None:
    entry = ModelEntry("a", engine="vllm", gpus=["1", "2"])
    assert VLLM.command(["vllm"], entry, "m", UNUSED).env == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "1,2",
    }
