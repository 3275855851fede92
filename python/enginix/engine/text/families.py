"""Identifies the tokenizer of a checkpoint without tokenizer.json: its file and its rules.

A vocabulary file does not state how text is split or which tokens are special: the tokenizer's
class does. Classes that exist only as Python code in the checkpoint are never run; the rules of the
most common ones are written down here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enginix.errors import CheckpointUnsupported, NotACheckpoint
from enginix.hub_files import HubFiles
from enginix.plain_files import read_own

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ONE_DIGIT = _WORDS + r"\p{N}" + _REST
THREE_DIGITS = _WORDS + r"\p{N}{1,3}" + _REST
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@dataclass(frozen=True, slots=True)
class SentencePieceRules:
    adds_bos: bool = True
    """The class's defaults, if tokenizer_config.json does not state them."""
    appended: tuple[str, ...] = ()
    """Special tokens after the vocabulary's own."""
    prefix: tuple[str, ...] = ()
    """The tokens at the start of every text."""


@dataclass(frozen=True, slots=True)
class RankedBytesRules:
    """A tiktoken file: the base64 of each token's bytes, and its rank."""

    split: str
    composes: bool = False
    """Whether the text is first normalized to Unicode NFC."""
    appended: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MergesRules:
    """GPT-2's files: vocab.json and merges.txt."""

    split: str
    composes: bool = False


Rules = SentencePieceRules | RankedBytesRules | MergesRules

_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{n}|>" for n in range(205)))
_CHATGLM = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
_CHATGLM_ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")

# Class -> its rules, for each kind of vocabulary file.
FAMILIES: dict[str, tuple[Rules, ...]] = {
    "LlamaTokenizer": (SentencePieceRules(),),
    "MistralTokenizer": (SentencePieceRules(),),
    "GPT2Tokenizer": (MergesRules(GPT2),),
    "Qwen2Tokenizer": (MergesRules(ONE_DIGIT, composes=True),),
    # These exist only as code in their checkpoints.
    "BaichuanTokenizer": (SentencePieceRules(),),
    "InternLMTokenizer": (SentencePieceRules(),),
    "InternLM2Tokenizer": (SentencePieceRules(),),
    "YiTokenizer": (SentencePieceRules(adds_bos=False),),
    "ChatGLMTokenizer": (
        SentencePieceRules(adds_bos=False, appended=_CHATGLM, prefix=("[gMASK]", "sop")),
    ),
    "ChatGLM4Tokenizer": (RankedBytesRules(THREE_DIGITS, prefix=("[gMASK]", "<sop>")),),
    "QWenTokenizer": (RankedBytesRules(ONE_DIGIT, composes=True, appended=_QWEN),),
}

# For checkpoints that name no class.
CLASS_OF_MODEL = {
    "llama": "LlamaTokenizer",
    "mistral": "LlamaTokenizer",
    "mixtral": "LlamaTokenizer",
    "baichuan": "BaichuanTokenizer",
    "chatglm": "ChatGLMTokenizer",
    "internlm2": "InternLM2Tokenizer",
    "gpt2": "GPT2Tokenizer",
    "qwen": "QWenTokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint's tokenizer: the file and its rules."""

    files: HubFiles
    file: str
    rules: Rules

    @property
    def directory(self) -> Path:
        return self.files.directory

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.files.tokenizer_config

    @property
    def path(self) -> Path:
        return self.directory / self.file

    def bytes_of(self, name: str) -> bytes:
        return read_own(self.directory, name)


def find_tokenizer(directory: Path) -> Found:
    """Identify the tokenizer; CheckpointUnsupported if it cannot be converted."""
    files = HubFiles(directory)
    file = _vocabulary_file(directory)
    class_name = _class_name(files)
    kind = _kind(directory, file)
    rules = [each for each in FAMILIES.get(class_name, ()) if isinstance(each, kind)]
    if not rules:
        raise CheckpointUnsupported(_no_rules(files, file, class_name))
    found = Found(files, file, rules[0])
    return _with_roles(found) if class_name == "ChatGLMTokenizer" else found


def _vocabulary_file(directory: Path) -> str:
    names = ["tokenizer.model", *sorted(path.name for path in directory.glob("*.tiktoken"))]
    for name in names:
        if (directory / name).exists():
            return name
    if (directory / "vocab.json").exists() and (directory / "merges.txt").exists():
        return "vocab.json"
    raise NotACheckpoint(
        f"{directory} holds no tokenizer.json, nor a file to make one from (tokenizer.model, "
        "*.tiktoken, or vocab.json with merges.txt); save the tokenizer with transformers into it"
    )


def _kind(directory: Path, file: str) -> type[Rules]:
    if file == "vocab.json":
        return MergesRules
    # A SentencePiece model is a protobuf message, tiktoken's file is lines of text.
    fields = read_own(directory, file)[:4096].split(b"\n", 1)[0].split()
    is_ranks = len(fields) == 2 and fields[0].isascii() and fields[1].isdigit()
    return RankedBytesRules if is_ranks else SentencePieceRules


def _class_name(files: HubFiles) -> str:
    named = files.tokenizer_config.get("tokenizer_class")
    if not named:
        config = files.config
        named = config.get("tokenizer_class") or CLASS_OF_MODEL.get(str(config.get("model_type")))
    return str(named).removesuffix("Fast")


def _no_rules(files: HubFiles, file: str, class_name: str) -> str:
    directory = files.directory
    is_code = "auto_map" in files.tokenizer_config or any(directory.glob("tokenization_*.py"))
    what = "exists only as Python code in the checkpoint, which enginix does not run"
    return (
        f"{directory} holds no tokenizer.json, and none can be made from {file}: the class "
        f"{class_name} {what if is_code else 'is not one that enginix converts'}; "
        "save the tokenizer with transformers as tokenizer.json into it"
    )


def _with_roles(found: Found) -> Found:
    """ChatGLM 3 has four more tokens than ChatGLM 2, which only its code names."""
    assert isinstance(found.rules, SentencePieceRules)
    name = "tokenization_chatglm.py"
    code = found.bytes_of(name) if (found.directory / name).exists() else b""
    roles = _CHATGLM_ROLES if b"<|observation|>" in code else ()
    rules = SentencePieceRules(
        found.rules.adds_bos, (*found.rules.appended, *roles), found.rules.prefix
    )
    return replace(found, rules=rules)
