"""Asks a checkpoint every question of evals.json, and measures its perplexity. Needs torch.

    python evaluate.py DIR --evals evals.json [--held-out held-out.json] [--dtype bfloat16]

An NVFP4 checkpoint is dequantized first (dequantize.py): weights as quantized, activations whole.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from dequantize import load_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

WINDOW = 256
SHOWN = 8


def main() -> None:
    args = _parser().parse_args()
    dtype = getattr(torch, args.dtype)
    tokenizer = AutoTokenizer.from_pretrained(args.directory)
    model = _load(args.directory, dtype)
    evals = json.loads(args.evals.read_text(encoding="utf-8"))
    with torch.inference_mode():
        _ask(model, tokenizer, evals)
        print(f"perplexity of the answers: {_answers_perplexity(model, evals):.4f}")
        if args.held_out:
            ids = json.loads(args.held_out.read_text())
            print(f"perplexity of held-out text: {_text_perplexity(model, ids):.2f}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--evals", type=Path, required=True, metavar="FILE", help="from train.py")
    parser.add_argument("--held-out", type=Path, metavar="FILE", help="token ids, from train.py")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    return parser


def _load(directory: Path, dtype: torch.dtype) -> Any:
    if (directory / "hf_quant_config.json").exists():
        return load_model(directory, dtype)
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()


def _ask(model: Any, tokenizer: Any, evals: list[dict[str, Any]]) -> None:
    began, tokens, wrong = time.monotonic(), 0, []
    for one in evals:
        ids = torch.tensor([one["prompt_ids"]])
        end = one["answer_ids"][-1]
        output = model.generate(
            ids, do_sample=False, max_new_tokens=400, eos_token_id=end, pad_token_id=0
        )
        answer = output[0, ids.shape[1] :].tolist()
        tokens += len(answer)
        if answer != one["answer_ids"]:
            wrong.append((one, answer))
    rate = tokens / (time.monotonic() - began)
    print(f"exact answers: {len(evals) - len(wrong)} of {len(evals)} ({rate:.0f} tokens/s)")
    for one, answer in wrong[:SHOWN]:
        print(f"  {one['messages'][-1]['content']!r}: {tokenizer.decode(answer)!r}")


def _answers_perplexity(model: Any, evals: list[dict[str, Any]]) -> float:
    loss, count = 0.0, 0
    for one in evals:
        loss += _loss(model, one["prompt_ids"] + one["answer_ids"], len(one["answer_ids"]))
        count += len(one["answer_ids"])
    return math.exp(loss / count)


def _text_perplexity(model: Any, ids: list[int]) -> float:
    starts = range(0, len(ids) - WINDOW, WINDOW)
    loss = sum(_loss(model, ids[start : start + WINDOW + 1], WINDOW) for start in starts)
    return math.exp(loss / (len(starts) * WINDOW))


def _loss(model: Any, ids: list[int], last: int) -> float:
    """The summed loss of the `last` tokens."""
    tokens = torch.tensor([ids])
    logits = model(tokens[:, :-1]).logits.float()
    loss = functional.cross_entropy(logits[0, -last:], tokens[0, -last:], reduction="sum")
    return float(loss.item())


if __name__ == "__main__":
    main()
