"""The tokenizer as a GGUF's key values, from tokenizer.json and tokenizer_config.json alone.

enginix tokenizes outside llama.cpp; this is for llama.cpp's own programs, and tells our token
engine which tokens end an answer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType

from enginix.checkpoint.load import Checkpoint
from enginix.engine.gguf.pre_tokenizers import pre_tokenizer_name
from enginix.errors import CheckpointDamaged, CheckpointUnsupported, NotACheckpoint
from enginix.hub_files import HubFiles, read_object

logger = logging.getLogger(__name__)

TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    model: str
    """llama.cpp's name: gpt2 is byte-level BPE, llama is SentencePiece's."""
    split: str
    tokens: list[str]
    types: list[TokenType]
    merges: list[str] = field(repr=False)
    scores: list[float] = field(repr=False)
    """For SentencePiece only, where the merges follow from the scores."""
    special: Mapping[str, int]
    """bos, eos, eot, eom, pad and unk -> token id, if defined. eot and eom are the second
    and third token that end an answer, because llama.cpp has no list of them."""
    adds_bos: bool
    adds_space: bool
    chat_template: str | None = field(repr=False)


def read_vocabulary(
    checkpoint: Checkpoint, vocab_size: int, directory: Path | None = None
) -> Vocabulary:
    """`vocab_size` is the number of rows of the embedding; a tokenizer has at most as many tokens.

    `directory` holds the tokenizer, if it is not the checkpoint's own.
    """
    directory = directory or checkpoint.directory
    tokenizer = read_object(directory / TOKENIZER_FILE)
    if tokenizer is None:
        raise NotACheckpoint(
            f"{directory} holds no {TOKENIZER_FILE}; save the tokenizer with transformers into it"
        )
    try:
        return _vocabulary(checkpoint, tokenizer, HubFiles(directory), vocab_size)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise CheckpointDamaged(
            f"{directory / TOKENIZER_FILE} is not laid out as the tokenizers library writes it "
            f"({type(error).__name__}: {error}); download it again"
        ) from error


def add_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.split)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.adds_space)
    else:
        writer.add_token_merges(vocabulary.merges)
    add_id = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "eot": writer.add_eot_token_id,
        "eom": writer.add_eom_token_id,
        "pad": writer.add_pad_token_id,
        "unk": writer.add_unk_token_id,
    }
    for name, token in vocabulary.special.items():
        add_id[name](token)
    writer.add_add_bos_token(vocabulary.adds_bos)
    writer.add_add_eos_token(False)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


def _vocabulary(
    checkpoint: Checkpoint,
    tokenizer: dict[str, Any],
    files: HubFiles,
    vocab_size: int,
) -> Vocabulary:
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise CheckpointUnsupported(
            f"{checkpoint.directory / TOKENIZER_FILE} is of type {model.get('type')!r:.40}, "
            "but the gguf kind takes BPE; choose another engine kind for this model"
        )
    by_text = {**model["vocab"], **{item["content"]: item["id"] for item in _added(tokenizer)}}
    is_sentencepiece = bool(model.get("byte_fallback"))
    tokens, types = _tokens(checkpoint.directory, tokenizer, vocab_size)
    merges = [_pair(merge) for merge in model["merges"]]
    special = _special_ids(checkpoint, files, by_text, vocab_size)
    return Vocabulary(
        model="llama" if is_sentencepiece else "gpt2",
        split="default" if is_sentencepiece else _split(checkpoint.directory, tokenizer),
        tokens=tokens,
        types=types,
        merges=[" ".join(part.replace(" ", "Ġ") for part in pair) for pair in merges],
        scores=_scores(tokens, merges) if is_sentencepiece else [],
        special=special,
        adds_bos=_adds_bos(tokenizer, files.tokenizer_config, special.get("bos")),
        adds_space=_adds_space(tokenizer),
        chat_template=files.chat_templates.get("default"),
    )


def _tokens(
    directory: Path, tokenizer: dict[str, Any], vocab_size: int
) -> tuple[list[str], list[TokenType]]:
    """(text, type) of every id up to `vocab_size`; embeddings may have rows without a token."""
    tokens = [f"[PAD{index}]" for index in range(vocab_size)]
    types = [TokenType.UNUSED] * vocab_size
    unknown = tokenizer["model"].get("unk_token")
    vocab = tokenizer["model"]["vocab"]
    named = [(text, token, _plain_type(text, unknown)) for text, token in vocab.items()]
    for item in _added(tokenizer):
        kind = TokenType.CONTROL if item["special"] else TokenType.USER_DEFINED
        if item["content"] == unknown:
            kind = TokenType.UNKNOWN
        named.append((item["content"], item["id"], kind))
    for text, token, kind in named:
        if not 0 <= token < vocab_size:
            raise CheckpointDamaged(
                f"{directory / TOKENIZER_FILE}: the token {text!r:.40} has the id {token}, "
                f"config.json has vocab_size {vocab_size}; they belong to different models"
            )
        _require_utf8(text)
        tokens[token], types[token] = text, kind
    return tokens, types


def _plain_type(text: str, unknown: str | None) -> TokenType:
    if text == unknown:
        return TokenType.UNKNOWN
    is_byte = len(text) == 6 and text.startswith("<0x") and text.endswith(">")
    return TokenType.BYTE if is_byte else TokenType.NORMAL


def _added(tokenizer: dict[str, Any]) -> list[dict[str, Any]]:
    return tokenizer.get("added_tokens") or []


def _pair(merge: str | list[str]) -> tuple[str, str]:
    # tokenizers writes "a b" up to 0.19, ["a", "b"] since.
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    _require_utf8(left + right)
    return left, right


def _require_utf8(text: str) -> None:
    """Raise ValueError for half a surrogate pair, which JSON can write but a GGUF cannot hold."""
    text.encode("utf-8")


def _scores(tokens: list[str], merges: list[tuple[str, str]]) -> list[float]:
    """Scores from merges: SentencePiece joins the best-scoring pair, which was merged first."""
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    return [-float(ranks.get(token, len(merges))) for token in tokens]


def _split(directory: Path, tokenizer: dict[str, Any]) -> str:
    if name := pre_tokenizer_name(tokenizer):
        return name
    logger.warning(
        "%s splits text in a way for which llama.cpp has no name; the engine answers correctly "
        "through enginix, but llama.cpp's own programs would tokenize differently",
        directory / TOKENIZER_FILE,
    )
    return "default"


def _special_ids(
    checkpoint: Checkpoint,
    files: HubFiles,
    by_text: Mapping[str, int],
    vocab_size: int,
) -> dict[str, int]:
    found = {}
    for name in ("bos", "eos", "pad", "unk"):
        token = by_text.get(files.special_tokens.get(f"{name}_token", ""))
        if token is None:
            token = checkpoint.config.get(f"{name}_token_id")
            token = token[0] if isinstance(token, list) and token else token
        if type(token) is int and 0 <= token < vocab_size:
            found[name] = token
    ends = [token for token in files.end_ids() if 0 <= token < vocab_size]
    if ends:
        found.setdefault("eos", ends[0])
    more = [token for token in ends if token != found["eos"]]
    return {**found, **dict(zip(("eot", "eom"), more, strict=False))}


def _adds_bos(tokenizer: dict[str, Any], settings: dict[str, Any], bos: int | None) -> bool:
    if isinstance(stated := settings.get("add_bos_token"), bool):
        return stated
    # Llama 3 states it only in the tokenizer's template, beside its byte-level processor.
    outer = tokenizer.get("post_processor") or {}
    for processor in outer.get("processors") or [outer]:
        first: dict[str, Any] = next(iter(processor.get("single") or []), {})
        name = first.get("SpecialToken", {}).get("id")
        token = processor.get("special_tokens", {}).get(name, {})
        if bos is not None and bos in token.get("ids", []):
            return True
    return False


def _adds_space(tokenizer: dict[str, Any]) -> bool:
    """Whether text gets a space prefix, which SentencePiece's converters state in two ways."""
    text = json.dumps([tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")])
    schemes = ('"prepend_scheme": "first"', '"prepend_scheme": "always"')
    return '"type": "Prepend"' in text or any(scheme in text for scheme in schemes)
