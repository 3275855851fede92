"""Answers prompts with little memory, as a program: four one after another, then four at once.

usage: python shared_memory.py MODEL_CODE model.gguf < [[PROMPT_IDS, END_ID] ...]

Prints one JSON object: the answers, and for how many tokens the memory had room before, between
and after.
"""

import json
import sys
from concurrent.futures import Future
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from llama_model import LlamaModel
from token_engine import Output, Request, TokenEngine

PARALLEL, CONTEXT = 4, 512


def ask(engine: TokenEngine, prompt: list[int], end: int) -> "Future[object]":
    answer: Future[object] = Future()
    ids: list[int] = []

    def deliver(output: Output) -> None:
        ids.extend(sampled.token for sampled in output.tokens)
        if output.final:
            answer.set_result(output.error or ids)

    engine.start(engine.generation(Request(prompt, 100, [[end]]), deliver))
    return answer


def main() -> None:
    asked = json.load(sys.stdin)
    model = LlamaModel(
        Path(sys.argv[2]), parallel=PARALLEL, context=CONTEXT, prompt_tokens=64, cells=CONTEXT
    )
    engine = TokenEngine(model)
    cells = [model.cells]
    found = [ask(engine, *one).result(30) for one in asked[:PARALLEL]]
    cells.append(model.cells)
    found += [answer.result(30) for answer in [ask(engine, *one) for one in asked[PARALLEL:]]]
    cells.append(model.cells)
    engine.close()
    print(json.dumps({"answers": found, "cells": cells}))


main()
