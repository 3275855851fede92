"""The catalogue: every shipped model loads, and an error in a file is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from enginix.catalog.load import DIRECTORY, ModelSpec, find_model, load_catalog, load_model
from enginix.errors import CatalogError, ModelUnknown

GOOD = """
title = "Tiny"
kind = "gguf"
status = "not built"
[source]
directory = "weights"
[variants.tp1]
tensor_parallel = 1
max_batch_size = 4
max_seq_len = 128
max_num_tokens = 64
gpu_memory_gb = 1.5
[variants.tp2]
tensor_parallel = 2
max_batch_size = 8
max_seq_len = 256
max_num_tokens = 64
gpu_memory_gb = 1
"""


def model(directory: Path, text: str = GOOD) -> ModelSpec:
    path = directory / "tiny.toml"
    path.write_text(text)
    return load_model(path)


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.toml")), ids=lambda path: path.stem)
def test_every_model_of_the_catalogue_loads(path: Path) -> None:
    assert load_model(path).name == path.stem


def test_names_and_aliases_are_unique() -> None:
    names = [name for spec in load_catalog().values() for name in (spec.name, *spec.aliases)]
    assert len(names) == len(set(names))


def test_a_source_is_a_repository_or_a_directory() -> None:
    for spec in load_catalog().values():
        assert (spec.source.repo is None) != (spec.source.directory is None), spec.name


def test_the_demo_checkpoint_is_shipped() -> None:
    directory = find_model("demo").source.directory
    assert directory is not None
    assert (directory / "hf_quant_config.json").is_file()


def test_a_model_is_found_by_its_alias() -> None:
    assert find_model("tiny-qwen3").name == "demo"


def test_an_unknown_name_suggests_similar_ones() -> None:
    with pytest.raises(ModelUnknown, match="did you mean demo"):
        find_model("dmo")


def test_a_source_directory_is_relative_to_its_file(tmp_path: Path) -> None:
    assert model(tmp_path).source.directory == tmp_path / "weights"


def test_without_a_number_the_smallest_variant_is_chosen(tmp_path: Path) -> None:
    assert model(tmp_path).variant().tensor_parallel == 1


def test_a_missing_variant_names_the_existing_ones(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="it has 1, 2"):
        model(tmp_path).variant(4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Tiny"', "", "title is missing"),
        ('kind = "gguf"', 'kind = "onnx"', "expected one of tensorrt-llm"),
        (
            "max_seq_len = 128",
            'max_seq_len = "128"',
            "max_seq_len: expected a whole number, got '128'",
        ),
        ('title = "Tiny"', 'title = "Tiny"\nname = "big"', r"unknown keys \['name'\]"),
        ('directory = "weights"', "directory = 3", "source: directory: expected a string, got 3"),
        ('title = "Tiny"', 'titel = "Tiny"\ntitle = "Tiny"', r"unknown keys \['titel'\]"),
        ("gpu_memory_gb = 1.5", "gpu_memory_gb = 1.5\nvram = 2", r"tp1: unknown keys \['vram'\]"),
        ('title = "Tiny"', "title = ", "tiny.toml"),
    ],
)
def test_an_error_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        model(tmp_path, re.sub(old, new, GOOD, count=1))
