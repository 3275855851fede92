"""The tokens that a checkpoint's configuration files add to its vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from enginix.errors import CheckpointDamaged
from enginix.hub_files import HubFiles, read_object, text_of

Added = dict[str, Any]
"""In the form of tokenizer.json."""

# Above any vocabulary: a wrong id must not become a list of billions.
MAX_TOKENS = 4_000_000
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def added_token(number: int, content: str, *, special: bool, **flags: bool) -> Added:
    states = {name: bool(flags.get(name, False)) for name in FLAGS}
    return {"id": number, "content": content, **states, "special": special}


def added_tokens(
    files: HubFiles,
    vocabulary: Mapping[str, int],
    own: Sequence[Added] = (),
) -> list[Added]:
    """Sorted by id; `own` are the vocabulary file's tokens, which the others refine."""
    by_content = {token["content"]: token for token in own}
    directory = files.directory
    special = set(special_contents(files))
    for number, content, flags in _declared(files):
        known = vocabulary.get(content, by_content.get(content, {}).get("id"))
        if known is not None and known != number:
            raise CheckpointDamaged(
                f"{directory}: the token {content!r:.40} has id {number} in the configuration "
                f"and {known} in the vocabulary; they belong to different models"
            )
        is_special = flags.pop("special", content in special)
        by_content[content] = added_token(number, content, special=bool(is_special), **flags)
    for content in special:
        if content in vocabulary and content not in by_content:
            by_content[content] = added_token(vocabulary[content], content, special=True)
    return _in_order(directory, by_content.values(), vocabulary)


def special_contents(files: HubFiles) -> Iterator[str]:
    """The texts of special tokens: those with a role, and the additional ones."""
    for found in (files.special_tokens_map, files.tokenizer_config):
        listed = found.get("additional_special_tokens")
        tokens = [found.get(role) for role in ROLES]
        for token in [*tokens, *(listed if isinstance(listed, list) else [])]:
            if content := text_of(token):
                yield content


def _declared(files: HubFiles) -> Iterator[tuple[int, str, dict[str, Any]]]:
    older = read_object(files.directory / "added_tokens.json") or {}
    decoder = files.tokenizer_config.get("added_tokens_decoder") or {}
    try:
        for content, number in older.items():
            yield token_id(number), str(content), {}
        for number, token in decoder.items():
            flags = {name: token[name] for name in (*FLAGS, "special") if name in token}
            yield token_id(int(number)), str(token["content"]), flags
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointDamaged(
            f"{files.directory}: added_tokens_decoder or added_tokens.json holds no list of tokens "
            f"with their ids ({type(error).__name__}: {error}); download the checkpoint again"
        ) from None


def token_id(number: Any) -> int:
    if type(number) is not int or not 0 <= number < MAX_TOKENS:
        raise ValueError(number)
    return number


def _in_order(directory: Path, tokens: Any, vocabulary: Mapping[str, int]) -> list[Added]:
    ordered = sorted(tokens, key=lambda token: int(token["id"]))
    texts = {number: text for text, number in vocabulary.items()}
    for token in ordered:
        other = texts.setdefault(token["id"], token["content"])
        if other != token["content"]:
            raise CheckpointDamaged(
                f"{directory}: the tokens {other!r:.40} and {token['content']!r:.40} both have "
                f"the id {token['id']}; they belong to different models"
            )
    return ordered
