"""An engine is for the GPU that builds it, which must be the requested one."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine.trtllm.conftest import PATIENCE, Bench, job_of, surroundings
from fakes.trtllm_runtime import FAKES, write_runtime

from enginix.engine.stages import StageEvent
from enginix.engine.trtllm.build import BuildContext, convert_checkpoint
from enginix.engine.trtllm.plan import Options
from enginix.errors import BuildError

# The part of torch that the version report uses; the stand-in for TensorRT-LLM has none.
TORCH = """
from types import SimpleNamespace
cuda = SimpleNamespace(
    is_available=lambda: True,
    get_device_capability=lambda index: {capability},
    get_device_name=lambda index: "{name}",
)
version = SimpleNamespace(cuda="13.1")
"""


def with_gpu(directory: Path, name: str, capability: tuple[int, int]) -> Path:
    """A runtime on a machine with that GPU."""
    python = write_runtime(directory / name)
    modules = directory / name / "modules"
    modules.mkdir()
    (modules / "torch.py").write_text(TORCH.format(name=name, capability=capability))
    (modules / "sitecustomize.py").write_text("import torch\n")
    text = python.read_text().replace(str(FAKES), f"{modules}:{FAKES}")
    python.write_text(text)
    return python


def rank_checkpoint(bench: Bench, python: Path, out: Path) -> Path:
    events: list[StageEvent] = []
    workshop = BuildContext(
        python, surroundings(), bench.directory / "elsewhere", bench.warnings.append
    )
    job, options = job_of(bench.checkpoint, 2), Options(patience=PATIENCE)
    convert_checkpoint(job, options, workshop, out, events.append, replace_it=False)
    return out


def test_an_engine_belongs_to_the_gpu_that_built_it_not_the_one_that_converted(
    bench: Bench, tmp_path: Path
) -> None:
    hopper = with_gpu(tmp_path, "H100", (9, 0))
    ranks = rank_checkpoint(bench, hopper, tmp_path / "ranks")
    bench.python = with_gpu(tmp_path, "RTX-6000", (12, 0))
    manifest = bench.build(rank_checkpoint=ranks)
    assert manifest.built_with.compute_capability == "12.0"
    assert manifest.built_with.gpu_name == "RTX-6000"


def test_a_gpu_other_than_the_requested_one_is_refused_before_the_build(
    bench: Bench, tmp_path: Path
) -> None:
    bench.python = with_gpu(tmp_path, "H100", (9, 0))
    with pytest.raises(BuildError, match=r"has compute capability 9\.0, but --gpu is 12\.0"):
        bench.build(gpu="12.0")
    assert not bench.out.exists()


def test_the_requested_gpu_builds(bench: Bench, tmp_path: Path) -> None:
    bench.python = with_gpu(tmp_path, "RTX-6000", (12, 0))
    assert bench.build(gpu="12.0").built_with.compute_capability == "12.0"
