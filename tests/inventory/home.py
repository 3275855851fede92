"""A home as enginix leaves one, with what a test needs in it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from enginix.catalog.load import DIRECTORY
from enginix.checkpoint.origin import Origin, write_origin
from enginix.manifest import (
    BuiltWith,
    Limits,
    Manifest,
    Parallelism,
    Quantization,
    Source,
    write_manifest,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHORT = COMMIT[:12]
DEMO = DIRECTORY / "checkpoints/demo"


def add_engine(home: Path, name: str, repo: str | None = None, size: int = 1000) -> Path:
    directory = home / "engines" / name
    directory.mkdir(parents=True)
    (directory / "model.gguf").write_bytes(bytes(size))
    manifest = Manifest(
        name=name,
        kind="gguf",
        architecture="Qwen3ForCausalLM",
        source=Source(repo, COMMIT if repo else None, {}),
        quantization=Quantization("NVFP4"),
        parallelism=Parallelism(),
        limits=Limits(16, 512, 512),
        built_with=BuiltWith("0.1.0"),
        files={"model.gguf": size},
    )
    write_manifest(directory, manifest)
    return directory


def add_checkpoint(home: Path, repo: str, commit: str = COMMIT) -> Path:
    directory = home / "checkpoints" / f"{repo.replace('/', '--')}@{commit[:12]}"
    shutil.copytree(DEMO, directory)
    write_origin(directory, Origin(repo, commit, {}))
    return directory


def add_runtime(home: Path, name: str, kind: str = "vllm") -> Path:
    """As `enginix setup` makes it: a hidden directory, and a link that has its name."""
    files = home / "runtimes" / f".{name}-abcd1234"
    (files / "bin").mkdir(parents=True)
    (files / "pyvenv.cfg").write_text("home = /usr/bin\n")
    record = {"kind": kind, "requirements": [kind], "version": "1.2"}
    (files / "environment.json").write_text(json.dumps(record))
    link = home / "runtimes" / name
    link.symlink_to(files.name)
    return link


@contextmanager
def held(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)
