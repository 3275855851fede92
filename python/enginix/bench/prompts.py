"""The prompts: random words with a given number of tokens, or the lines of a file."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from enginix.errors import UsageError

Messages = list[dict[str, Any]]

# Short and common: about one token each in most vocabularies.
WORDS = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world",
    "school", "state", "family", "student", "group", "country", "problem", "hand", "part",
    "place", "case", "week", "company", "system", "program", "question", "work", "number",
    "night", "point", "home", "water", "room", "mother", "area", "money", "story", "fact",
    "month", "lot", "right", "study", "book", "eye", "job", "word", "business", "issue",
    "side", "kind", "head", "house", "service", "friend", "father", "power", "hour", "game",
    "line", "end", "member", "law", "car",
]  # fmt: skip


def synthetic(words: int, seed: int = 0) -> Iterator[Messages]:
    """Endless; no two share a prefix, so prefix caches do not help."""
    draw = random.Random(seed)
    while True:
        chosen: list[str] = []
        while len(chosen) < max(1, words):
            # All words equally often: prompts of one length have about the same number of tokens.
            chosen += draw.sample(WORDS, len(WORDS))
        yield [{"role": "user", "content": " ".join(chosen[: max(1, words)])}]


async def words_for(tokens: int, count: Callable[[Messages], Awaitable[int | None]]) -> int:
    """How many words make a prompt of `tokens`, template included, by the server's count."""
    short_words, long_words = 1, max(2, tokens)
    short = await count(next(synthetic(short_words, seed=1)))
    long = await count(next(synthetic(long_words, seed=2)))
    if short is None or long is None or long <= short:
        return long_words
    per_word = (long - short) / (long_words - short_words)
    return max(1, round((tokens - (short - short_words * per_word)) / per_word))


def from_file(path: Path) -> Iterator[Messages]:
    """Repeat a file's prompts: plain text lines, or JSON lines with `prompt` or `messages`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--prompts {path} cannot be read: {error}") from None
    found = [_messages(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise UsageError(f"--prompts {path} is empty; expected a prompt in each line")
    return itertools.cycle(found)


def _messages(path: Path, number: int, line: str) -> Messages:
    if not line.startswith("{"):
        return [{"role": "user", "content": line}]
    try:
        row = json.loads(line)
    except ValueError:
        row = {}
    match row:
        case {"messages": [*messages]}:
            return messages
        case {"prompt": str(prompt)}:
            return [{"role": "user", "content": prompt}]
    raise UsageError(
        f"--prompts {path}, line {number}: expected text, or JSON with `prompt` or `messages`, "
        f"got {line[:60]!r}"
    )
