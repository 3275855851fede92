"""`enginix engine build` and a checkpoint's text files: hostile, broken and converted ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from engine.text.conftest import LIKE_LLAMA, sentencepiece_model, write
from fakes.made_checkpoint import DEMO, Shape, make_checkpoint

from enginix.chat.tokens import Tokenizer
from enginix.cli.main import main

Damage = Callable[[Path], None]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ENGINIX_RUNTIME_TRITON_CPU", raising=False)
    return make_checkpoint(tmp_path / "checkpoint", Shape(layers=1))


def build(checkpoint: Path, out: Path) -> int:
    return main(["engine", "build", "--checkpoint", str(checkpoint), "--out", str(out)])


def is_fifo(name: str) -> Damage:
    def change(checkpoint: Path) -> None:
        (checkpoint / name).unlink(missing_ok=True)
        os.mkfifo(checkpoint / name)

    return change


def leads_to(name: str, target: str) -> Damage:
    def change(checkpoint: Path) -> None:
        (checkpoint / name).unlink(missing_ok=True)
        (checkpoint / name).symlink_to(target)

    return change


def holds(name: str, text: str) -> Damage:
    return lambda checkpoint: (checkpoint / name).write_text(text) and None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (is_fifo("config.json"), "not a regular file"),
        (is_fifo("hf_quant_config.json"), "not a regular file"),
        (is_fifo("chat_template.jinja"), "chat_template.jinja cannot be read: it is not a regular"),
        (is_fifo("tokenizer.json"), "tokenizer.json cannot be read: it is not a regular file"),
        (is_fifo("model.safetensors"), "not a regular file"),
        (leads_to("config.json", "/dev/zero"), "not a regular file"),
        (leads_to("generation_config.json", "/dev/zero"), "outside the checkpoint"),
        (leads_to("chat_template.jinja", "/etc/passwd"), "is a link to /etc/passwd, outside the"),
        (leads_to("tokenizer_config.json", "../secret.json"), "outside the checkpoint"),
        (leads_to("chat_template.jinja", "nowhere.jinja"), "chat_template.jinja is missing"),
        (holds("chat_template.jinja", "{% if %}"), "the chat template 'default' is broken"),
        (holds("chat_template.jinja", "x" * (1 << 20) + "x"), "it has more than 1 MB"),
        (holds("chat_template.json", '{"chat_template": 5}'), "chat_template.json: chat_template:"),
        (holds("tokenizer.json", "{"), "tokenizer.json cannot be read"),
        (holds("special_tokens_map.json", "[]"), "special_tokens_map.json"),
    ],
)
def test_a_text_file_that_no_server_could_load_is_refused_in_one_line(
    damage: Damage, message: str, checkpoint: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "secret.json").write_text("{}")
    damage(checkpoint)
    assert build(checkpoint, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.startswith("enginix: ")
    assert error.count("\n") == 1
    assert message in error
    assert ".out.building" not in error
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "secret.json"}


def test_a_link_within_the_checkpoint_is_followed(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "chat_template.jinja").rename(checkpoint / "chat.txt")
    (checkpoint / "chat_template.jinja").symlink_to("chat.txt")
    assert build(checkpoint, tmp_path / "out") == 0
    written = tmp_path / "out" / "chat_template.jinja"
    assert not written.is_symlink()
    assert written.read_bytes() == (checkpoint / "chat.txt").read_bytes()


def test_a_snapshot_in_hugging_faces_cache_is_a_checkpoint(
    checkpoint: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "hub" / "models--org--name"
    snapshot, blobs = repository / "snapshots" / "0a1b", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(checkpoint.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert build(snapshot, tmp_path / "out") == 0


def slow(checkpoint: Path) -> Path:
    (checkpoint / "tokenizer.json").unlink()
    return checkpoint


def test_vocabulary_and_merges_give_the_engine_the_same_tokenizer(
    checkpoint: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert build(slow(checkpoint), tmp_path / "out") == 0
    assert "tokenizer.json made from vocab.json" in capsys.readouterr().out
    made, shipped = Tokenizer.load(tmp_path / "out"), Tokenizer.load(DEMO)
    text = "<|im_start|>user\nnaïve 你好 👋🏽<|im_end|>"
    assert made.encode(text) == shipped.encode(text)
    assert made.stop_token_ids == shipped.stop_token_ids


def test_an_engine_with_a_converted_tokenizer_is_reproducible(
    checkpoint: Path, tmp_path: Path
) -> None:
    slow(checkpoint)
    for out in ("one", "two"):
        assert build(checkpoint, tmp_path / out) == 0
    one, two = (tmp_path / out for out in ("one", "two"))
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name


def test_a_checkpoint_with_a_sentencepiece_model_alone_becomes_an_engine(
    checkpoint: Path, tmp_path: Path
) -> None:
    for path in checkpoint.iterdir():
        if path.suffix in (".json", ".txt") and path.name not in (
            "config.json",
            "hf_quant_config.json",
        ):
            path.unlink()
    config = json.loads((checkpoint / "config.json").read_text())
    del config["eos_token_id"]
    (checkpoint / "config.json").write_text(json.dumps(config))
    data = sentencepiece_model("bpe", **LIKE_LLAMA)
    write(checkpoint, "LlamaTokenizer", tokenizer_model=data)
    assert build(checkpoint, tmp_path / "out") == 0
    tokenizer = Tokenizer.load(tmp_path / "out")
    ids = tokenizer.encode("Hello wörld 👋")
    assert tokenizer.decode(ids) == "Hello wörld 👋"
    # The SentencePiece model's own end tokens, because no other file names any.
    assert tokenizer.stop_token_ids == (2,)
    files = json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    assert {"tokenizer.json", "special_tokens_map.json"} <= files.keys()


def test_an_unknown_tokenizer_class_leaves_nothing(
    checkpoint: Path, tmp_path: Path, capsys: Capture
) -> None:
    settings = {"auto_map": {"AutoTokenizer": ["tokenization_odd.OddTokenizer", None]}}
    write(slow(checkpoint), "OddTokenizer", tokenizer_config_json=settings)
    assert build(checkpoint, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "OddTokenizer exists only as Python code in the checkpoint" in error
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}


def test_without_the_extra_a_build_names_it_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path
) -> None:
    slow(checkpoint)
    program = (
        "import sys; sys.modules['transformers'] = None\n"
        "from enginix.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["engine", "build", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "-m pip install 'enginix[transformers]'" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}
