"""Our reader of GGUF headers agrees with the gguf library's, and finds damage."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from engine.gguf.conftest import Make
from gguf import GGUFReader

from enginix.errors import EngineDamaged
from enginix.gguf_header import read_header

Write = Callable[[Path], Path]


@pytest.fixture
def gguf(make: Make, write: Write) -> Path:
    return write(make(architecture="qwen3moe", layers=1))


def test_the_tensors_are_those_the_gguf_library_finds(gguf: Path) -> None:
    found = {tensor.name: tensor for tensor in read_header(gguf).tensors}
    others = {tensor.name: tensor for tensor in GGUFReader(gguf).tensors}

    assert found.keys() == others.keys()
    for name, tensor in found.items():
        other = others[name]
        assert tensor.type == other.tensor_type.name
        assert list(tensor.shape) == list(reversed(other.shape))
        assert (tensor.start, tensor.size_bytes) == (other.data_offset, other.n_bytes)


def test_the_values_are_those_the_gguf_library_finds(gguf: Path) -> None:
    header, fields = read_header(gguf), GGUFReader(gguf).fields

    assert header.values["general.name"] == "test"
    for name, value in header.values.items():
        assert value == fields[name].contents()
    for name, length in header.arrays.items():
        assert length == len(fields[name].data)


@pytest.mark.parametrize("cut", [0, 3, 4, 20, 24, 100, 10_000, 60_000, -100_000, -1])
def test_a_file_cut_anywhere_is_refused(cut: int, gguf: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(gguf.read_bytes()[:cut])

    with pytest.raises(EngineDamaged, match="build the engine again"):
        read_header(short)


def test_a_file_with_more_than_its_tensors_is_refused(gguf: Path) -> None:
    with gguf.open("ab") as file:
        file.write(bytes(32))

    with pytest.raises(EngineDamaged, match=r"has \d+ bytes, its header describes \d+"):
        read_header(gguf)


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineDamaged, match="No such file"):
        read_header(tmp_path / "model.gguf")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04" + bytes(1000))

    with pytest.raises(EngineDamaged, match="starts with b'PK"):
        read_header(path)


def test_any_flipped_bit_leaves_a_header_that_is_read_or_refused(gguf: Path) -> None:
    end = read_header(gguf).tensors[0].start
    draw = random.Random(0)
    with gguf.open("r+b", buffering=0) as file:
        for _ in range(500):
            # Most flips at both ends of the header, some within the vocabulary.
            starts = draw.choice([0, 0, end - 3000, draw.randrange(end - 3000)])
            place = starts + draw.randrange(3000 if starts else 200)
            (right,) = os.pread(file.fileno(), 1, place)
            os.pwrite(file.fileno(), bytes([draw.randrange(256)]), place)
            with suppress(EngineDamaged):
                read_header(gguf)
            os.pwrite(file.fileno(), bytes([right]), place)
    read_header(gguf)
