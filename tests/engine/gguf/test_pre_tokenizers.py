"""Our pre-tokenizer names, compared with llama.cpp's tokenizer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from engine.gguf.conftest import Make
from gguf import GGUFWriter
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from enginix.checkpoint.load import open_checkpoint
from enginix.engine.gguf.pre_tokenizers import DIGIT, GPT2, NAMES, pre_tokenizer_name
from enginix.engine.gguf.vocabulary import add_vocabulary, read_vocabulary
from enginix.runtimes.runtime import Runtime

PROGRAM = Path(__file__).with_name("llama_tokenize.py")

# Where real tokenizers' splits differ: digits, contractions, capitals, line ends, marks.
TEXTS = (
    "The quick brown fox didn't jump; it'll WALK, they'RE told. I'M here, we'd go.",
    "In 2026 there were 1234567 of 89 things, 3.14159 and 1,000,000: v1.2.3 (x86_64).",
    "line one\nline two\r\n\r\n\n  indented\n\ttabbed   three spaces \n trailing  \n",
    "    def f(x):\n        return x**2 + 10  # a comment\n\n\n/usr/bin/env //x\n",
    "camelCase HTTPServer ABCdef GHI jKl snake_case __init__ --flag !important #tag",
    "naïve café Ünïcödé straße Ελληνικά Кириллица עברית العربية ไทย",
    "中文字符 和 日本語のテキスト カタカナ 한국어 텍스트 123 一二三\u2026\u3002\uff0c",
    "smile 🙂👍🏽 👩‍👩‍👧 x½²Ⅷ ١٢٣ “quotes” \u2013 dash — … ¿qué? @user $5.00 <tag/> `code` ~ ^ | =",
    "Istanbul'un 5'inci 12'den Ankara'ya  don't  's 'S 'Tis 'llama",
    "",
    " ",
    "  ",
    "\n",
    "a",
    "1",
    "12",
    "1234",
    "'",
    "''s",
    " \n \n",
    "\u00a0nbsp\u00a0 \u3000x\u200d",
)
MARKS = "हिन्दी e\u0301a\u0300 नमस्ते"
CORPUS = [text * 3 for text in TEXTS] + [" ".join(TEXTS), MARKS * 3]

# Every byte-level BPE name of the runtime's llama.cpp -> our name for the same split. None:
# no model of an architecture that we repack splits that way.
ACCEPTED: dict[str, str | None] = {
    **dict.fromkeys(
        ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
        "llama-bpe",
    ),
    **dict.fromkeys(("smaug-bpe", "dbrx", "glm4", "chatglm-bpe"), "smaug-bpe"),
    **dict.fromkeys(
        ("qwen2", "deepseek-r1-qwen", "kormo", "megrez", "stablelm2", "hunyuan", "grok-2"), "qwen2"
    ),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
        "smollm",
    ),
    **dict.fromkeys(
        ("gpt-2", "phi-2", "olmo", "mpt", "jais", "trillion", "exaone4", "a.x-4.0", "mellum"),
        "gpt-2",
    ),
    "qwen35": "qwen35",
    "tekken": "tekken",
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "minimax-m2"), "gpt-4o"),
    "seed-coder": "seed-coder",
    "minicpm5": "minicpm5",
    "ufakzeka": "ufakzeka",
    "viking": "viking",
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense"), "deepseek-v3"),
    "deepseek-coder": "deepseek-coder",
    **dict.fromkeys(
        (
            *("default", "falcon", "poro-chat", "bloom", "gpt3-finnish", "chameleon", "superbpe"),
            *("bailingmoe", "tiny_aya", "youtu", "exaone-moe", "jais-2", "kimi-k2", "afmoe"),
            *("granite-docling", "solar-open"),
        ),
        None,
    ),
    # A Llama whose letters are a list of ranges: without a copy of its tokenizer to compare
    # with, ours could be one character off and silently never match.
    "deepseek-llm": None,
}


def synthesize(steps: Sequence[str], ignores_merges: bool) -> Tokenizer:
    """A tokenizer that splits by `steps`, with merges trained on these texts."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignores_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(step), "isolated") for step in steps),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def write_vocabulary(checkpoint: Path, tokenizer: Tokenizer, path: Path, name: str | None) -> None:
    """A GGUF of the tokenizer alone; `name` replaces our pre-tokenizer name."""
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    vocabulary = read_vocabulary(open_checkpoint(checkpoint), 2048)
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(64)
    writer.add_block_count(1)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-6)
    add_vocabulary(writer, vocabulary)
    if name:
        writer.kv_data[0]["tokenizer.ggml.pre"].value = name
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def llama_cpp(
    runtime: Runtime, files: Sequence[Path], texts: Sequence[str] = TEXTS
) -> list[list[list[int]] | None]:
    lines = "\n".join(map(json.dumps, texts))
    command = [str(runtime.python), "-E", "-s", str(PROGRAM), *map(str, files)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.triton
def test_llama_cpp_tokenizes_by_each_name_as_the_tokenizers_library_does(
    make: Make, tmp_path: Path, runtime: Runtime
) -> None:
    checkpoint, texts = make(), [*TEXTS, MARKS]
    files: dict[str, Path] = {}
    expected: dict[str, list[list[int]]] = {}
    for (steps, ignores_merges), name in NAMES.items():
        tokenizer = synthesize(steps, ignores_merges)
        files[name] = tmp_path / f"{name}.gguf"
        write_vocabulary(checkpoint, tokenizer, files[name], None)
        expected[name] = [tokenizer.encode(text).ids for text in texts]

    found = dict(zip(NAMES.values(), llama_cpp(runtime, [*files.values()], texts), strict=True))

    wrong = [
        (name, text)
        for name, answers in found.items()
        for text, ids, right in zip(texts, answers or [], expected[name], strict=True)
        if ids != right
    ]
    assert wrong == [("tekken", MARKS), ("gpt-4o", MARKS)]


@pytest.mark.triton
def test_every_name_that_llama_cpp_takes_is_one_of_ours_or_no_model_of_ours_has_it(
    make: Make, tmp_path: Path, runtime: Runtime
) -> None:
    checkpoint, files = make(), []
    ours = {name: key for key, name in NAMES.items()}
    for name, same in ACCEPTED.items():
        files.append(tmp_path / f"{name}.gguf")
        write_vocabulary(checkpoint, synthesize(*ours[same or "gpt-2"]), files[-1], name)

    found = dict(zip(ACCEPTED, llama_cpp(runtime, files), strict=True))

    assert set(NAMES.values()) == set(ACCEPTED.values()) - {None}
    assert [name for name, ids in found.items() if ids is None] == []
    assert [name for name, same in ACCEPTED.items() if same and found[name] != found[same]] == []


@pytest.mark.triton
def test_llama_cpp_refuses_a_name_that_it_does_not_know(
    make: Make, tmp_path: Path, runtime: Runtime
) -> None:
    path = tmp_path / "unknown.gguf"
    write_vocabulary(make(), synthesize([GPT2], False), path, "no-such-name")

    assert llama_cpp(runtime, [path]) == [None]


def byte_level(**changes: object) -> dict[str, object]:
    return {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True, **changes}


def split(expression: object, **changes: object) -> dict[str, object]:
    return {"type": "Split", "pattern": expression, "behavior": "Isolated", **changes}


def in_order(*steps: object) -> dict[str, object]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


DIGIT_BY_DIGIT = {"type": "Digits", "individual_digits": True}
(QWEN2,) = next(steps for (steps, _), name in NAMES.items() if name == "qwen2")
SPELLED = QWEN2.replace(
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)", "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
)
PLAIN = byte_level(use_regex=False)


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        (byte_level(), "gpt-2"),
        (in_order(DIGIT_BY_DIGIT, byte_level()), "smollm"),
        (in_order(split({"Regex": DIGIT}), byte_level()), "smollm"),
        (in_order(in_order(DIGIT_BY_DIGIT), in_order(byte_level())), "smollm"),
        (in_order(split({"Regex": QWEN2}), PLAIN), "qwen2"),
        (in_order(split({"Regex": SPELLED}), PLAIN), "qwen2"),
        (in_order(split({"Regex": QWEN2.replace(r"\r\n", "\r\n")}), PLAIN), "qwen2"),
        (in_order(split({"Regex": QWEN2}, behavior="Removed", invert=True), PLAIN), "qwen2"),
    ],
)
def test_a_split_is_recognized_by_its_behaviour(stated: dict[str, Any], name: str) -> None:
    assert pre_tokenizer_name({"pre_tokenizer": stated, "model": {}}) == name


@pytest.mark.parametrize(
    "stated",
    [
        None,
        {},
        byte_level(add_prefix_space=True),
        # The library's default adds a space prefix.
        {"type": "ByteLevel"},
        in_order(byte_level(), DIGIT_BY_DIGIT),
        in_order({"type": "Digits", "individual_digits": False}, byte_level()),
        in_order(split({"Regex": QWEN2}, behavior="MergedWithNext"), PLAIN),
        in_order(split({"Regex": QWEN2}, behavior="Removed"), PLAIN),
        in_order(split({"Regex": QWEN2}, invert=True), PLAIN),
        in_order(split({"String": QWEN2}), PLAIN),
        in_order(split({"Regex": QWEN2}), byte_level()),
        in_order(split({"Regex": QWEN2 + "|x"}), PLAIN),
        in_order({"type": "Whitespace"}, byte_level()),
    ],
)
def test_a_split_that_only_resembles_a_known_one_has_no_name(stated: dict[str, Any] | None) -> None:
    assert pre_tokenizer_name({"pre_tokenizer": stated, "model": {}}) is None


def test_a_tokenizer_that_takes_whole_words_without_merging_has_another_name() -> None:
    (llama3,) = next(steps for (steps, _), name in NAMES.items() if name == "llama-bpe")
    stated = in_order(split({"Regex": llama3}), PLAIN)

    names = [
        pre_tokenizer_name({"pre_tokenizer": stated, "model": {"ignore_merges": ignores}})
        for ignores in (True, False)
    ]

    assert names == ["llama-bpe", "smaug-bpe"]
