"""Answers prompts with little memory, as a program: four one after another, then four at once.

usage: python growing_memory.py MODEL_CODE model.gguf ROOM < [[PROMPT_IDS, END_ID] ...]

Prints one JSON object: the answers, how much of each prompt was not read again, and for how many
tokens each sequence had room before, between and after.
"""

import json
import sys
from concurrent.futures import Future
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from engine_request import Output, Request
from llama_model import LlamaModel
from token_engine import TokenEngine

PARALLEL, CONTEXT = 4, 1024


def ask(engine: TokenEngine, prompt: list[int], end: int) -> "Future[tuple[object, int]]":
    answer: Future[tuple[object, int]] = Future()
    ids: list[int] = []

    def deliver(output: Output) -> None:
        ids.extend(sampled.token for sampled in output.tokens)
        if output.final:
            answer.set_result((output.error or ids, generation.reused))

    generation = engine.generation(Request(prompt, 100, [[end]]), deliver)
    engine.start(generation)
    return answer


def main() -> None:
    asked = json.load(sys.stdin)
    model = LlamaModel(
        Path(sys.argv[2]),
        parallel=PARALLEL,
        context=CONTEXT,
        prompt_tokens=64,
        first_room=int(sys.argv[3]),
    )
    engine = TokenEngine(model)
    rooms = [model.room]
    found = [ask(engine, *one).result(30) for one in asked[:PARALLEL]]
    rooms.append(model.room)
    found += [answer.result(30) for answer in [ask(engine, *one) for one in asked[PARALLEL:]]]
    rooms.append(model.room)
    engine.close()
    answers, reused = zip(*found, strict=True)
    print(json.dumps({"answers": answers, "reused": reused, "rooms": rooms}))


main()
