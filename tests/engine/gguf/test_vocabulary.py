"""The tokenizer as llama.cpp's key values, of byte-level BPE and of SentencePiece."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engine.gguf.conftest import Make
from fakes.made_checkpoint import DEMO
from gguf import TokenType

from enginix.catalog.load import DIRECTORY
from enginix.checkpoint.load import open_checkpoint
from enginix.engine.gguf.vocabulary import Vocabulary, read_vocabulary
from enginix.errors import CheckpointDamaged, CheckpointUnsupported, NotACheckpoint

SENTENCEPIECE: dict[str, Any] = {
    "added_tokens": [
        {"id": 0, "content": "<unk>", "special": True},
        {"id": 1, "content": "<s>", "special": True},
    ],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A"}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    },
    "model": {
        "type": "BPE",
        "unk_token": "<unk>",
        "byte_fallback": True,
        "vocab": {"<unk>": 0, "<s>": 1, "<0x0A>": 2, "▁": 3, "a": 4, "▁a": 5, "aa": 6},
        "merges": ["▁ a", "a a"],
    },
}


def read(checkpoint: Path, vocab_size: int = 2048) -> Vocabulary:
    return read_vocabulary(open_checkpoint(checkpoint), vocab_size)


def with_json(checkpoint: Path, name: str, **changes: object) -> Path:
    path = checkpoint / name
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, **changes}), encoding="utf-8")
    return checkpoint


def sentencepiece(checkpoint: Path) -> Path:
    (checkpoint / "tokenizer.json").write_text(json.dumps(SENTENCEPIECE))
    settings = {"bos_token": "<s>", "unk_token": "<unk>"}
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings))
    return checkpoint


def test_rows_without_a_token_are_unused() -> None:
    vocabulary = read(DEMO)

    assert len(vocabulary.tokens) == 2048
    assert (vocabulary.tokens[2040], vocabulary.types[2040]) == ("[PAD2040]", TokenType.UNUSED)


def test_added_tokens_are_controls_or_the_users() -> None:
    vocabulary = read(DEMO)
    types = dict(zip(vocabulary.tokens, vocabulary.types, strict=True))

    assert types["<|im_end|>"] is TokenType.CONTROL
    assert types["<think>"] is TokenType.USER_DEFINED
    assert types["a"] is TokenType.NORMAL


def test_the_end_of_an_answer_is_the_tokenizers_eos() -> None:
    vocabulary = read(DEMO)

    assert vocabulary.tokens[vocabulary.special["eos"]] == "<|im_end|>"
    assert not vocabulary.adds_bos


def test_the_end_token_is_the_models_if_the_tokenizer_has_none(make: Make) -> None:
    checkpoint = make(config={"eos_token_id": [7, 8]})
    (checkpoint / "special_tokens_map.json").unlink()

    with_json(checkpoint, "tokenizer_config.json", eos_token=None)

    assert read(checkpoint).special["eos"] == 7


def test_every_end_token_that_a_gguf_can_hold_is_in_it(make: Make) -> None:
    checkpoint = make(config={"eos_token_id": [8, 7, 9, 10]})
    (checkpoint / "generation_config.json").unlink()
    (checkpoint / "special_tokens_map.json").unlink()

    special = read(with_json(checkpoint, "tokenizer_config.json", eos_token=None)).special

    assert (special["eos"], special["eot"], special["eom"]) == (8, 7, 9)


def test_one_end_is_written_once(make: Make) -> None:
    checkpoint = make()
    (checkpoint / "generation_config.json").write_text('{"eos_token_id": [2014]}')

    assert not {"eot", "eom"} & read(checkpoint).special.keys()


def test_a_special_token_may_be_an_object(make: Make) -> None:
    checkpoint = with_json(
        make(), "tokenizer_config.json", eos_token={"content": "<|endoftext|>", "special": True}
    )

    vocabulary = read(checkpoint)

    assert vocabulary.tokens[vocabulary.special["eos"]] == "<|endoftext|>"


@pytest.mark.parametrize(
    ("name", "split"), [("checkpoints/demo", "qwen2"), ("checkpoints/demo-llama", "llama-bpe")]
)
def test_the_way_to_split_text_is_named(name: str, split: str) -> None:
    assert read(DIRECTORY / name).split == split


def test_an_unknown_text_split_is_logged(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = with_json(make(), "tokenizer.json", pre_tokenizer={"type": "ByteLevel"})

    assert read(checkpoint).split == "default"
    assert "splits text in a way for which" in caplog.text


def test_merges_are_read_as_text_or_as_pairs(make: Make) -> None:
    old, new = make(), make()
    model = json.loads((DEMO / "tokenizer.json").read_text())["model"]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    texts = [" ".join(pair) for pair in pairs]
    with_json(old, "tokenizer.json", model={**model, "merges": texts})
    with_json(new, "tokenizer.json", model={**model, "merges": pairs})

    assert read(old).merges == read(new).merges == texts


def test_a_template_of_its_own_file_wins(make: Make) -> None:
    checkpoint = with_json(make(), "tokenizer_config.json", chat_template="older")
    (checkpoint / "chat_template.jinja").write_text("newer")

    assert read(checkpoint).chat_template == "newer"


@pytest.mark.parametrize(
    "template",
    ["plain", [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "plain"}]],
)
def test_a_template_in_the_tokenizers_configuration_is_found(template: object, make: Make) -> None:
    checkpoint = with_json(make(), "tokenizer_config.json", chat_template=template)
    (checkpoint / "chat_template.jinja").unlink()

    assert read(checkpoint).chat_template == "plain"


def test_sentencepiece_scores_what_was_merged_first_best(make: Make) -> None:
    vocabulary = read(sentencepiece(make()), vocab_size=8)

    assert vocabulary.model == "llama"
    assert vocabulary.scores[5] > vocabulary.scores[6] > vocabulary.scores[4]
    assert vocabulary.types[0] is TokenType.UNKNOWN
    assert vocabulary.types[2] is TokenType.BYTE
    assert vocabulary.adds_space


def test_a_bos_in_the_tokenizers_own_template_is_seen(make: Make) -> None:
    vocabulary = read(sentencepiece(make()), vocab_size=8)

    assert vocabulary.special["bos"] == 1
    assert vocabulary.adds_bos


def test_a_checkpoint_without_tokenizer_is_refused(make: Make) -> None:
    checkpoint = make()
    (checkpoint / "tokenizer.json").unlink()

    with pytest.raises(NotACheckpoint, match=r"holds no tokenizer\.json; save the tokenizer"):
        read(checkpoint)


def test_a_tokenizer_of_another_model_is_refused(make: Make) -> None:
    with pytest.raises(
        CheckpointDamaged, match=r"has the id 1000, config\.json has vocab_size 1000"
    ):
        read(make(), vocab_size=1000)


def test_a_tokenizer_of_another_algorithm_is_refused(make: Make) -> None:
    checkpoint = with_json(make(), "tokenizer.json", model={"type": "Unigram", "vocab": []})

    with pytest.raises(
        CheckpointUnsupported, match="is of type 'Unigram', but the gguf kind takes BPE"
    ):
        read(checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"model": {"type": "BPE"}},
        {"model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}},
        {"model": {"type": "BPE", "vocab": {"\ud800": 1}, "merges": []}},
        {"model": {"type": "BPE", "vocab": {"a": 1}, "merges": ["a b c"]}},
        {"model": {"type": "BPE", "vocab": [], "merges": []}},
        {"added_tokens": [{"id": 1}]},
        {"added_tokens": [7]},
        {"added_tokens": 7},
        {"pre_tokenizer": 7},
        {"pre_tokenizer": {"type": "Sequence"}},
        {"pre_tokenizer": {"type": "Split", "pattern": "x", "behavior": "Isolated"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": 7}, "behavior": "Isolated"}},
    ],
)
def test_a_malformed_tokenizer_is_refused(change: dict[str, object], make: Make) -> None:
    with pytest.raises(CheckpointDamaged, match="is not laid out as the tokenizers library"):
        read(with_json(make(), "tokenizer.json", **change))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_tokenizer_that_is_no_json_object_is_refused(content: bytes, make: Make) -> None:
    checkpoint = make()
    (checkpoint / "tokenizer.json").write_bytes(content)

    with pytest.raises(CheckpointDamaged, match=r"tokenizer\.json"):
        read(checkpoint)
