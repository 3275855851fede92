"""Runs the token engine with a fault in llama.cpp, as a program of the runtime.

usage: python faulty_engine.py MODEL_CODE model.gguf code|exception STEP

The fault happens in one decode step. Prints one JSON object: the answers of two requests that ran
in that step, of one that waited for a slot, and of one that came afterwards.
"""

import json
import sys
from concurrent.futures import Future
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from llama_cpp import LlamaError
from llama_model import LlamaModel
from token_engine import Output, Request, TokenEngine

OUT_OF_MEMORY = -2


class FaultyModel(LlamaModel):
    fault, step = sys.argv[3], int(sys.argv[4])

    def decode(self) -> int:
        self.step -= 1
        if self.step == 0 and self.fault == "code":
            return OUT_OF_MEMORY
        if self.step == 0:
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
    model = FaultyModel(Path(sys.argv[2]), parallel=2, context=256, threads=1)
    engine = TokenEngine(model)
    prompt = [2013, 1123, 198]
    asked = [ask(engine, prompt) for _ in range(3)]
    first, second, waiting = [answer.result(20) for answer in asked]
    after = ask(engine, prompt).result(20)
    engine.close()
    print(json.dumps({"running": [first, second], "waiting": waiting, "after": after}))


main()
