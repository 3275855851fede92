"""A profile's GPUs are held against what `nvidia-smi -L` lists, MIG devices included."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.errors import UsageError
from enginix.serve.environment import Environment
from enginix.serve.gpus import (
    assigned,
    check_devices,
    listed_devices,
    shared_devices,
    with_gpus,
)
from enginix.serve.model_entry import ModelEntry
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


@pytest.mark.parametrize(
    ("replicas", "each", "gpus"), [(2, 1, ["0", "1"]), (2, 2, ["0", "1", "2", "3"]), (2, 0, [])]
)
def test_replicas_get_as_many_of_the_machines_gpus_as_each_needs(
    replicas: int, each: int, gpus: list[str]
) -> None:
    entry = ModelEntry("a", replicas=replicas)
    assert assigned(entry, each, ["0", "1", "2", "3", "4"]).gpus == gpus


def test_more_replicas_than_gpus_are_refused_with_what_fits() -> None:
    with pytest.raises(
        UsageError,
        match=r"a: replicas is 2, which need 4 GPUs, 2 each; nvidia-smi -L lists 3; choose fewer",
    ):
        assigned(ModelEntry("a", replicas=2), 2, ["0", "1", "2"])


def test_gpus_are_assigned_where_nvidia_smi_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Environment(tmp_path, tmp_path, [], *[lambda _: tmp_path] * 3, {}, lambda *_: {})
    asked = overridden(load_profile("vllm-qwen3-coder"), ["qwen3-coder-30b.replicas=2"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert with_gpus(asked, here) == asked
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\necho '{LISTED}'")
    smi.chmod(0o755)
    assert with_gpus(asked, here).models[0].gpus == ["0", "1"]
    assert with_gpus(profile(), here) == profile()


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
