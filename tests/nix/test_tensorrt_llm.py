"""Engines for TensorRT-LLM from Nix, against the stand-in runtime and a small random checkpoint."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.random_checkpoint import Shape, write_checkpoint
from nix.container import blob, unpack_layout
from nix.on_this_machine import Nix

pytestmark = pytest.mark.nix

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def here(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Nix:
    """nix with a nixpkgs whose site overlay brings the stand-in and the checkpoint."""
    nixpkgs = tmp_path_factory.mktemp("site") / "nixpkgs"
    shutil.copytree(nix.nixpkgs, nixpkgs)
    shutil.copytree(TESTS / "nix" / "sites" / "tensorrt-llm", nixpkgs / "site")
    fakes = nixpkgs / "site" / "fakes" / "tensorrt_llm"
    shutil.copytree(TESTS / "fakes" / "tensorrt_llm", fakes)
    write_long_checkpoint(nixpkgs / "site" / "checkpoint")
    return replace(nix, nixpkgs=nixpkgs)


def write_long_checkpoint(directory: Path) -> None:
    """With the context that the catalogue's variants ask for."""
    write_checkpoint(directory, Shape())
    config = json.loads((directory / "config.json").read_text())
    config["max_position_embeddings"] = 40960
    (directory / "config.json").write_text(json.dumps(config))


def test_an_engine_for_four_gpus_is_built_and_says_what_it_is(here: Nix) -> None:
    [engine] = here.build("qwen3-32b-engine-tp4")
    manifest = json.loads((engine / "manifest.json").read_text())
    assert manifest["parallelism"]["world_size"] == 4
    assert manifest["quantization"]["algo"] == "NVFP4"
    assert {f"rank{rank}.engine" for rank in range(4)} <= set(manifest["files"])


def test_an_engine_is_made_from_a_rank_checkpoint_that_outlives_a_failed_build(here: Nix) -> None:
    [rank_checkpoint] = here.build("qwen3-32b-engine-tp4.rankCheckpoint")
    inputs = here.run("derivation", "show", ".#qwen3-32b-engine-tp4", *here.flake_options).stdout
    assert str(rank_checkpoint) in inputs
    assert (rank_checkpoint / "rank3.safetensors").exists()


def test_an_engine_of_four_ranks_is_an_image_that_says_what_built_it(
    here: Nix, tmp_path: Path
) -> None:
    [layout] = here.build("qwen3-32b-engine-tp4.oci")
    files = {path.name for path in unpack_layout(layout, tmp_path / "engine").iterdir()}
    assert {"manifest.json", *(f"rank{rank}.engine" for rank in range(4))} <= files
    [image] = json.loads((layout / "index.json").read_text())["manifests"]
    labels = json.loads(blob(layout, image).read_text())["annotations"]
    assert labels["org.opencontainers.image.title"] == "qwen3-32b-engine-tp4"
    assert labels["enginix.built-with.tensorrt-llm"]


def test_an_engine_is_named_after_the_gpu_it_is_for(here: Nix) -> None:
    assert here.evaluate("qwen3-32b-engine-tp2", "engine: engine.name").endswith("-tp2-sm120")
    assert here.evaluate("qwen3-32b-engine-tp2.sm90", "engine: engine.name").endswith("-tp2-sm90")


def test_a_model_with_a_dot_in_its_name_needs_no_quotes(here: Nix) -> None:
    for spelling in ("llama-3.1-8b-engine", "llama-3_1-8b-engine"):
        name = here.evaluate(spelling, "engine: engine.name")
        assert name.startswith("llama-3.1-8b-engine-sm120")


def test_a_relaxed_sandbox_lets_an_engine_for_a_gpu_out(here: Nix) -> None:
    # All that it is made of, for which this machine may have no sandbox.
    here.build("qwen3-32b-engine-tp2.rankCheckpoint")
    relaxed = ["--no-link", "--option", "sandbox", "relaxed"]
    here.run("build", ".#qwen3-32b-engine-tp2.sm100", *here.flake_options, *relaxed)


def test_a_strict_sandbox_refuses_an_engine_for_a_gpu_before_it_is_built(here: Nix) -> None:
    strict = ["--no-link", "--option", "sandbox", "true"]
    name = ".#qwen3-32b-engine-tp2.sm90"
    done = here.run("build", name, *here.flake_options, *strict, check=False)
    assert done.returncode != 0
    assert "__noChroot" in done.stderr
