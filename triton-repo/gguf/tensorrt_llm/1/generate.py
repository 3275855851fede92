"""A program that answers prompts greedily: one JSON object per line in, one per line out.

usage: python generate.py --model model.gguf [--threads N] [--parallel N] [--context N]
in:    {"prompt_ids": [1, 2], "max_tokens": 16, "stop_ids": [2]}
out:   {"ids": [3, 4]}
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import Future
from pathlib import Path

from engine_request import Output, Request
from llama_cpp import LlamaError
from llama_model import LlamaModel
from token_engine import TokenEngine


def main() -> int:
    args = _parser().parse_args()
    try:
        model = LlamaModel(
            args.model,
            parallel=args.parallel,
            context=args.context,
            threads=args.threads,
        )
        engine = TokenEngine(model)
        try:
            lines = [(number, line) for number, line in enumerate(sys.stdin, 1) if line.strip()]
            answers = [_start(engine, _read(line, f"line {number}")) for number, line in lines]
            for answer in answers:
                print(json.dumps({"ids": answer.result()}), flush=True)
        finally:
            engine.close()
    except LlamaError as error:
        print(f"generate.py: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, metavar="FILE")
    parser.add_argument("--threads", type=int, default=0, help="default: one for each core")
    parser.add_argument("--parallel", type=int, default=1, help="prompts answered at a time")
    parser.add_argument("--context", type=int, default=4096, help="tokens of prompt and answer")
    return parser


def _read(line: str, where: str) -> Request:
    try:
        task = json.loads(line)
    except json.JSONDecodeError as error:
        raise LlamaError(f"{where} is not JSON: {error}") from error
    for key in ("prompt_ids", "max_tokens"):
        if not isinstance(task, dict) or key not in task:
            raise LlamaError(f"{where} has no {key}; see --help for what a line holds")
    stop_words = [[token] for token in task.get("stop_ids", [])]
    return Request(task["prompt_ids"], task["max_tokens"], stop_words)


def _start(engine: TokenEngine, request: Request) -> Future[list[int]]:
    answer: Future[list[int]] = Future()
    ids: list[int] = []

    def deliver(output: Output) -> None:
        ids.extend(sampled.token for sampled in output.tokens)
        if output.error:
            answer.set_exception(LlamaError(output.error))
        elif output.final:
            answer.set_result(ids)

    engine.start(engine.generation(request, deliver))
    return answer


if __name__ == "__main__":
    sys.exit(main())
