"""`enginix engine rebuild` makes the same engine from its manifest alone, or nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.hub import Hub, Repo
from fakes.made_checkpoint import DEMO, Shape, make_checkpoint
from fakes.random_checkpoint import write_checkpoint
from fakes.trtllm_runtime import write_runtime

from enginix.cli.main import main
from tests.conftest import contents

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {path.name: path.read_bytes() for path in DEMO.iterdir()}


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


Enginix = Callable[..., Done]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub({"org/demo": Repo({**FILES, "README.md": b"# demo"})}) as hub:
        yield hub


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("ENGINIX_RUNTIME_TRITON_CPU", raising=False)


@pytest.fixture
def enginix(capsys: pytest.CaptureFixture[str]) -> Enginix:
    def run(*arguments: str | Path) -> Done:
        status = main(list(map(str, arguments)))
        output = capsys.readouterr()
        return Done(status, output.out, output.err)

    return run


@pytest.fixture
def rebuild(enginix: Enginix) -> Enginix:
    return lambda *arguments: enginix("engine", "rebuild", *arguments)


def change(engine: Path, **values: object) -> None:
    """Change values in an engine's manifest; None removes the key."""
    path = engine / "manifest.json"
    data = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


def from_the_hub(enginix: Enginix, *arguments: str) -> Path:
    """./engine of org/demo, as if built elsewhere: its checkpoint is not on this machine."""
    fetched = Path(enginix("checkpoint", "fetch", "org/demo").out.strip())
    done = enginix(
        "engine", "build", "--checkpoint", fetched, "--name", "mine", "--out", "engine", *arguments
    )
    assert done.status == 0, done.err
    shutil.rmtree("home")
    return Path("engine")


def test_a_shipped_models_engine_is_reproduced_byte_for_byte(
    enginix: Enginix, rebuild: Enginix
) -> None:
    assert enginix("engine", "build", "demo", "--out", "engine").status == 0
    done = rebuild("engine", "--out", "again")
    assert done.status == 0, done.err
    assert contents(Path("again")) == contents(Path("engine"))
    assert done.err == "all versions are the recorded ones\n"
    assert done.out.splitlines()[-1] == (
        "again: rebuilt demo, 6 of 6 files are identical; manifest.json is identical"
    )


def test_the_manifest_alone_is_enough(enginix: Enginix, rebuild: Enginix, hub: Hub) -> None:
    engine = from_the_hub(enginix, "--max-seq-len", "512", "--max-batch-size", "3")
    before = contents(engine)
    shutil.move("engine/manifest.json", "alone.json")
    shutil.rmtree("engine")
    hub.requests.clear()

    assert rebuild("alone.json", "--out", "again").status == 0
    assert contents(Path("again")) == before
    asked = [request.path for request in hub.requests if "/api/" in request.path]
    assert asked == [f"/api/models/org/demo/revision/{COMMIT}"]


def test_the_engine_goes_where_a_build_would_put_it(enginix: Enginix, rebuild: Enginix) -> None:
    from_the_hub(enginix)
    assert rebuild("engine").status == 0
    assert contents(Path("home/engines/mine")) == contents(Path("engine"))
    done = rebuild("engine")
    assert done.status == 1
    assert "exists already; name another --out, or pass --replace" in done.err
    assert rebuild("engine", "--replace").status == 0


def test_an_already_fetched_source_is_not_fetched_again(
    enginix: Enginix, rebuild: Enginix, hub: Hub
) -> None:
    from_the_hub(enginix)
    enginix("checkpoint", "fetch", "org/demo")
    hub.requests.clear()
    assert rebuild("engine", "--out", "again").status == 0
    assert hub.requests == []


def test_the_recorded_command_builds_the_same_model(enginix: Enginix) -> None:
    from_the_hub(enginix, "--max-seq-len", "512")
    recipe = json.loads(Path("engine/manifest.json").read_text())["recipe"]
    assert recipe["libraries"].keys() == {"gguf"}
    arguments = [str(DEMO) if word == "CHECKPOINT" else word for word in recipe["command"]]
    assert enginix(*arguments[1:], "--out", "again").status == 0
    one, other = contents(Path("engine")), contents(Path("again"))
    del one["manifest.json"], other["manifest.json"]
    assert one == other


def test_no_manifest_contains_a_path_of_this_machine(enginix: Enginix, tmp_path: Path) -> None:
    from_the_hub(enginix)
    text = Path("engine/manifest.json").read_text()
    assert str(tmp_path) not in text
    assert '"/' not in text


def test_a_local_checkpoint_must_be_named(
    enginix: Enginix, rebuild: Enginix, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape(layers=1))
    arguments = (
        "engine",
        "build",
        "--checkpoint",
        checkpoint,
        "--name",
        "local",
        "--out",
        "engine",
    )
    assert enginix(*arguments).status == 0
    done = rebuild("engine", "--out", "again")
    assert done.status == 1
    assert "name the directory of its source files with --checkpoint DIR" in done.err
    moved = checkpoint.rename(tmp_path / "moved")
    assert rebuild("engine", "--out", "again", "--checkpoint", moved).status == 0
    assert contents(Path("again")) == contents(Path("engine"))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_source_that_changed_upstream_is_reported_with_both_hashes(
    enginix: Enginix, rebuild: Enginix, hub: Hub, name: str
) -> None:
    """The same commit with other bytes: a rewritten history, or a false hub."""
    from_the_hub(enginix)
    changed = FILES[name] + b" "
    hub.repos["org/demo"].files[name] = changed
    hub.requests.clear()
    done = rebuild("engine", "--out", "again")
    assert done.status == 1
    expected = json.loads(Path("engine/manifest.json").read_text())["source"]["files"][name]
    assert f"has sha256 {sha256(changed)}, the manifest records {expected}" in done.err
    assert done.err.splitlines()[-1].startswith("enginix: ")
    assert not Path("again").exists()
    if name == "model.safetensors":
        # The hub's listing has the hash before any byte is fetched.
        assert not [request for request in hub.requests if "resolve" in request.path]
        assert not Path("home").exists()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_missing_upstream_is_named(enginix: Enginix, rebuild: Enginix, hub: Hub) -> None:
    from_the_hub(enginix)
    del hub.repos["org/demo"].files["tokenizer_config.json"]
    done = rebuild("engine", "--out", "again")
    assert done.status == 1
    assert "has no tokenizer_config.json, which the engine was made from" in done.err
    assert not Path("home").exists()


def test_a_commit_missing_upstream_is_named(enginix: Enginix, rebuild: Enginix, hub: Hub) -> None:
    from_the_hub(enginix)
    hub.repos["org/demo"].revision = "f" * 40
    done = rebuild("engine", "--out", "again")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert f"org/demo has no revision '{COMMIT}'" in done.err


def test_without_a_network_it_is_one_sentence_and_nothing_is_left(
    enginix: Enginix, rebuild: Enginix, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_the_hub(enginix)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = rebuild("engine", "--out", "again")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "cannot be reached" in done.err
    assert sorted(path.name for path in Path().iterdir()) == ["engine"]


@pytest.mark.parametrize("extra", ["tokenizer.model", "chat_template.json"])
def test_an_extra_file_in_the_source_is_refused(
    enginix: Enginix, rebuild: Enginix, tmp_path: Path, extra: str
) -> None:
    assert enginix("engine", "build", "demo", "--out", "engine").status == 0
    shutil.copytree(DEMO, "copy")
    Path("copy", extra).write_text("{}")
    done = rebuild("engine", "--out", "again", "--checkpoint", tmp_path / "copy")
    assert done.status == 1
    assert f"copy/{extra} is not one of the files that the engine was made from" in done.err


def test_an_engine_that_differs_is_not_put_in_place(enginix: Enginix, rebuild: Enginix) -> None:
    assert enginix("engine", "build", "demo", "--out", "engine").status == 0
    change(Path("engine"), sha256={"model.gguf": "0" * 64})
    done = rebuild("engine", "--out", "again")
    assert done.status == 1
    assert f"model.gguf: found {sha256(Path('engine/model.gguf').read_bytes())}" in done.err
    assert f"the manifest records {'0' * 64}" in done.err
    assert sorted(path.name for path in Path().iterdir()) == ["engine"]


def test_other_versions_are_printed_before_the_build(enginix: Enginix, rebuild: Enginix) -> None:
    assert enginix("engine", "build", "demo", "--out", "engine").status == 0
    data = json.loads(Path("engine/manifest.json").read_text())
    data["built_with"]["enginix"] = "0.0.9"
    data["recipe"]["libraries"]["gguf"] = "0.1"
    change(Path("engine"), **data)
    done = rebuild("engine", "--out", "again")
    assert done.status == 0
    assert done.err.startswith("versions differ: enginix 0.0.9 then, 0.1.0 now; gguf 0.1 then, ")
    assert done.out.splitlines()[-1].endswith("manifest.json differs in built_with, recipe")


def test_an_older_manifest_is_rebuilt_and_compared_with_its_engine(
    enginix: Enginix, rebuild: Enginix
) -> None:
    assert enginix("engine", "build", "demo", "--out", "engine").status == 0
    change(Path("engine"), sha256=None, recipe=None)
    assert enginix("engine", "verify", "engine").status == 0
    done = rebuild("engine", "--out", "again")
    assert "6 of 6 files are identical; manifest.json differs in sha256, recipe" in done.out
    with Path("engine/model.gguf").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    done = rebuild("engine", "--out", "changed")
    assert done.status == 1
    assert "model.gguf: found" in done.err


def test_an_older_manifest_alone_is_compared_by_sizes_and_says_so(
    enginix: Enginix, rebuild: Enginix
) -> None:
    assert enginix("engine", "build", "demo", "--out", "engine").status == 0
    change(Path("engine"), sha256=None, recipe=None)
    done = rebuild("engine/manifest.json", "--out", "again")
    assert done.status == 0
    assert "6 files have the same size (this older manifest has no hashes)" in done.out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing is not an enginix engine: it does not exist"),
        ("{", "is not JSON"),
        ('{"schema_version": 2}', "this enginix reads 1"),
    ],
)
def test_an_invalid_manifest_is_refused(
    rebuild: Enginix, content: str | None, message: str
) -> None:
    if content is not None:
        Path("missing").write_text(content)
    done = rebuild("./missing", "--out", "again")
    assert done.status == 1
    assert message in done.err
    assert "Traceback" not in done.err
    assert not Path("again").exists()


def test_a_name_that_is_a_path_is_refused(enginix: Enginix, rebuild: Enginix) -> None:
    assert enginix("engine", "build", "demo", "--out", "engine").status == 0
    change(Path("engine"), name="../../elsewhere")
    done = rebuild("engine")
    assert done.status == 2
    assert "expected letters, digits" in done.err


def test_an_adopted_engine_cannot_be_rebuilt(enginix: Enginix, rebuild: Enginix) -> None:
    assert enginix("engine", "build", "demo", "--out", "engine").status == 0
    change(Path("engine"), source={"repo": None, "revision": None, "files": {}})
    done = rebuild("engine", "--out", "again")
    assert done.status == 1
    assert "records no source files" in done.err


def test_an_older_engine_with_a_missing_file_is_damaged(enginix: Enginix, rebuild: Enginix) -> None:
    assert enginix("engine", "build", "demo", "--out", "engine").status == 0
    change(Path("engine"), sha256=None, recipe=None)
    Path("engine/tokenizer.json").unlink()
    done = rebuild("engine", "--out", "again")
    assert done.status == 1
    assert "tokenizer.json is missing, the manifest promises" in done.err


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("quantized") / "qwen3")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runtime(tmp_path_factory.mktemp("runtime") / "root").parents[1]


@pytest.fixture
def trtllm(
    enginix: Enginix, checkpoint: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """./engine for two ranks, built by the stand-in for TensorRT-LLM."""
    monkeypatch.setenv("ENGINIX_RUNTIME_TENSORRT_LLM", str(runtime))
    done = enginix(
        "engine", "build", "--checkpoint", checkpoint, "--kind", "tensorrt-llm", "--tp", "2",
        "--max-seq-len", "512", "--max-input-len", "300", "--out", "engine",
    )  # fmt: skip
    assert done.status == 0, done.err
    return Path("engine")


def recipe_of(engine: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads((engine / "manifest.json").read_text())["recipe"]
    return found


def test_tensorrt_llms_rank_checkpoint_is_reproduced(
    trtllm: Path, rebuild: Enginix, checkpoint: Path
) -> None:
    manifest = trtllm / "manifest.json"
    work = ("--work-dir", "work", "--keep-work")
    done = rebuild(manifest, "--checkpoint", checkpoint, "--out", "again", *work)
    assert done.status == 0, done.err
    before, after = recipe_of(trtllm), recipe_of(Path("again"))
    assert after == before
    assert sorted(before["rank_checkpoint"]) == [
        "config.json",
        "rank0.safetensors",
        "rank1.safetensors",
    ]
    for name, expected in before["rank_checkpoint"].items():
        assert sha256(Path("work/rank-checkpoint", name).read_bytes()) == expected
    assert done.err == "all versions are the recorded ones\n"
    assert "sha256 of 3 files of the rank checkpoint, as recorded" in done.out
    assert done.out.splitlines()[-1] == (
        "again: rebuilt qwen3, 5 of 5 files are identical; 3 files of the rank checkpoint are "
        "identical; TensorRT's own files are not compared"
    )


def test_the_command_that_compiled_it_is_recorded_without_paths(trtllm: Path) -> None:
    program = " ".join(recipe_of(trtllm)["program"])
    assert program.startswith(
        "python -m tensorrt_llm.commands.build --checkpoint_dir RANK_CHECKPOINT "
        "--output_dir ENGINE --max_batch_size 8 --max_input_len 300 --max_seq_len 512 "
    )
    assert recipe_of(trtllm)["options"] == {"dtype": "bfloat16", "max_input_len": "300"}
    assert '"/' not in (trtllm / "manifest.json").read_text()


def test_another_rank_checkpoint_is_refused_before_the_long_build(
    trtllm: Path, rebuild: Enginix, checkpoint: Path
) -> None:
    recipe = recipe_of(trtllm)
    recipe["rank_checkpoint"]["rank1.safetensors"] = "0" * 64
    change(trtllm, recipe=recipe)
    done = rebuild(trtllm, "--checkpoint", checkpoint, "--out", "again")
    assert done.status == 1
    assert "rank1.safetensors of the rank checkpoint: found " in done.err
    assert "build " not in done.out
    assert not Path("again").exists()


def test_another_tensorrt_llm_version_is_printed_before_the_build(
    trtllm: Path, rebuild: Enginix, checkpoint: Path
) -> None:
    data = json.loads((trtllm / "manifest.json").read_text())
    data["built_with"] |= {"tensorrt_llm": "1.0.0", "gpu_name": "NVIDIA H100"}
    change(trtllm, **data)
    done = rebuild(trtllm, "--checkpoint", checkpoint, "--out", "again")
    assert done.status == 0
    assert "versions differ: " in done.err
    assert "tensorrt llm 1.0.0 then, 1.2.1 now" in done.err
    assert "gpu name NVIDIA H100 then" in done.err


def test_a_missing_runtime_is_found_before_anything_is_fetched(
    trtllm: Path, rebuild: Enginix, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(trtllm, source={"repo": "org/demo", "revision": COMMIT, "files": {"config.json": "0"}})
    monkeypatch.delenv("ENGINIX_RUNTIME_TENSORRT_LLM")
    done = rebuild(trtllm, "--out", "again")
    assert done.status == 1
    assert "set ENGINIX_RUNTIME_TENSORRT_LLM" in done.err
    assert hub.requests == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": "bfloat16", "max_input_len": "many"},
        {"dtype": "bfloat16", "workers": "-3"},
        {"dtype": "int3"},
    ],
)
def test_invalid_recorded_options_are_one_sentence(
    trtllm: Path, rebuild: Enginix, checkpoint: Path, options: dict[str, str]
) -> None:
    change(trtllm, recipe=recipe_of(trtllm) | {"options": options})
    done = rebuild(trtllm, "--checkpoint", checkpoint, "--out", "again")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "are not build options" in done.err


def test_an_older_tensorrt_llm_manifest_says_what_is_missing(
    trtllm: Path, rebuild: Enginix, checkpoint: Path
) -> None:
    change(trtllm, recipe=None, sha256=None)
    done = rebuild(trtllm, "--checkpoint", checkpoint, "--out", "again")
    assert done.status == 1
    assert "did not record the build's options" in done.err
