"""A program that scores given tokens: one JSON object per line in, one per line out.

usage: python score.py --model model.gguf [--threads N] [--context N]
in:    {"ids": [1, 2, 3], "first": 1}
out:   {"logprob": -5.25, "llama_cpp": "VERSION"}

`logprob` is the sum of the natural log probabilities of the tokens from place `first` on, each
after those before it; NaN if the model computes none.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from llama_cpp import VERSION, LlamaError
from llama_model import LlamaModel

# Tokens of one step. Each has a row of logits: 128 rows of 150,000 values take 77 MB.
STEP = 128


def main() -> int:
    args = _parser().parse_args()
    try:
        model = LlamaModel(
            args.model,
            parallel=1,
            context=args.context,
            threads=args.threads,
            prompt_tokens=STEP,
            first_room=args.context,
        )
        try:
            for number, line in enumerate(sys.stdin, 1):
                if line.strip():
                    ids, first = _read(line, f"line {number}", model)
                    total = float(logprobs(model, ids, first).sum())
                    print(json.dumps({"logprob": total, "llama_cpp": VERSION}), flush=True)
        finally:
            model.close()
    except LlamaError as error:
        print(f"score.py: {error}", file=sys.stderr)
        return 1
    return 0


def logprobs(model: LlamaModel, ids: Sequence[int], first: int, step: int = STEP) -> np.ndarray:
    """Of the tokens from place `first` on, which is at least 1; `step` are read at a time."""
    model.forget(0, 0)
    found = np.empty(len(ids) - 1)
    for start in range(0, len(ids) - 1, step):
        part = ids[start : min(start + step, len(ids) - 1)]
        logits = _logits(model, start, part)
        targets = ids[start + 1 : start + 1 + len(part)]
        highest = logits.max(axis=1)
        total = np.exp(logits - highest[:, None]).sum(axis=1, dtype=np.float64)
        chosen = logits[np.arange(len(part)), targets]
        found[start : start + len(part)] = chosen - highest - np.log(total)
    return found[first - 1 :]


def _logits(model: LlamaModel, position: int, tokens: Sequence[int]) -> np.ndarray:
    """What comes after each of the tokens: a row per token, valid until the next step."""
    model.batch.clear()
    for offset, token in enumerate(tokens):
        model.batch.add_token(0, position + offset, token)
    if code := model.decode():
        raise LlamaError(f"llama.cpp cannot read {len(tokens)} tokens: error {code}")
    return model.logits(len(tokens))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, metavar="FILE")
    parser.add_argument("--threads", type=int, default=0, help="default: one for each core")
    parser.add_argument("--context", type=int, default=512, help="tokens of the longest line")
    return parser


def _read(line: str, where: str, model: LlamaModel) -> tuple[list[int], int]:
    try:
        task = json.loads(line)
        ids, first = task["ids"], task["first"]
    except (ValueError, LookupError, TypeError) as error:
        raise LlamaError(f"{where} is no task: {error}; see --help for what it holds") from error
    if not 1 <= first < len(ids) <= model.context:
        raise LlamaError(f"{where} has {len(ids)} tokens, first {first}; see --help")
    model.check_ids(ids)
    return ids, first


if __name__ == "__main__":
    sys.exit(main())
