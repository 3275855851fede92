"""What quantizing needs, and where it therefore runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.random_checkpoint import Shape, write_checkpoint

from enginix.checkpoint.inspect import inspect_checkpoint
from enginix.checkpoint.load import open_checkpoint
from enginix.errors import BuildError
from enginix.quantize.formats import FORMATS
from enginix.quantize.needs import Gpu, Needs, choose_device, estimate

GB = 1_000_000_000
NEEDS = Needs(cpu=40 * GB, gpu=30 * GB, host=8 * GB, disk=10 * GB)
ROOM = [Gpu("A", 20 * GB), Gpu("B", 20 * GB)]
FULL = [Gpu("A", 20 * GB)]


@pytest.mark.parametrize(
    ("choice", "gpus", "memory", "device"),
    [
        ("auto", ROOM, 10 * GB, "cuda"),
        ("auto", ROOM, 100 * GB, "cuda"),
        ("auto", FULL, 100 * GB, "cpu"),
        ("auto", [], 40 * GB, "cpu"),
        ("cpu", ROOM, 100 * GB, "cpu"),
        ("cuda", ROOM, 8 * GB, "cuda"),
    ],
)
def test_it_runs_on_the_gpu_if_it_fits_there(
    choice: str, gpus: list[Gpu], memory: int, device: str
) -> None:
    assert choose_device(choice, NEEDS, gpus, memory) == device


@pytest.mark.parametrize(
    ("choice", "gpus", "memory", "sentence"),
    [
        ("cpu", ROOM, 39 * GB, "fit: on the CPU it needs at least 40.0 GB of memory, but 39.0 GB"),
        ("cuda", [], 99 * GB, "torch finds no GPU; check the driver with `enginix doctor`"),
        (
            "cuda",
            FULL,
            99 * GB,
            "on the GPU it needs at least 30.0 GB, and 8.0 GB of host memory, but 20.0 GB and 99.0",
        ),
        ("cuda", ROOM, 7 * GB, "and 8.0 GB of host memory, but 40.0 GB and 7.0 GB are free"),
        ("auto", FULL, 20 * GB, "20.0 GB are free; on the CPU it needs at least 40.0 GB"),
    ],
)
def test_what_fits_nowhere_is_refused_with_the_numbers(
    choice: str, gpus: list[Gpu], memory: int, sentence: str
) -> None:
    with pytest.raises(BuildError) as caught:
        choose_device(choice, NEEDS, gpus, memory)
    assert sentence in str(caught.value)


def test_weights_count_as_they_are_loaded_and_as_they_are_written(tmp_path: Path) -> None:
    shape = Shape(hidden=1024, intermediate=4096, vocab=1000)
    found = inspect_checkpoint(open_checkpoint(write_checkpoint(tmp_path / "a", shape, algo=None)))
    linear = sum(rows * columns for rows, columns in shape.linears().values())
    head = 1024 * shape.vocab
    little = 0.01 * linear
    plain = estimate(found, FORMATS["nvfp4"], 512, evaluates=False)
    measured = estimate(found, FORMATS["nvfp4"], 512, evaluates=True)
    assert measured.cpu - plain.cpu == pytest.approx(2 * (linear + 2 * head), abs=little)
    # The output head is counted as quantized, the embedding is not.
    assert plain.disk == pytest.approx(0.5625 * (linear + head) + 2 * head, abs=little)
    assert plain.host > 2 * linear
