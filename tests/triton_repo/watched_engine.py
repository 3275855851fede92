"""Runs the token engine, watched and perhaps with a fault in llama.cpp, as a runtime's program.

usage: python watched_engine.py MODEL_CODE model.gguf none|code|exception STEP

The fault happens in one decode step. Prints one JSON object: how many tokens each step read, and
of which sequences; and the answers of two requests that ran together, of one that waited for a
slot, and of one after them, beside which another one ran.
"""

import json
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, sys.argv[1])

from engine_request import Output, Request
from llama_cpp import LlamaError
from llama_model import LlamaModel
from token_engine import TokenEngine

OUT_OF_MEMORY = -2


class WatchedModel(LlamaModel):
    fault, step = sys.argv[3], int(sys.argv[4])
    read: ClassVar[list[int]] = []
    sequences: ClassVar[list[list[int]]] = []

    def decode(self) -> int:
        self.read.append(self.batch.size)
        self.sequences.append([*self.batch.outputs])
        if len(self.read) == self.step:
            if self.fault == "code":
                return OUT_OF_MEMORY
            if self.fault == "exception":
                raise OSError("the fault that was asked for")
        return super().decode()


def ask(engine: TokenEngine, prompt: list[int]) -> "Future[object]":
    answer: Future[object] = Future()
    ids: list[int] = []

    def deliver(output: Output) -> None:
        ids.extend(sampled.token for sampled in output.tokens)
        if output.final:
            answer.set_result(output.error or ids)

    try:
        engine.start(engine.generation(Request(prompt, 10), deliver))
    except LlamaError as error:
        answer.set_result(str(error))
    return answer


def main() -> None:
    model = WatchedModel(Path(sys.argv[2]), parallel=2, context=256, threads=1)
    engine = TokenEngine(model)
    prompt = [2013, 1123, 198]
    asked = [ask(engine, prompt) for _ in range(3)]
    first, second, waiting = [answer.result(20) for answer in asked]
    # The sequence that the last one had has been used after the other one.
    asked = [ask(engine, prompt) for _ in range(2)]
    after, _ = [answer.result(20) for answer in asked]
    engine.close()
    found = {"running": [first, second], "waiting": waiting, "after": after}
    print(json.dumps({**found, "read": model.read, "sequences": model.sequences}))


main()
