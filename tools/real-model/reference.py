"""Computes transformers' log probabilities of given texts, token by token.

    python reference.py CHECKPOINT < windows.jsonl

in:    [1, 2, 3]             token ids, one list a line
out:   {"logprobs": [...], "margins": [...], "gaps": [...]}
       of the second and each later token: its log probability; how far the largest logit of its
       place is above the second; and how far above this token's, which is 0 where transformers
       chooses it too

An NVFP4 checkpoint is dequantized first; weights and sums are float32, so that the numbers are
those of the weights alone. Needs torch and transformers.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1] / "demo-checkpoint"))

from dequantize import load_model


def main() -> None:
    args = _parser().parse_args()
    model = _load(args.checkpoint)
    with torch.inference_mode():
        for line in filter(str.strip, sys.stdin):
            print(json.dumps(_judge(model, json.loads(line))), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    return parser


def _load(directory: Path) -> Any:
    if (directory / "hf_quant_config.json").exists():
        return load_model(directory, torch.float32)
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def _judge(model: Any, ids: list[int]) -> dict[str, list[float]]:
    logits = model(torch.tensor([ids[:-1]])).logits[0]
    targets = torch.tensor(ids[1:]).unsqueeze(-1)
    largest, second = logits.topk(2).values.unbind(-1)
    return {
        "logprobs": logits.double().log_softmax(-1).gather(-1, targets).squeeze(-1).tolist(),
        "margins": (largest - second).tolist(),
        "gaps": (largest - logits.gather(-1, targets).squeeze(-1)).tolist(),
    }


if __name__ == "__main__":
    main()
