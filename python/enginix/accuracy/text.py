"""The text whose perplexity is measured: the one that ships, or a user's file."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from enginix.errors import UsageError

ENGLISH = Path(__file__).with_name("english.txt")
MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Text:
    name: str
    content: str
    sha256: str
    """Of the file's bytes, in hexadecimal."""


def read_text(path: Path | None) -> Text:
    """The text at `path`, by default the English one that ships; UsageError if it is no text."""
    path = path or ENGLISH
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        content = data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"the text {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the text {path} is not UTF-8: {error.reason} at byte {error.start}; expected plain "
            "text, convert it first"
        ) from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"the text {path} has over {MAX_BYTES >> 20} MiB; use a part of it")
    if not content.strip():
        raise UsageError(f"the text {path} is empty; expected some hundred words")
    # A file's name may be other bytes than UTF-8, which neither JSON nor a manifest can hold.
    name = os.fsencode(path.name).decode("utf-8", "replace")
    return Text(name, content, hashlib.sha256(data).hexdigest())
