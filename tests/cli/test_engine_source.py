"""A build reports the commit of its files, and whether the model is pinned."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.hub import Hub, Repo
from fakes.made_checkpoint import DEMO

from enginix.catalog.load import ModelSpec, SourceSpec, find_model
from enginix.checkpoint.origin import Origin, write_origin
from enginix.cli.engine_source import catalogue_source, repository_source
from enginix.cli.main import main
from enginix.engine.build import Job
from enginix.manifest import Limits

COMMIT, OTHER = "a" * 40, "b" * 40
LOCK = "pin it with `enginix checkpoint lock tiny`"


def job(directory: Path) -> Job:
    return Job("tiny", directory, Limits(1, 512, 512))


def fetched(directory: Path, revision: str = COMMIT) -> Path:
    write_origin(directory, Origin("org/tiny", revision, {}))
    return directory


def spec(revision: str | None) -> ModelSpec:
    return replace(find_model("demo"), name="tiny", source=SourceSpec("org/tiny", revision))


def test_an_unpinned_model_is_reported_with_the_fetched_commit(tmp_path: Path) -> None:
    found = catalogue_source(job(fetched(tmp_path)), spec(None))
    assert (found.repo, found.revision) == ("org/tiny", COMMIT)
    assert found.remark == (
        f"tiny is not pinned: building from commit {COMMIT} of org/tiny; {LOCK}"
    )


def test_an_unpinned_model_without_a_recorded_commit_is_reported(tmp_path: Path) -> None:
    found = catalogue_source(job(tmp_path), spec(None))
    assert found.revision is None
    assert found.remark == (
        f"tiny is not pinned, and {tmp_path} records no commit of org/tiny; {LOCK}"
    )


def test_a_branch_is_no_pin(tmp_path: Path) -> None:
    assert "is not pinned" in str(catalogue_source(job(fetched(tmp_path)), spec("main")).remark)


def test_a_pinned_model_of_its_commit_gets_no_remark(tmp_path: Path) -> None:
    assert catalogue_source(job(fetched(tmp_path)), spec(COMMIT)).remark is None


def test_a_commit_other_than_the_pinned_one_is_reported_and_recorded(tmp_path: Path) -> None:
    found = catalogue_source(job(fetched(tmp_path, OTHER)), spec(COMMIT))
    assert found.revision == OTHER
    assert f"is pinned to {COMMIT}, but {tmp_path} holds commit {OTHER}" in str(found.remark)


def test_a_directory_without_a_record_is_reported_and_assumed_to_be_the_pinned_commit(
    tmp_path: Path,
) -> None:
    found = catalogue_source(job(tmp_path), spec(COMMIT))
    assert found.revision == COMMIT
    assert f"assuming the pinned {COMMIT} of org/tiny" in str(found.remark)


def test_a_shipped_model_gets_no_remark(tmp_path: Path) -> None:
    found = catalogue_source(job(tmp_path), find_model("demo"))
    assert (found.repo, found.revision, found.remark) == (None, None, None)


def test_a_repository_without_a_commit_is_not_pinned(tmp_path: Path) -> None:
    found = repository_source(job(fetched(tmp_path)), "org/tiny")
    assert f"tiny is not pinned: building from commit {COMMIT}" in str(found.remark)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's files as they come from a hub."""
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ENGINIX_RUNTIME_TRITON_CPU", raising=False)
    files = {path.name: path.read_bytes() for path in DEMO.iterdir()}
    with Hub({"org/demo": Repo(files)}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        arguments = ["checkpoint", "fetch", "org/demo", "--out", str(tmp_path / "checkpoint")]
        assert main(arguments) == 0
    return tmp_path / "checkpoint"


def build(checkpoint: Path, *arguments: str) -> int:
    out = checkpoint.with_name("out")
    return main(["engine", "build", "--checkpoint", str(checkpoint), "--out", str(out), *arguments])


def source_of_the_engine(checkpoint: Path) -> tuple[str | None, str | None]:
    source = json.loads((checkpoint.with_name("out") / "manifest.json").read_text())["source"]
    return source["repo"], source["revision"]


def test_the_manifest_records_the_commit_of_a_fetched_directory(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(checkpoint, "qwen3-32b", "--kind", "gguf", "--max-seq-len", "512") == 0
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert (
        f"qwen3-32b is not pinned: building from commit {commit} of org/demo; pin it with "
        "`enginix checkpoint lock qwen3-32b`\n"
    ) in capsys.readouterr().err
    assert source_of_the_engine(checkpoint) == ("org/demo", commit)


def test_a_file_changed_after_the_fetch_is_not_recorded_as_the_commits(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (checkpoint / "tokenizer_config.json").open("a") as file:
        file.write(" ")
    assert build(checkpoint) == 1
    errors = capsys.readouterr().err
    assert "tokenizer_config.json has sha256 " in errors
    assert "and it came with " in errors
    assert "remove .enginix-source.json to build from the changed files" in errors
    assert not checkpoint.with_name("out").exists()

    (checkpoint / ".enginix-source.json").unlink()
    assert build(checkpoint) == 0
    assert source_of_the_engine(checkpoint) == (None, None)


def test_a_file_added_after_the_fetch_is_not_recorded_as_the_commits(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(checkpoint / "config.json", checkpoint / "chat_template.json")
    assert build(checkpoint) == 1
    errors = capsys.readouterr().err
    assert "chat_template.json has sha256" in errors
    assert "it did not come from there" in errors


def test_a_record_that_cannot_be_read_is_one_sentence(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint / ".enginix-source.json").write_text("[]")
    assert build(checkpoint) == 1
    assert "is not what `enginix checkpoint fetch` writes" in capsys.readouterr().err
