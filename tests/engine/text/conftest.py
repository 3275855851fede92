"""Checkpoints without tokenizer.json, with each kind of vocabulary file, trained here."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from fakes.made_checkpoint import DEMO

from enginix.engine.text.probes import PROBES

# Text from this repository: code, prose, and every writing system of the probes.
LINES = [
    *(line for line in Path(__file__).read_text(encoding="utf-8").splitlines() if line.strip()),
    *(line for text in PROBES for line in text.splitlines() if line.strip()),
] * 3

# As Llama's and Baichuan's were trained.
LIKE_LLAMA = {
    "add_dummy_prefix": True,
    "remove_extra_whitespaces": False,
    "normalization_rule_name": "identity",
    "allow_whitespace_only_pieces": True,
    "byte_fallback": True,
    "split_digits": True,
}


def sentencepiece_model(kind: str = "bpe", **options: Any) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=model,
        model_type=kind,
        vocab_size=options.pop("vocab_size", 800),
        hard_vocab_limit=False,
        # Some characters fall back to bytes.
        character_coverage=0.98,
        minloglevel=2,
        **{**LIKE_LLAMA, **options},
    )
    return model.getvalue()


@pytest.fixture(scope="session")
def llama_model() -> bytes:
    return sentencepiece_model()


def spelled_bytes() -> dict[str, bytes]:
    """The demo's vocabulary as bytes, from its vocab.json and merges.txt."""
    vocabulary = json.loads((DEMO / "vocab.json").read_text(encoding="utf-8"))
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable}
    byte_of |= {chr(256 + place): byte for place, byte in enumerate(others)}
    ordered = sorted(vocabulary, key=lambda token: int(vocabulary[token]))
    return {token: bytes(byte_of[char] for char in token) for token in ordered}


@pytest.fixture(scope="session")
def ranks() -> bytes:
    """A tiktoken file with the demo's tokens, whose ranks are their ids."""
    lines = (
        base64.b64encode(spelled) + b" %d" % rank
        for rank, spelled in enumerate(spelled_bytes().values())
    )
    return b"\n".join(lines) + b"\n"


def write(directory: Path, class_name: str | None = None, **files: bytes | dict[str, Any]) -> Path:
    """A directory with these files; `tokenizer_model` is tokenizer.model."""
    directory.mkdir(exist_ok=True)
    if class_name:
        settings = files.setdefault("tokenizer_config_json", {})
        assert isinstance(settings, dict)
        settings["tokenizer_class"] = class_name
    for name, content in files.items():
        path = directory / ".".join(name.rsplit("_", 1))
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path.write_bytes(data)
    return directory
