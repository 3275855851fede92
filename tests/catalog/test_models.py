"""The catalogue's models: names, sources, limits and verified claims."""

from __future__ import annotations

from collections import Counter

import pytest

from enginix.catalog.load import ModelSpec, load_catalog
from enginix.chat.reply import REASONING, TOOLS

CATALOG = load_catalog()
every_model = pytest.mark.parametrize("model", CATALOG.values(), ids=list(CATALOG))


@pytest.mark.parametrize(
    ("name", "kind", "repo"),
    [
        ("qwen3-32b", "tensorrt-llm", "nvidia/Qwen3-32B-NVFP4"),
        ("llama-3.1-8b", "tensorrt-llm", "nvidia/Llama-3.1-8B-Instruct-NVFP4"),
        ("llama-3.3-70b", "tensorrt-llm", "nvidia/Llama-3.3-70B-Instruct-NVFP4"),
        ("qwen2.5-7b", "tensorrt-llm", "Qwen/Qwen2.5-7B-Instruct"),
        ("mistral-7b", "tensorrt-llm", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("qwen3-30b-a3b", "llmapi", "nvidia/Qwen3-30B-A3B-FP4"),
        ("nemotron-3-nano-30b-a3b", "llmapi", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4"),
        ("phi-4", "llmapi", "nvidia/Phi-4-reasoning-plus-NVFP4"),
        ("qwen3-coder-30b", "vllm", "Qwen/Qwen3-Coder-30B-A3B-Instruct"),
        ("nemotron-nano-12b-vl", "vllm", "nvidia/NVIDIA-Nemotron-Nano-12B-v2-VL-NVFP4-QAD"),
        ("qwen3-8b", "edge-llm", "nvidia/Qwen3-8B-NVFP4"),
        ("qwen3-14b", "edge-llm", "nvidia/Qwen3-14B-NVFP4"),
        ("qwen3-0.6b", "gguf", "Qwen/Qwen3-0.6B"),
        ("smollm2-135m", "gguf", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ],
)
def test_a_model_has_its_repository(name: str, kind: str, repo: str) -> None:
    assert (CATALOG[name].kind, CATALOG[name].source.repo) == (kind, repo)


def test_qwen3_is_built_for_one_two_and_four_gpus() -> None:
    variants = sorted(CATALOG["qwen3-32b"].variants.values(), key=lambda one: one.tensor_parallel)
    assert [(one.tensor_parallel, one.max_batch_size, one.max_seq_len) for one in variants] == [
        (1, 8, 16384),
        (2, 16, 24576),
        (4, 32, 32768),
    ]


@every_model
def test_more_gpus_need_less_memory_each(model: ModelSpec) -> None:
    memory = {one.tensor_parallel: one.gpu_memory_gb for one in model.variants.values()}
    ordered = [memory[ranks] for ranks in sorted(memory)]
    assert ordered == sorted(ordered, reverse=True)


@every_model
def test_every_models_format_has_a_parser(model: ModelSpec) -> None:
    assert model.chat.reasoning in (None, *REASONING)
    assert model.chat.tools in (None, *TOOLS)


@every_model
def test_no_status_claims_a_gpu(model: ModelSpec) -> None:
    assert model.status.startswith(("no GPU here: ", "verified on CPU: "))


def test_all_models_could_run_side_by_side() -> None:
    ports = Counter(
        port
        # The demo has the default ports and runs alone.
        for model in CATALOG.values()
        if model.name != "demo"
        for port in (model.ports.http, model.ports.grpc, model.ports.metrics, model.ports.gateway)
    )
    assert not [port for port, count in ports.items() if count > 1]


def test_every_app_is_named_once() -> None:
    apps = Counter(model.app for model in CATALOG.values())
    assert not [app for app, count in apps.items() if count > 1]
