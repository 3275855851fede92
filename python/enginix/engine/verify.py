"""Checks an engine against its manifest: files, headers, hashes, and on request its answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from enginix.checkpoint.load import hash_all
from enginix.engine.edge_llm.bundle import verify_manifest as verify_edge_llm
from enginix.engine.gguf.answers import compare_answers
from enginix.engine.gguf.program import Generator
from enginix.engine.gguf.verify import MODEL_FILE, verify_model, verify_promises
from enginix.engine.stages import Report, Stages
from enginix.engine.trtllm.verify import verify_manifest
from enginix.errors import EngineDamaged, EngineError
from enginix.manifest import Manifest, check_files, read_manifest


def verify_engine(
    directory: Path, report: Report, *, run: Callable[[], Generator] | None = None
) -> Manifest:
    """Raise an EngineError for any difference; with `run`, also compare its answers."""
    stages = Stages(report)
    with stages.run("files") as stage:
        manifest = read_manifest(directory)
        check_files(directory, manifest)
        size = sum(manifest.files.values())
        stage.summary = f"{len(manifest.files)} files, {size / 1e6:,.1f} MB, as recorded"
    verify = VERIFIERS.get(manifest.kind)
    if verify:
        with stages.run("contents") as stage:
            stage.summary = verify(directory, manifest)
    if manifest.sha256:
        with stages.run("hashes") as stage:
            _require_hashes(directory, manifest)
            stage.summary = f"sha256 of {len(manifest.sha256)} files, as recorded"
    if run:
        with stages.run("answers") as stage:
            stage.summary = _run_check(directory, manifest, run)
    return manifest


def _require_hashes(directory: Path, manifest: Manifest) -> None:
    found = hash_all(directory, manifest.sha256)
    for name, expected in manifest.sha256.items():
        if found[name] != expected:
            raise EngineDamaged(
                f"{directory / name} has sha256 {found[name]}, the manifest records {expected}; "
                "build the engine again"
            )


def _verify_gguf(directory: Path, manifest: Manifest) -> str:
    summary = verify_model(directory)
    verify_promises(directory, manifest)
    return summary


def _run_check(directory: Path, manifest: Manifest, run: Callable[[], Generator]) -> str:
    if manifest.kind != "gguf":
        raise EngineError(
            f"{directory} is of kind {manifest.kind}, whose answers cannot be checked from "
            "here; leave out --run"
        )
    if not manifest.check:
        return "none recorded: build it again where the triton-cpu runtime is"
    compare_answers(run(), directory / MODEL_FILE, manifest.check)
    return f"{len(manifest.check)} of {len(manifest.check)} as recorded"


# Engine kind -> the check of its contents; returns one line for people.
VERIFIERS: dict[str, Callable[[Path, Manifest], str]] = {
    "gguf": _verify_gguf,
    "tensorrt-llm": verify_manifest,
    "edge-llm": verify_edge_llm,
}
