"""What is asked: random words of a given length in tokens, or the prompts of a file."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from enginix.errors import UsageError

Messages = list[dict[str, Any]]

# Short and common: about a token each in most vocabularies.
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
    """Endless; no two alike from their first words on, so that no server's cache helps."""
    draw = random.Random(seed)
    while True:
        chosen: list[str] = []
        while len(chosen) < max(1, words):
            # All words equally often: prompts of one length are about as long in tokens.
            chosen += draw.sample(WORDS, len(WORDS))
        yield [{"role": "user", "content": " ".join(chosen[: max(1, words)])}]


async def words_for(tokens: int, count: Callable[[Messages], Awaitable[int | None]]) -> int:
    """How many words make a prompt of `tokens`, template and all, as the server counts them."""
    few, many = 1, max(2, tokens)
    short = await count(next(synthetic(few, seed=1)))
    long = await count(next(synthetic(many, seed=2)))
    if short is None or long is None or long <= short:
        return many
    per_word = (long - short) / (many - few)
    return max(1, round((tokens - (short - few * per_word)) / per_word))


def from_file(path: Path) -> Iterator[Messages]:
    """Round and round: a prompt a line, or a line of JSON with `prompt` or `messages`."""
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
