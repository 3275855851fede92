"""What `enginix serve` says before it serves, and what it leaves when it cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fakes.hub import Hub, Repo

from enginix.cli.main import main
from tests.conftest import free_ports
from tests.inventory.home import COMMIT, DEMO, add_checkpoint, add_engine, add_runtime

FILES = {path.name: path.read_bytes() for path in DEMO.iterdir()}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # No GPU and no server program of this machine's, and no account at the hub.
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def changed(**config: object) -> dict[str, bytes]:
    """The demo's files with other values in its config.json."""
    text = json.dumps({**json.loads(FILES["config.json"]), **config})
    return {**FILES, "config.json": text.encode()}


def served(hub: Hub, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    return main(["serve", *words])


def test_a_dry_run_of_a_repository_explains_and_fetches_nothing_but_its_configuration(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub({"org/Tiny-NVFP4": Repo(FILES)}) as hub:
        assert served(hub, monkeypatch, "org/Tiny-NVFP4", "--dry-run") == 0
        assert hub.ranges_of("model.safetensors") == []
    said = capsys.readouterr().out
    assert "# Tiny-NVFP4 org/Tiny-NVFP4@0123456789ab at the hub" in said
    assert "#   triton   serves it repacked without loss for llama.cpp, on the CPU" in said
    assert "#   trtllm   no: it needs an NVIDIA GPU, and there is none here" in said
    assert f"enginix pull org/Tiny-NVFP4@{COMMIT}" in said
    assert f"--out {home}/engines/Tiny-NVFP4" in said
    assert not home.exists()


def test_a_model_that_nothing_here_can_serve_is_refused_before_its_weights_are_fetched(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = changed(architectures=["NemotronHForCausalLM"])
    with Hub({"org/other": Repo(files)}) as hub:
        assert served(hub, monkeypatch, "org/other", f"--port={free_ports(1)[0]}") == 2
        assert hub.ranges_of("model.safetensors") == []
    output = capsys.readouterr()
    assert "not NemotronHForCausalLM" in output.out
    assert "no server program here can serve other" in output.err
    assert not home.exists()


def test_a_repository_without_safetensors_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub({"org/GGUF": Repo({"config.json": b"{}", "tiny.gguf": b"GGUF"})}) as hub:
        assert served(hub, monkeypatch, "org/GGUF", "--dry-run") == 1
    assert "has no .safetensors files" in capsys.readouterr().err


def test_a_build_that_fails_leaves_the_whole_checkpoint_and_no_engine(
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "runtime" / "bin").mkdir(parents=True)
    (tmp_path / "runtime" / "bin" / "python").touch()
    monkeypatch.setenv("ENGINIX_RUNTIME_TRITON_CPU", str(tmp_path / "runtime"))
    with Hub({"org/broken": Repo({**FILES, "tokenizer.json": b"{"})}) as hub:
        assert served(hub, monkeypatch, "org/broken", f"--port={free_ports(1)[0]}") == 1
    assert "tokenizer.json" in capsys.readouterr().err
    assert [path.name for path in (home / "checkpoints").iterdir()] == ["org--broken@0123456789ab"]
    assert list(home.glob("engines/*")) == []
    assert not (home / "run").exists()


@pytest.mark.parametrize("word", ["org/demo", f"org/demo@{COMMIT}", "org/demo@0123456789ab"])
def test_what_is_on_this_machine_is_served_without_the_hub(
    home: Path, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = add_checkpoint(home, "org/demo")
    assert main(["serve", word, "--dry-run"]) == 0
    assert f"the checkpoint {directory}" in capsys.readouterr().out


def test_an_engine_serves_without_its_checkpoint(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = add_engine(home, "mine", "org/mine")
    for word in ("mine", "org/mine", str(engine)):
        assert main(["serve", word, "--dry-run"]) == 0
        assert f"the engine {engine}" in capsys.readouterr().out


def test_the_context_of_an_engine_is_not_changed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_engine(home, "mine")
    assert main(["serve", "mine", "--context", "4096", "--dry-run"]) == 2
    assert "was built for 512 tokens, and --context asks for 4096" in capsys.readouterr().err


def test_a_longer_context_means_fewer_requests_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub({"org/long": Repo(changed(max_position_embeddings=40960))}) as hub:
        assert served(hub, monkeypatch, "org/long", "--context", "32768", "--dry-run") == 0
        assert "--max-batch-size 1 --max-seq-len 32768" in capsys.readouterr().out
        assert served(hub, monkeypatch, "org/long", "--context", "65536", "--dry-run") == 2
    assert "made for 40960 tokens, and --context asks for 65536" in capsys.readouterr().err


def test_a_gguf_file_is_for_llama_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    assert main(["serve", str(tmp_path / "tiny.gguf"), "--name", "mine", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "#   llamacpp serves it on the CPU" in said
    assert f"--model={tmp_path}/tiny.gguf --alias=mine" in said


def test_gpus_are_used_by_what_is_installed_for_them(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smi = tmp_path / "nvidia-smi"
    rows = "".join(f"{n}, GPU-{n}, NVIDIA H200, 9.0, 143771, 143000, 580.1\\n" for n in range(2))
    smi.write_text(f"#!/bin/sh\nprintf '{rows}'\n")
    smi.chmod(0o755)
    environment = add_runtime(home, "vllm") / "bin"
    for program in ("python", "vllm"):
        (environment / program).touch()

    options = ["--engine", "vllm", "--tp", "2", "--context", "1024", "--dry-run"]
    assert main(["serve", "demo-llama", str(DEMO), *options]) == 0

    said = capsys.readouterr().out
    assert said.count("#   vllm     serves it on 2 GPUs") == 2
    assert said.count("#   trtllm   no: it is not installed (enginix setup trtllm)") == 2
    command = next(line for line in said.splitlines() if f"{environment}/vllm serve" in line)
    assert "--gpu-memory-utilization=0.45" in command
    assert "--tensor-parallel-size=2" in command
    assert "--max-model-len=1024" in command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope"], "no model named 'nope'"),
        (["no/such/thing"], "there is no no/such/thing; expected a model of the catalogue"),
        (["missing.gguf"], "there is no missing.gguf"),
        (["{empty}"], "is none of what can be served"),
        (["{two}"], "has 2 .gguf files; name one of a.gguf, b.gguf"),
        (["{spaced}"], "is no name for a model; give it one with --name NAME"),
        (["demo", "demo-llama", "--name", "x"], "--name names one model, and 2 are given"),
        (["demo", "--engine", "onnx"], "--engine: expected one of triton"),
        (["demo", "--engine", "vllm"], "vllm cannot serve demo: it cannot run NVFP4"),
        (["demo", "--tp", "2"], "no server program here can serve demo"),
        (["demo", "--context", "0"], "--context: expected at least 1"),
        (["demo", "demo"], "two models have one name"),
        (["nope", "--api-keys", "/no/keys"], "--api-keys /no/keys cannot be read"),
    ],
)
def test_a_mistake_is_answered_with_what_to_do_and_nothing_is_left(
    home: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("empty", "two"):
        (tmp_path / name).mkdir()
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "two" / name).touch()
    shutil.copytree(DEMO, tmp_path / "my model")
    places = {name: tmp_path / name for name in ("empty", "two")}
    given = [word.format(**places, spaced=tmp_path / "my model") for word in words]
    assert main(["serve", *given, "--dry-run"]) in (1, 2)
    assert message in capsys.readouterr().err
    assert not home.exists()
