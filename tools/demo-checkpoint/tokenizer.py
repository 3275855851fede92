"""Trains a demo model's tokenizer by its family's recipe: byte-level BPE of few tokens.

Its text is the docstrings of this machine's Python, the conversations and the chat template, so
nothing is downloaded.
"""

from __future__ import annotations

import ast
import json
import random
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from conversations import TOOLS, Conversation
from families import Family
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

HELD_OUT = 60


def docstrings() -> tuple[list[str], list[str]]:
    """(to train on, held out): the standard library's docstrings, in one random order."""
    found = [
        text
        for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
        for text in _docstrings_of(path)
    ]
    random.Random(1).shuffle(found)
    return found[HELD_OUT:], found[:HELD_OUT]


def _docstrings_of(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        # The library holds files that are wrong on purpose, for its own tests.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) > 80:
                yield text


def train_tokenizer(
    family: Family, texts: Sequence[str], known: Sequence[Conversation], template: str
) -> Tokenizer:
    tokenizer = Tokenizer(
        models.BPE(
            unk_token=None,
            byte_fallback=False,
            fuse_unk=False,
            ignore_merges=family.takes_whole_words,
        )
    )
    if family.composes:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(family.split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    said = [
        f"{message.get('content', '')} {message.get('reasoning_content', '')}"
        for one in known
        for message in one.messages
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=(
            family.vocabulary - len(family.special) - len(family.plain) - family.unused_rows
        ),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    # Often enough that what is said in chats is short in tokens.
    corpus = [*texts, *said * 3, *[template] * 20, *[json.dumps(TOOLS)] * 50]
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([_added(text, special=True) for text in family.special])
    tokenizer.add_tokens([_added(text, special=False) for text in family.plain])
    tokenizer.post_processor = _post_processor(tokenizer, family)
    return tokenizer


def _added(text: str, *, special: bool) -> AddedToken:
    return AddedToken(text, special=special, normalized=False)


def _post_processor(tokenizer: Tokenizer, family: Family) -> processors.PostProcessor:
    bytes_alone = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    if not family.begin:
        return bytes_alone
    begins = processors.TemplateProcessing(
        single=f"{family.begin} $A",
        pair=f"{family.begin} $A {family.begin}:1 $B:1",
        special_tokens=[(family.begin, tokenizer.token_to_id(family.begin))],
    )
    return processors.Sequence([bytes_alone, begins])


def save_tokenizer(tokenizer: Tokenizer, family: Family, template: str, directory: Path) -> None:
    """Write it as its family ships it; transformers 5 would leave half of this out."""
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    added = {
        str(tokenizer.token_to_id(text)): {
            "content": text,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": text in family.special,
        }
        for text in (*family.special, *family.plain)
    }
    settings = {
        **family.settings,
        "added_tokens_decoder": added,
        "bos_token": family.begin,
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        "eos_token": family.end_of_turn,
        "model_max_length": 131072,
        "pad_token": family.padding,
        "unk_token": None,
    }
    text = json.dumps(settings, indent=1, ensure_ascii=False, sort_keys=True)
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")
