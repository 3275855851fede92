"""Generates with the token engine alone, without Triton; started by triton_path.py.

Runs in the triton-cpu runtime. For each line on stdin, a JSON object with `prompts`, `max_tokens`
and `parallel`, it prints how long all prompts took, `parallel` at a time, and the answers.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "triton-repo/gguf/tensorrt_llm/1"))

from llama_model import LlamaModel
from token_engine import Output, Request, TokenEngine


def answer(engine: TokenEngine, prompt: list[int], max_tokens: int) -> list[int]:
    done: Future[list[int]] = Future()
    ids: list[int] = []

    def deliver(output: Output) -> None:
        ids.extend(sampled.token for sampled in output.tokens)
        if output.final:
            done.set_result(ids)

    engine.start(engine.generation(Request(prompt, max_tokens), deliver))
    return done.result()


def main() -> None:
    model, parallel, context, threads = sys.argv[1:]
    engine = TokenEngine(
        LlamaModel(Path(model), parallel=int(parallel), context=int(context), threads=int(threads))
    )
    for line in sys.stdin:
        task = json.loads(line)
        with ThreadPoolExecutor(task["parallel"]) as pool:
            started = time.perf_counter()
            futures = [
                pool.submit(answer, engine, prompt, task["max_tokens"])
                for prompt in task["prompts"]
            ]
            answers = [future.result() for future in futures]
            seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "answers": answers}), flush=True)
    engine.close()


if __name__ == "__main__":
    main()
