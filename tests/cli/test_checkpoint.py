"""`enginix checkpoint inspect` prints the verdict first, and JSON for scripts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from enginix.catalog.load import DIRECTORY
from enginix.cli.main import main
from enginix.cli.views.sizes import human_size

DEMO = DIRECTORY / "checkpoints/demo"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_catalogue_model_is_inspected_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "inspect", "demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "usable: Qwen3ForCausalLM, NVFP4, FP8 KV cache, 2.4 MB: sound, for gguf or llmapi or vllm "
        "or edge-llm"
    )
    assert "gguf          yes" in lines
    assert "estimates for 1 GPU, batch 16, context 40960, 512 tokens a step" in lines


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint where `enginix pull org/demo` puts it."""
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))
    directory = tmp_path / "home" / "checkpoints" / "org--demo@0123456789ab"
    shutil.copytree(DEMO, directory)
    return directory


@pytest.mark.parametrize("name", ["org/demo", "org/demo@0123456789ab", f"org/demo@{COMMIT}"])
def test_a_fetched_repository_is_inspected_by_its_name(
    fetched: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["checkpoint", "inspect", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["directory"] == str(fetched)


@pytest.mark.usefixtures("fetched")
@pytest.mark.parametrize("name", ["org/other", "org/demo@main"])
def test_a_repository_that_is_not_here_says_how_to_get_it(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["checkpoint", "inspect", name]) == 1
    assert f"get it with `enginix pull {name}`" in capsys.readouterr().err


def test_ranks_that_do_not_divide_the_model_exit_with_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["checkpoint", "inspect", "demo", "--tp", "3"]) == 1
    assert "sound, but no engine kind runs it on 3 GPUs" in capsys.readouterr().out


def test_damage_is_printed_first_and_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(DEMO, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 2049}))
    assert main(["checkpoint", "inspect", str(tmp_path)]) == 1
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("not usable: Qwen3ForCausalLM")
    assert "has shape [2048, 192], expected [2049, 192]" in second


def test_json_holds_the_same_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "inspect", str(DEMO), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["usable"] is True
    assert found["quantization"]["algo"] == "NVFP4"
    assert found["kinds"]["gguf"]["usable"] is True
    assert found["kinds"]["gguf"]["refusals"] == []
    assert found["kinds"]["tensorrt-llm"]["usable"] is False
    assert found["estimate"]["gpu_least"] > 0


def test_a_directory_without_a_checkpoint_is_reported_as_json_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["checkpoint", "inspect", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["usable"] is False
    assert "holds no config.json" in found["damage"][0]


def test_a_truncated_file_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(DEMO, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert main(["checkpoint", "inspect", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"enginix: {weights} is truncated: found 2420392 bytes, its header describes 2421392; "
        "download it again\n"
    )


def test_an_unknown_name_suggests_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["checkpoint", "inspect", "dmo"]) == 1
    assert "no directory 'dmo', and no model named 'dmo'" in capsys.readouterr().err


@pytest.mark.parametrize("ranks", ["0", "-2"])
def test_ranks_are_at_least_one(ranks: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "inspect", "demo", f"--tp={ranks}"]) == 2
    assert "--tp: expected 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (19_100_000_000, "19.1 GB")],
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert human_size(size) == text
