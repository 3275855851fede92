"""The log probability that an engine's model gives each token of given texts, as a program.

    python engine_logprobs.py MODEL.gguf [--threads N] [--one-by-one] < windows.jsonl

in:    [1, 2, 3]             token ids, one list a line
out:   [-1.5, -0.25]         of the second and each later token

It is the token engine's own model (triton-repo/gguf), in the runtime of `enginix setup triton-cpu`.
`--one-by-one` reads each token in a step of
its own, as answers are generated; without it a window is one step, as prompts are read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "triton-repo" / "gguf" / "tensorrt_llm" / "1"))

from llama_model import LlamaModel
from score import logprobs


def main() -> None:
    args = _parser().parse_args()
    windows = list(_windows())
    longest = max(map(len, windows))
    model = LlamaModel(
        args.model, parallel=1, context=longest, threads=args.threads, prompt_tokens=longest
    )
    for ids in windows:
        step = 1 if args.one_by_one else longest
        print(json.dumps(logprobs(model, ids, 1, step).tolist()), flush=True)
    model.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one-by-one", action="store_true")
    return parser


def _windows() -> Iterator[list[int]]:
    for line in sys.stdin:
        if line.strip():
            yield json.loads(line)


if __name__ == "__main__":
    main()
