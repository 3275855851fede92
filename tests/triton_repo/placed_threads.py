"""Prints where the threads of each step may run, as a runtime's program.

usage: python placed_threads.py MODEL_CODE model.gguf THREADS

A shallow step, one far from the beginning of a prompt, and a shallow one. For each, a JSON object:
the processors that the calling thread may use, and those of each thread that llama.cpp has made.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from llama_model import LlamaModel
from token_batch import DEEP

OWN_TASKS = Path("/proc/self/task")


def tasks() -> set[int]:
    return {int(task.name) for task in OWN_TASKS.iterdir()}


def main() -> None:
    model = LlamaModel(Path(sys.argv[2]), parallel=2, context=DEEP + 16, threads=int(sys.argv[3]))
    before = tasks()

    def step(sequence: int, position: int, count: int) -> None:
        model.batch.clear()
        model.batch.add(sequence, position, [1] * count, sample=True)
        assert model.decode() == 0
        made = [sorted(os.sched_getaffinity(task)) for task in tasks() - before]
        print(json.dumps({"own": sorted(os.sched_getaffinity(0)), "made": sorted(made)}))

    step(0, 0, 4)
    for position in range(0, DEEP, 256):
        model.batch.clear()
        model.batch.add(1, position, [1] * 256, sample=False)
        assert model.decode() == 0
    step(1, DEEP, 4)
    step(0, 4, 1)
    model.close()


main()
