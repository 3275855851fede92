"""Loads an engine's tokenizer and templates as its server will: what is wrong is said at build."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from enginix.chat.template import ChatTemplate
from enginix.chat.tokens import Tokenizer
from enginix.errors import CheckpointDamaged, EngineDamaged

AGAIN = "; build the engine again"


def load_text(directory: Path, checkpoint: Path, questions: Sequence[str] = ()) -> list[list[int]]:
    """Token ids of `questions`; CheckpointDamaged for what no server could load.

    `directory` is the engine's, whose text files are those of `checkpoint`.
    """
    try:
        ChatTemplate.load(directory)
        tokenizer = Tokenizer.load(directory)
    except EngineDamaged as error:
        found = str(error).replace(str(directory), str(checkpoint))
        if found.endswith(AGAIN):
            found = found.removesuffix(AGAIN) + "; download the checkpoint again"
        raise CheckpointDamaged(found) from error
    return [tokenizer.encode(question) for question in questions]
