"""An engine built by hand is checked, completed and gets its manifest, or is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from engine.trtllm.conftest import Bench, surroundings
from fakes.made_checkpoint import DEMO

from enginix.engine.trtllm.adopt import Origin, adopt, verify_unmanaged
from enginix.engine.verify import verify_engine
from enginix.errors import (
    CheckpointDamaged,
    EngineDamaged,
    EngineError,
    EngineMismatch,
    NotACheckpoint,
    QuantizationLost,
)
from enginix.manifest import FILE_NAME, Parallelism, read_manifest
from enginix.process import run

PLAIN = Origin(unquantized=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, python: Path, checkpoint: Path) -> Path:
    """trtllm-build's output: the ranks' engines and config.json."""
    bench = Bench(tmp_path_factory.mktemp("built"), python, checkpoint)
    bench.build(ranks=2)
    directory = tmp_path_factory.mktemp("by-hand")
    for name in ("config.json", "rank0.engine", "rank1.engine"):
        shutil.copy(bench.out / name, directory / name)
    return directory


@pytest.fixture
def engine(tmp_path: Path, built: Path) -> Path:
    return shutil.copytree(built, tmp_path / "qwen3-tp2")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, python: Path, checkpoint: Path) -> Path:
    directory = tmp_path_factory.mktemp("plain")
    return build_without_quantization(python, checkpoint, directory, surroundings())


def build_without_quantization(
    python: Path, checkpoint: Path, directory: Path, environment: Mapping[str, str]
) -> Path:
    """The result of a conversion without QuantConfig: it builds, but generates garbage."""
    (directory / "ranks").mkdir()
    program = (
        "import sys; from tensorrt_llm.models import MODEL_MAP\n"
        "model = MODEL_MAP['Qwen3ForCausalLM'].from_hugging_face(sys.argv[1])\n"
        "model.save_checkpoint(sys.argv[2])"
    )
    run([str(python), "-c", program, str(checkpoint), str(directory / "ranks")], env=environment)
    arguments = [
        "--checkpoint_dir",
        str(directory / "ranks"),
        "--output_dir",
        str(directory / "made"),
    ]
    arguments += ["--output_timing_cache", str(directory / "model.cache")]
    run([str(python), "-m", "tensorrt_llm.commands.build", *arguments], env=environment)
    return directory / "made"


def test_an_adopted_engine_matches_its_manifest(engine: Path, checkpoint: Path) -> None:
    written = adopt(engine, "qwen3", Origin(tokenizer=checkpoint))
    assert verify_engine(engine, lambda event: None) == written
    assert written.kind == "tensorrt-llm"
    assert written.parallelism == Parallelism(tp=2, pp=1, world_size=2)
    assert written.quantization.algo == "NVFP4"
    assert written.built_with.tensorrt_llm == "1.2.1"
    assert written.built_with.compute_capability is None


def test_an_adopted_engine_gets_the_named_tokenizer(engine: Path, checkpoint: Path) -> None:
    files = adopt(engine, "qwen3", Origin(tokenizer=checkpoint)).files
    assert {"tokenizer.json", "generation_config.json", "chat_template.jinja"} <= files.keys()
    assert "xgrammar_tokenizer_info.json" in files
    assert "model.safetensors" not in files


def test_an_adopted_engine_gets_its_checkpoints_tokenizer(engine: Path, checkpoint: Path) -> None:
    assert "tokenizer.json" in adopt(engine, "qwen3", Origin(checkpoint=checkpoint)).files


def test_an_adopted_engine_keeps_its_own_tokenizer(engine: Path, checkpoint: Path) -> None:
    own = json.loads((checkpoint / "tokenizer.json").read_text()) | {"truncation": None}
    (engine / "tokenizer.json").write_text(json.dumps(own))
    adopt(engine, "qwen3", Origin(checkpoint=checkpoint))
    assert json.loads((engine / "tokenizer.json").read_text()) == own


def test_other_files_beside_an_engine_are_not_in_the_manifest(
    engine: Path, checkpoint: Path
) -> None:
    (engine / "build.log").write_text("I may grow")
    files = adopt(engine, "qwen3", Origin(tokenizer=checkpoint)).files
    assert "build.log" not in files


def test_the_chat_format_is_read_from_either_place_of_a_template(
    engine: Path, checkpoint: Path, tmp_path: Path
) -> None:
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    shutil.copy(checkpoint / "tokenizer.json", tokenizer)
    settings = {
        "chat_template": "{% if enable_thinking %}<think></think>{% endif %}",
        "eos_token": {"content": "w1"},
    }
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(settings))
    chat = adopt(engine, "qwen3", Origin(tokenizer=tokenizer)).chat
    assert (chat.reasoning, chat.thinking_switch) == ("think-tags", "enable_thinking")


def test_a_missing_tokenizer_says_how_to_name_one(engine: Path) -> None:
    with pytest.raises(NotACheckpoint, match=r"has no tokenizer\.json.*--tokenizer DIR"):
        adopt(engine, "qwen3", Origin())
    assert not (engine / FILE_NAME).exists()


def test_a_named_directory_without_a_tokenizer_is_refused(engine: Path, tmp_path: Path) -> None:
    with pytest.raises(NotACheckpoint, match=rf"{tmp_path} holds no tokenizer\.json"):
        adopt(engine, "qwen3", Origin(tokenizer=tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": {"vocab": {"a": -1}}}', "\xff"])
def test_an_unreadable_tokenizer_is_refused(engine: Path, text: str) -> None:
    (engine / "tokenizer.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointDamaged, match=r"tokenizer\.json"):
        adopt(engine, "qwen3", Origin())
    assert not (engine / FILE_NAME).exists()


def test_the_tokenizer_of_a_larger_model_is_refused(engine: Path) -> None:
    vocabulary = {f"w{number}": number for number in range(1000)}
    (engine / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    with pytest.raises(EngineMismatch, match=r"has 1,000 tokens, but the engine's vocabulary has"):
        adopt(engine, "qwen3", Origin())


def test_a_missing_rank_leaves_it_without_a_manifest(engine: Path, checkpoint: Path) -> None:
    (engine / "rank1.engine").unlink()
    with pytest.raises(EngineDamaged, match=r"expected rank0\.engine, rank1\.engine"):
        adopt(engine, "qwen3", Origin(tokenizer=checkpoint))
    assert sorted(os.listdir(engine)) == ["config.json", "rank0.engine"]


def test_an_unwritable_directory_is_reported(engine: Path, checkpoint: Path) -> None:
    (engine / f".{FILE_NAME}.partial").mkdir()
    with pytest.raises(EngineError, match="cannot be completed: Is a directory"):
        adopt(engine, "qwen3", Origin(tokenizer=checkpoint))


def test_an_engine_without_quantization_is_refused(plain: Path) -> None:
    with pytest.raises(QuantizationLost, match=r"quant_algo is null.*--checkpoint.*--unquantized"):
        verify_unmanaged(plain, Origin())


def test_lost_quantization_is_detected_by_the_checkpoint(plain: Path, checkpoint: Path) -> None:
    with pytest.raises(QuantizationLost, match="quant_algo is None, the checkpoint's is 'NVFP4'"):
        verify_unmanaged(plain, Origin(checkpoint=checkpoint, unquantized=True))


def test_an_unquantized_engine_is_adopted_with_the_option(
    plain: Path, checkpoint: Path, tmp_path: Path
) -> None:
    engine = shutil.copytree(plain, tmp_path / "engine")
    adopt(engine, "plain", Origin(tokenizer=checkpoint, unquantized=True))
    assert read_manifest(engine).quantization.algo is None


def test_the_unquantized_option_for_a_quantized_engine_is_refused(engine: Path) -> None:
    with pytest.raises(
        EngineMismatch, match=r"quant_algo is 'NVFP4', which contradicts --unquantized"
    ):
        verify_unmanaged(engine, PLAIN)


def test_the_checkpoint_of_another_model_is_refused(engine: Path, plain_checkpoint: Path) -> None:
    with pytest.raises(EngineMismatch, match="an engine of a Qwen3ForCausalLM"):
        verify_unmanaged(engine, Origin(checkpoint=plain_checkpoint))


def test_a_tokenizer_is_made_for_it_or_nothing_is_left(
    engine: Path, checkpoint: Path, tmp_path: Path
) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    # Only the bytes, without merges: the stand-in's vocabulary is small.
    vocabulary = json.loads((DEMO / "vocab.json").read_text(encoding="utf-8"))
    (slow / "vocab.json").write_text(
        json.dumps({token: number for token, number in vocabulary.items() if number < 256})
    )
    (slow / "merges.txt").write_text("")
    (slow / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    before = {path.name for path in engine.iterdir()}
    whole = (slow / "merges.txt").read_bytes()
    (slow / "merges.txt").write_bytes(b"a b c d\n")
    with pytest.raises(CheckpointDamaged, match="cannot be converted"):
        adopt(engine, "qwen3", Origin(tokenizer=slow))
    assert {path.name for path in engine.iterdir()} == before
    (slow / "merges.txt").write_bytes(whole)
    assert "tokenizer.json" in adopt(engine, "qwen3", Origin(tokenizer=slow)).files
