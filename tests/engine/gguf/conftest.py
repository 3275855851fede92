"""What the gguf kind's tests share: making a checkpoint and writing its GGUF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.made_checkpoint import Shape, make_checkpoint

from enginix.engine.gguf.build import read_plan, write_model

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
