"""llama.cpp's names for how a byte-level tokenizer splits text before merging.

A name stands for a list of expressions, applied in turn, and for whether a word that is itself a
token is used without merging (`ignore_merges`). Of several equal names one is used. A tokenizer
that splits in any other way has no name here: a similar one would silently tokenize differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPELLED_CONTRACTIONS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_WORDS = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_REST_OF_PATHS = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_BEFORE_WORD = r"[^\r\n\p{L}\p{N}]?"
_CAPITALS, _SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"{_BEFORE_WORD}{_CAPITALS}*{_SMALL}+", rf"{_BEFORE_WORD}{_CAPITALS}+{_SMALL}*"

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = _WORDS + r"\p{N}{1,3}" + _REST
QWEN2 = _WORDS + r"\p{N}" + _REST
QWEN35 = (
    rf"{_CONTRACTIONS}|{_BEFORE_WORD}[\p{{L}}\p{{M}}]+|\p{{N}}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = rf"{_CASED[0]}|{_CASED[1]}|\p{{N}}{_REST_OF_PATHS}"
GPT4O = rf"{_CASED[0]}{_CONTRACTIONS}?|{_CASED[1]}{_CONTRACTIONS}?|\p{{N}}{{1,3}}{_REST_OF_PATHS}"
SEED_CODER = _WORDS + r"\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
MINICPM5 = _WORDS + r"\p{N}+" + _REST
UFAKZEKA = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SENTENCES = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
DIGIT, DIGITS, UP_TO_3_DIGITS = r"\p{N}", r"\p{N}+", r"\p{N}{1,3}"
HAN_AND_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
HAN_AND_HANGUL = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"

# (expressions, ignore_merges) -> name. The comments list equal names.
NAMES: dict[tuple[tuple[str, ...], bool], str] = {
    ((QWEN2,), False): "qwen2",  # deepseek-r1-qwen, kormo, megrez, stablelm2
    ((LLAMA3,), True): "llama-bpe",  # llama3, falcon3, midm-2.0, pixtral
    ((LLAMA3,), False): "smaug-bpe",  # dbrx, glm4
    ((DIGIT, GPT2), False): "smollm",  # starcoder, refact, command-r, minerva-7b
    ((GPT2,), False): "gpt-2",  # olmo, phi-2, trillion, exaone4
    ((QWEN35,), False): "qwen35",
    # Of these two llama.cpp knows an approximation: it splits combining marks from their letters.
    ((TEKKEN,), True): "tekken",
    ((GPT4O,), False): "gpt-4o",  # llama4, kanana2, minimax-m2
    ((SEED_CODER,), False): "seed-coder",
    ((UP_TO_3_DIGITS, MINICPM5), True): "minicpm5",
    ((UFAKZEKA,), False): "ufakzeka",
    ((SENTENCES, DIGIT), False): "viking",
    ((UP_TO_3_DIGITS, HAN_AND_KANA, DEEPSEEK3), False): "deepseek-v3",  # hunyuan-dense
    ((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN_AND_HANGUL, DIGIT), False): "deepseek-coder",
}


def pre_tokenizer_name(tokenizer: Mapping[str, Any]) -> str | None:
    """The name for a parsed tokenizer.json; None if llama.cpp has none."""
    steps = _steps(tokenizer.get("pre_tokenizer") or {})
    if steps is None:
        return None
    return NAMES.get((tuple(steps), bool(tokenizer["model"].get("ignore_merges"))))


def _steps(stated: Mapping[str, Any]) -> list[str] | None:
    """A pre-tokenizer as expressions, each of whose matches becomes a piece."""
    match stated.get("type"):
        case "Sequence":
            parts = [_steps(each) for each in stated["pretokenizers"]]
            known = [part for part in parts if part is not None]
            return [*chain.from_iterable(known)] if len(known) == len(parts) else None
        case "ByteLevel" if not stated.get("add_prefix_space", True):
            return [GPT2] if stated.get("use_regex", True) else []
        case "Digits":
            return [DIGIT if stated.get("individual_digits") else DIGITS]
        case "Split" if _isolates(stated):
            expression = stated["pattern"].get("Regex")
            return [_canonical(expression)] if expression else None
        case _:
            return None


def _isolates(split: Mapping[str, Any]) -> bool:
    """Matches become pieces: stated directly, or as "remove what does not match", of which
    expressions that match every character leave nothing."""
    match split.get("behavior"), split.get("invert"):
        case "Isolated", False | None:
            return True
        case "Removed", True:
            return str(split["pattern"].get("Regex")).endswith(r"|\s+")
        case _:
            return False


def _canonical(expression: str) -> str:
    """One spelling for patterns with two: line ends and case-insensitive contractions."""
    expression = expression.replace("\r", r"\r").replace("\n", r"\n")
    return expression.replace(_SPELLED_CONTRACTIONS, _CONTRACTIONS)
