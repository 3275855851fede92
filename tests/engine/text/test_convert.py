# ruff: noqa: RUF001, letters that look like others are what is tested
"""Vocabulary files become tokenizer.json, which must agree with the original libraries."""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any, Literal

import pytest
import sentencepiece
import tiktoken
import tokenizers
from engine.text.conftest import sentencepiece_model, spelled_bytes, write
from fakes.made_checkpoint import DEMO

from enginix.chat.tokens import Tokenizer
from enginix.engine.text.convert import convert_tokenizer
from enginix.engine.text.families import ONE_DIGIT, THREE_DIGITS
from enginix.engine.text.probes import PROBES
from enginix.errors import CheckpointDamaged, CheckpointUnsupported, NotACheckpoint


def fast(directory: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(convert_tokenizer(directory).text)


def ids(tokenizer: tokenizers.Tokenizer, text: str, *, whole: bool = False) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=whole).ids
    return found


def random_texts(count: int) -> list[str]:
    """Texts that the conversion itself does not check."""
    numbers = random.Random(7)
    alphabet = "abcdefgh ABC 0123 .,-_\n\täöüßé你好世界Привет👋🏽\u200d\u0301"
    lengths = (numbers.randint(1, 60) for _ in range(count))
    return ["".join(numbers.choices(alphabet, k=length)) for length in lengths]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bpe", {}),
        ("unigram", {}),
        ("bpe", {"add_dummy_prefix": False}),
        ("bpe", {"byte_fallback": False}),
        ("bpe", {"remove_extra_whitespaces": True}),
        ("unigram", {"add_dummy_prefix": False}),
        ("bpe", {"user_defined_symbols": ["<tool>", "\n\n"]}),
    ],
)
def test_a_sentencepiece_model_gives_the_ids_of_sentencepiece(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    data = sentencepiece_model(kind, **options)
    original = sentencepiece.SentencePieceProcessor(model_proto=data)
    made = fast(write(tmp_path, "LlamaTokenizer", tokenizer_model=data))
    unknown = original.unk_id()
    for text in random_texts(150):
        expected = original.encode(text)
        assert ids(made, text) == expected
        if unknown not in expected:
            assert made.decode(expected, skip_special_tokens=False) == original.decode(expected)


def first_of_glm() -> dict[str, Any]:
    size = len(spelled_bytes())
    tokens = {str(size): {"content": "[gMASK]"}, str(size + 1): {"content": "<sop>"}}
    return {"added_tokens_decoder": tokens}


@pytest.mark.parametrize(
    ("class_name", "split", "settings", "form"),
    [
        ("QWenTokenizer", ONE_DIGIT, {}, "NFC"),
        ("ChatGLM4Tokenizer", THREE_DIGITS, first_of_glm(), None),
    ],
)
def test_tiktokens_ranks_give_the_ids_of_tiktoken(
    tmp_path: Path,
    ranks: bytes,
    class_name: str,
    split: str,
    settings: dict[str, Any],
    form: Literal["NFC"] | None,
) -> None:
    vocabulary = {spelled: rank for rank, spelled in enumerate(spelled_bytes().values())}
    original = tiktoken.Encoding(
        "test", pat_str=split, mergeable_ranks=vocabulary, special_tokens={}
    )
    files = {"qwen_tiktoken": ranks, "tokenizer_config_json": settings}
    made = fast(write(tmp_path, class_name, **files))
    for text in random_texts(150):
        seen = unicodedata.normalize(form, text) if form else text
        assert ids(made, text) == original.encode(seen)
        assert made.decode(ids(made, text)) == seen


def test_a_bare_prompt_of_glm_begins_with_its_two_tokens(tmp_path: Path, ranks: bytes) -> None:
    settings, size = first_of_glm(), len(spelled_bytes())
    directory = write(
        tmp_path, "ChatGLM4Tokenizer", tokenizer_model=ranks, tokenizer_config_json=settings
    )
    made = fast(directory)
    assert ids(made, "Hi", whole=True) == [size, size + 1, *ids(made, "Hi")]


def test_vocabulary_and_merges_give_the_tokenizer_the_checkpoint_came_with(tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(DEMO / name, tmp_path)
    made, shipped = fast(tmp_path), tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    assert made.get_vocab() == shipped.get_vocab()
    assert made.get_added_tokens_decoder().keys() == shipped.get_added_tokens_decoder().keys()
    for text in (*random_texts(150), *PROBES, "<|im_start|>user\n<think></think> <|im_end|>"):
        assert ids(made, text) == ids(shipped, text)
        assert made.decode(ids(made, text)) == shipped.decode(ids(made, text))


def test_qwens_special_tokens_stand_behind_its_ranks(tmp_path: Path, ranks: bytes) -> None:
    converted = convert_tokenizer(write(tmp_path, "QWenTokenizer", qwen_tiktoken=ranks))
    made = tokenizers.Tokenizer.from_str(converted.text)
    first = len(spelled_bytes())
    assert ids(made, "<|endoftext|><|im_start|>a<|im_end|><|extra_204|>") == [
        *(first, first + 1, *ids(made, "a"), first + 2, first + 207)
    ]
    assert converted.roles == {"eos_token": "<|endoftext|>"}


def test_chatglms_special_tokens_do_not_cut_words_in_two(
    tmp_path: Path, llama_model: bytes
) -> None:
    code = b"raise SystemExit('run')  # <|observation|>"
    directory = write(tmp_path, "ChatGLMTokenizer", tokenizer_model=llama_model)
    (directory / "tokenization_chatglm.py").write_bytes(code)
    made, size = (
        fast(directory),
        sentencepiece.SentencePieceProcessor(model_proto=llama_model).get_piece_size(),
    )
    assert ids(made, "[gMASK]sop<|user|>") == [size + 1, size + 3, size + 6]
    assert size + 3 not in ids(made, "philosopher")
    assert ids(made, "a", whole=True)[:2] == [size + 1, size + 3]
    # ChatGLM 2 has no roles.
    (directory / "tokenization_chatglm.py").unlink()
    assert fast(directory).token_to_id("<|user|>") is None


@pytest.mark.parametrize("class_name", ["BaichuanTokenizer", "InternLM2Tokenizer", "YiTokenizer"])
def test_a_class_that_exists_as_code_alone_is_not_run(
    tmp_path: Path, llama_model: bytes, class_name: str
) -> None:
    settings = {"auto_map": {"AutoTokenizer": [f"tokenization_x.{class_name}", None]}}
    directory = write(
        tmp_path, class_name, tokenizer_model=llama_model, tokenizer_config_json=settings
    )
    (directory / "tokenization_x.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    convert_tokenizer(directory)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("adds", "first"), [(True, [1]), (False, []), (None, [1])])
def test_a_bare_prompt_begins_as_the_configuration_says(
    tmp_path: Path, llama_model: bytes, adds: bool | None, first: list[int]
) -> None:
    settings = {} if adds is None else {"add_bos_token": adds}
    directory = write(
        tmp_path, "LlamaTokenizer", tokenizer_model=llama_model, tokenizer_config_json=settings
    )
    made = fast(directory)
    assert ids(made, "Hello", whole=True) == [*first, *ids(made, "Hello")]


def test_only_the_first_word_is_marked_where_the_configuration_says_so(
    tmp_path: Path, llama_model: bytes
) -> None:
    def behind_a_token(**settings: object) -> str:
        made = fast(
            write(
                tmp_path,
                "LlamaTokenizer",
                tokenizer_model=llama_model,
                tokenizer_config_json=dict(settings),
            )
        )
        token = ids(made, "<s>the")[1]
        return str(made.id_to_token(token))

    assert behind_a_token().startswith("▁")
    assert behind_a_token(legacy=True).startswith("▁")
    assert not behind_a_token(legacy=False).startswith("▁")


def test_tokens_of_the_configuration_are_added_with_their_ids(
    tmp_path: Path, llama_model: bytes
) -> None:
    size = sentencepiece.SentencePieceProcessor(model_proto=llama_model).get_piece_size()
    settings = {
        "added_tokens_decoder": {
            str(size + 5): {"content": "<|end|>", "special": True},
            str(size + 9): {"content": "<call>", "special": False},
        },
        "eos_token": {"content": "<|end|>"},
    }
    directory = write(
        tmp_path,
        "LlamaTokenizer",
        tokenizer_model=llama_model,
        tokenizer_config_json=settings,
        added_tokens_json={"<old>": size},
    )
    (tmp_path / "tokenizer.json").write_text(convert_tokenizer(directory).text)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("<|end|><call><old>") == [size + 5, size + 9, size]
    assert tokenizer.stop_token_ids == (size + 5,)
    assert tokenizer.decode([size + 5, size + 9], keep=()) == "<call>"


def test_the_conversion_is_deterministic(tmp_path: Path, llama_model: bytes) -> None:
    directory = write(tmp_path, "LlamaTokenizer", tokenizer_model=llama_model)
    program = (
        "import sys; from pathlib import Path\n"
        "from enginix.engine.text.convert import convert_tokenizer\n"
        f"print(convert_tokenizer(Path({str(directory)!r})).text, end='')\n"
    )
    # Another process has other hash seeds, and so another order of sets.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == convert_tokenizer(directory).text


def test_a_changed_file_is_not_mistaken_for_the_previous_one(tmp_path: Path, ranks: bytes) -> None:
    directory = write(tmp_path, "QWenTokenizer", qwen_tiktoken=ranks)
    before = convert_tokenizer(directory).text
    write(tmp_path, qwen_tiktoken=ranks[: ranks.rindex(b"\n", 0, -1) + 1])
    assert convert_tokenizer(directory).text != before


@pytest.mark.parametrize("settings", [{}, {"tokenizer_class": "PreTrainedTokenizer"}])
def test_an_unknown_class_is_one_sentence(
    tmp_path: Path, llama_model: bytes, settings: dict[str, object]
) -> None:
    directory = write(tmp_path, tokenizer_model=llama_model, tokenizer_config_json=dict(settings))
    with pytest.raises(CheckpointUnsupported, match="is not one that enginix converts"):
        convert_tokenizer(directory)


def test_an_unknown_class_of_remote_code_is_one_sentence(tmp_path: Path, ranks: bytes) -> None:
    settings = {"auto_map": {"AutoTokenizer": ["tokenization_kimi.TikTokenTokenizer", None]}}
    directory = write(
        tmp_path,
        "TikTokenTokenizer",
        tokenizer_model=ranks,
        tokenizer_config_json=settings,
    )
    with pytest.raises(CheckpointUnsupported, match="exists only as Python code in the checkpoint"):
        convert_tokenizer(directory)


def test_a_file_of_another_kind_than_the_class_reads_is_refused(
    tmp_path: Path, llama_model: bytes
) -> None:
    directory = write(tmp_path, "QWenTokenizer", tokenizer_model=llama_model)
    with pytest.raises(CheckpointUnsupported, match="QWenTokenizer"):
        convert_tokenizer(directory)


def test_characters_that_the_library_maps_differently_are_detected(tmp_path: Path) -> None:
    # Decomposed Korean letters: the tokenizers library maps them one by one.
    data = sentencepiece_model("bpe", normalization_rule_name="nmt_nfkc")
    directory = write(tmp_path, "LlamaTokenizer", tokenizer_model=data)
    with pytest.raises(CheckpointUnsupported, match="cannot be converted to"):
        convert_tokenizer(directory)


@pytest.mark.parametrize("kind", ["word", "char"])
def test_a_model_of_words_is_refused(tmp_path: Path, kind: str) -> None:
    data = sentencepiece_model(kind, byte_fallback=False)
    directory = write(tmp_path, "LlamaTokenizer", tokenizer_model=data)
    with pytest.raises(CheckpointUnsupported, match="expected BPE or unigrams"):
        convert_tokenizer(directory)


def test_without_any_vocabulary_there_is_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(NotACheckpoint, match=r"holds no tokenizer\.json, nor a file to make one"):
        convert_tokenizer(write(tmp_path, "LlamaTokenizer"))


def missing_byte(ranks: bytes) -> bytes:
    return ranks.replace(base64.b64encode(b"A") + b" ", base64.b64encode(b"AAAAA") + b" ", 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"\x00" * 100,
        lambda data: data[:50] + b"\xff" * 20 + data[70:],
    ],
)
def test_a_broken_sentencepiece_model_is_one_sentence(
    tmp_path: Path, llama_model: bytes, damage: Any
) -> None:
    directory = write(tmp_path, "LlamaTokenizer", tokenizer_model=damage(llama_model))
    with pytest.raises(CheckpointDamaged, match=r"tokenizer\.model cannot be converted"):
        convert_tokenizer(directory)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data + b"AAAA 3\n",
        lambda data: data + b"not-base64 9999\n",
        lambda data: data + b"AAAA many\n",
        lambda data: data + b"AAAA\n",
        missing_byte,
    ],
)
def test_broken_ranks_are_one_sentence(tmp_path: Path, ranks: bytes, damage: Any) -> None:
    directory = write(tmp_path, "QWenTokenizer", qwen_tiktoken=damage(ranks))
    with pytest.raises(CheckpointDamaged, match=r"qwen\.tiktoken cannot be converted"):
        convert_tokenizer(directory)


@pytest.mark.parametrize(
    ("vocabulary", "merges"),
    [
        (b"[]", b"a b\n"),
        (b'{"a": "x"}', b"a b\n"),
        (b'{"a": 0, "b": 1}', b"a b\n"),
        (b'{"a": 0, "b": 1}', b"a b c\n"),
        (b"{", b""),
    ],
)
def test_broken_merges_are_one_sentence(tmp_path: Path, vocabulary: bytes, merges: bytes) -> None:
    directory = write(tmp_path, "GPT2Tokenizer", vocab_json=vocabulary, merges_txt=merges)
    with pytest.raises(CheckpointDamaged, match=r"vocab\.json cannot be converted"):
        convert_tokenizer(directory)


def test_tokens_that_belong_to_another_model_are_refused(
    tmp_path: Path, llama_model: bytes
) -> None:
    settings = {"added_tokens_decoder": {"5": {"content": "<|end|>", "special": True}}}
    directory = write(
        tmp_path, "LlamaTokenizer", tokenizer_model=llama_model, tokenizer_config_json=settings
    )
    with pytest.raises(CheckpointDamaged, match="they belong to different models"):
        convert_tokenizer(directory)


def test_a_tokenizer_that_disagrees_with_its_original_is_refused(
    tmp_path: Path, llama_model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write(tmp_path, "LlamaTokenizer", tokenizer_model=llama_model)
    # A faulty converter: it has the pieces, but lost one of their merges.
    from enginix.engine.text import libraries

    whole = libraries.merges_of
    monkeypatch.setattr(libraries, "merges_of", lambda *found: whole(*found)[1:])
    with pytest.raises(CheckpointUnsupported, match=r"cannot be converted.* gives .*, expected"):
        convert_tokenizer(directory)


def test_without_the_extra_it_says_how_to_install_it(tmp_path: Path, llama_model: bytes) -> None:
    directory = write(tmp_path, "LlamaTokenizer", tokenizer_model=llama_model)
    program = (
        "import sys; sys.modules['transformers'] = None\n"
        "from pathlib import Path; from enginix.engine.text.convert import convert_tokenizer\n"
        "from enginix.errors import ConverterMissing\n"
        "try: convert_tokenizer(Path(sys.argv[1]))\n"
        "except ConverterMissing as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(directory)], capture_output=True, text=True
    )
    assert f"{sys.executable} -m pip install 'enginix[transformers]'" in done.stdout
    assert "transformers is missing" in done.stdout
    assert done.stderr == ""


def test_a_checkpoint_with_a_tokenizer_needs_no_converter(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "for name in ('transformers', 'sentencepiece', 'tiktoken'): sys.modules[name] = None\n"
        "from pathlib import Path; from enginix.engine.text.staging import stage_text\n"
        "stage_text(Path(sys.argv[1]), Path(sys.argv[2]), ('tokenizer.json',))\n"
    )
    command = [sys.executable, "-c", program, str(DEMO), str(tmp_path)]
    subprocess.run(command, check=True)
    assert (tmp_path / "tokenizer.json").read_bytes() == (DEMO / "tokenizer.json").read_bytes()


def test_the_file_is_the_one_that_the_tokenizers_library_writes(
    tmp_path: Path, llama_model: bytes
) -> None:
    text = convert_tokenizer(write(tmp_path, "LlamaTokenizer", tokenizer_model=llama_model)).text
    assert json.loads(tokenizers.Tokenizer.from_str(text).to_str()) == json.loads(text)
