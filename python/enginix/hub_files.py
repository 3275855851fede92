"""The configuration files of a Hugging Face checkpoint, and of an engine that keeps its text files.

config.json, tokenizer_config.json, generation_config.json, special_tokens_map.json and the chat
templates: each is read once, when it is first needed, and an absent one is empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from enginix.errors import CheckpointDamaged, engine_damaged
from enginix.plain_files import read_text
from enginix.records import Failure

CONFIG_FILE = "config.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
GENERATION_CONFIG_FILE = "generation_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"

# The longest chat templates in use have 30 KB.
MAX_TEMPLATE_BYTES = 1 << 20

END_IDS = "eos_token_id"
# The keys transformers reads from config.json if there is no generation_config.json.
FROM_CONFIG = (
    END_IDS,
    "bos_token_id",
    "pad_token_id",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
)


def read_object(path: Path, failure: Failure = CheckpointDamaged) -> dict[str, Any] | None:
    """A JSON file that holds an object; None when there is no such file."""
    try:
        data = json.loads(read_text(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise failure(f"{path} is not readable JSON: {error}") from error
    if not isinstance(data, dict):
        raise failure(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


class HubFiles:
    """`failure` makes the exception for a file that exists but cannot be read."""

    def __init__(self, directory: Path, failure: Failure = CheckpointDamaged) -> None:
        self.directory = directory
        self._failure = failure

    @cached_property
    def config(self) -> dict[str, Any]:
        return self._read(CONFIG_FILE)

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        return self._read(TOKENIZER_CONFIG_FILE)

    @cached_property
    def special_tokens_map(self) -> dict[str, Any]:
        return self._read(SPECIAL_TOKENS_FILE)

    @cached_property
    def special_tokens(self) -> dict[str, str]:
        """Role (`bos_token`, `eos_token`, ...) -> token; tokenizer_config.json wins."""
        return {
            role: content
            for file in (self.special_tokens_map, self.tokenizer_config)
            for role, token in file.items()
            if role.endswith("_token") and (content := text_of(token)) is not None
        }

    @cached_property
    def generation_config(self) -> dict[str, Any]:
        """Sampling defaults and end tokens: generation_config.json.

        Without that file they come from config.json. So do end ids that the file omits, because
        every model needs one.
        """
        own = read_object(self.directory / GENERATION_CONFIG_FILE, self._failure)
        text = self.config.get("text_config")
        stated = {**(text if isinstance(text, dict) else {}), **without_nulls(self.config)}
        keys = FROM_CONFIG if own is None else (END_IDS,)
        found = {key: stated[key] for key in keys if stated.get(key) is not None}
        return {**found, **without_nulls(own or {})}

    def end_ids(self, id_of: Callable[[str], int | None] | None = None) -> list[int]:
        """The ids of the tokens that end an answer, the main one first.

        `id_of` looks up a token in the vocabulary, to include the tokenizer's `eos_token`.
        """
        stated = self.generation_config.get(END_IDS)
        ids = stated if isinstance(stated, list) else [stated]
        if id_of and (end := self.special_tokens.get("eos_token")):
            ids = [*ids, id_of(end)]
        return list(dict.fromkeys(token for token in ids if type(token) is int))

    @cached_property
    def chat_templates(self) -> dict[str, str]:
        """Name -> chat template; `default` is for plain chats. Separate files take precedence."""
        found: dict[str, str] = {}
        for name in ("chat_template.json", TOKENIZER_CONFIG_FILE):
            found |= self._named_templates(name)
        more = sorted((self.directory / "additional_chat_templates").glob("*.jinja"))
        named = {"default": self.directory / "chat_template.jinja"}
        for name, path in (named | {path.stem: path for path in more}).items():
            try:
                found[name] = read_text(path, MAX_TEMPLATE_BYTES)
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                raise self._failure(f"{path} cannot be read: {error}") from error
        return found

    def _named_templates(self, file: str) -> dict[str, str]:
        stated = self._read(file).get("chat_template")
        rows = [{"name": "default", "template": stated}] if isinstance(stated, str) else stated
        try:
            return {str(row["name"]): str(row["template"]) for row in rows or ()}
        except (TypeError, KeyError):
            raise self._failure(
                f"{self.directory / file}: chat_template: expected a string or a list of names and "
                f"templates, got {stated!r:.80}; correct it in the checkpoint"
            ) from None

    def _read(self, name: str) -> dict[str, Any]:
        return read_object(self.directory / name, self._failure) or {}


def engine_files(directory: Path) -> HubFiles:
    """The checkpoint files that an engine keeps; EngineDamaged for a broken one."""
    return HubFiles(directory, engine_damaged)


def text_of(token: object) -> str | None:
    """A special token's text: a string, or an object with one as its `content`."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def without_nulls(stated: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stated.items() if value is not None}
