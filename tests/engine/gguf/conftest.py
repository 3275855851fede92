"""Fixtures of the gguf kind's tests: a checkpoint and its GGUF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.made_checkpoint import Shape, make_checkpoint

from enginix.engine.gguf.build import read_plan, write_model
from enginix.engine.gguf.program import Generator
from enginix.runtimes.runtime import Runtime

ROOT = Path(__file__).parents[3]

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make(architecture=..., ..., config={...}) -> the directory of a new checkpoint."""

    def made(config: dict[str, object] | None = None, **shape: object) -> Path:
        number = len(list(tmp_path.glob("checkpoint-*")))
        return make_checkpoint(tmp_path / f"checkpoint-{number}", Shape(**shape), config)

    return made


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Path], Path]:
    """write(checkpoint) -> its GGUF."""

    def written(checkpoint: Path) -> Path:
        path = tmp_path / f"{checkpoint.name}.gguf"
        write_model(read_plan(checkpoint), "test", path, lambda size: None)
        return path

    return written


@pytest.fixture(scope="session")
def generator(runtime: Runtime) -> Generator:
    """The real token engine in the real runtime."""
    program = ROOT / "triton-repo" / "gguf" / "tensorrt_llm" / "1" / "generate.py"
    return Generator(runtime.python, program, threads=1)
