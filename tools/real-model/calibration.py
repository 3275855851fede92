"""Writes the calibration data for tools/demo-checkpoint/quantize.py.

    python calibration.py CHECKPOINT OUT.json

Chats of the model's own template, and English prose: Python's documentation of its own modules.
They contain none of the texts and prompts of the evaluation.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from transformers import AutoTokenizer

QUESTIONS = (
    "How does a refrigerator keep food cold?",
    "Write a poem about the first snow.",
    "What are the benefits of reading every day?",
    "Name four capitals in South America.",
    "Write a JavaScript function that reverses a string.",
    "Explain the water cycle in simple words.",
    "How long does it take to roast a chicken?",
    "Who painted the Mona Lisa?",
)
# Modules whose documentation is prose.
MODULES = ("argparse", "decimal", "doctest", "logging", "pickle", "random", "socket", "unittest")
LONGEST = 256


def main() -> None:
    args = _parser().parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint)
    chats = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        for question in QUESTIONS
    ]
    prose = [importlib.import_module(name).__doc__ or name for name in MODULES]
    rows = [tokenizer(text)["input_ids"][:LONGEST] for text in [*chats, *prose]]
    shown = [{"prompt_ids": row, "answer_ids": []} for row in rows]
    args.out.write_text(json.dumps(shown), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("out", type=Path, metavar="OUT.json")
    return parser


if __name__ == "__main__":
    main()
