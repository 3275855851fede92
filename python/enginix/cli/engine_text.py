"""Loads an engine's tokenizer and templates as its server will, so that the build finds errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from enginix.chat.template import ChatTemplate
from enginix.chat.tokens import Tokenizer
from enginix.errors import CheckpointDamaged, EngineDamaged

REBUILD = "; build the engine again"


def load_text(directory: Path, checkpoint: Path, questions: Sequence[str] = ()) -> list[list[int]]:
    """Token ids of `questions`; CheckpointDamaged for files that a server could not load.

    `directory` is the engine's; its text files come from `checkpoint`.
    """
    try:
        ChatTemplate.load(directory)
        tokenizer = Tokenizer.load(directory)
    except EngineDamaged as error:
        found = str(error).replace(str(directory), str(checkpoint))
        if found.endswith(REBUILD):
            found = found.removesuffix(REBUILD) + "; download the checkpoint again"
        raise CheckpointDamaged(found) from error
    return [tokenizer.encode(question) for question in questions]
