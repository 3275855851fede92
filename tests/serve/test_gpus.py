"""A profile's GPUs are held against what `nvidia-smi -L` lists, MIG devices included."""

from __future__ import annotations

import pytest

from enginix.errors import UsageError
from enginix.serve.gpus import check_devices, listed_devices, shared_devices
from enginix.serve.overrides import overridden
from enginix.serve.profile import Profile, load_profile

FIRST = "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f"
SECOND = "GPU-1b07852c-d268-c3f3-5c89-005d5ae1dc3f"
SLICE = "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"
LISTED = f"""\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: {FIRST})
  MIG 3g.40gb     Device  0: (UUID: {SLICE})
GPU 1: NVIDIA H100 80GB HBM3 (UUID: {SECOND})
"""


def profile(*settings: str) -> Profile:
    return overridden(load_profile("vllm-multi"), settings)


def test_a_gpu_goes_by_its_number_or_uuid_and_a_mig_device_by_its_uuid() -> None:
    assert listed_devices(LISTED) == {
        "0": "0",
        FIRST: "0",
        SLICE: SLICE,
        "1": "1",
        SECOND: "1",
    }


def test_a_machine_without_a_driver_has_no_devices() -> None:
    assert listed_devices("NVIDIA-SMI has failed because it couldn't communicate") == {}


@pytest.mark.parametrize("word", ["0", FIRST, SLICE])
def test_devices_that_are_there_pass(word: str) -> None:
    check_devices(profile(f"qwen3-coder-30b.gpus=['{word}']"), listed_devices(LISTED))


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are() -> None:
    asked = profile("nemotron-3-nano-30b-a3b.gpus=['7']")
    with pytest.raises(UsageError, match=r"there is no device '7' here; nvidia-smi -L lists 0, "):
        check_devices(asked, listed_devices(LISTED))


def test_two_models_on_one_gpu_are_told_with_the_sum() -> None:
    asked = profile(
        "qwen3-coder-30b.memory=0.5",
        "nemotron-3-nano-30b-a3b.memory=0.4",
        "nemotron-3-nano-30b-a3b.gpus=['0']",
    )
    assert shared_devices(asked) == [
        "GPU 0 is shared: qwen3-coder-30b 0.5 + nemotron-3-nano-30b-a3b 0.4 = 0.9 of its memory"
    ]


def test_models_on_their_own_gpus_are_no_news() -> None:
    assert shared_devices(profile()) == []
