"""How fast checkpoints become GGUFs, and how much memory that takes.

    python benchmarks/gguf_repack.py [--megabytes 500] [--runs 5] [--directory DIR]

Makes a random NVFP4 and a random BF16 checkpoint, reads them once into the page cache, and writes
each as a GGUF several times. The rate is that of writing alone, without the disk's fsync; a
directory in memory (/dev/shm) leaves the disk out altogether.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from enginix.engine.gguf.build import Plan, read_plan, write_model
from enginix.engine.stages import forget_peak_memory, peak_memory

sys.path.append(str(Path(__file__).parents[1] / "tools" / "demo-checkpoint"))
from make_random import make_checkpoint, shape_of_size

PROMISED_RATE = 300e6
PROMISED_MEMORY = 300e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=500, metavar="N")
    parser.add_argument("--runs", type=int, default=5, metavar="N")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where to write")
    args = parser.parse_args()
    print(f"{'weights':8} {'size':>8} {'best':>10} {'median':>10} {'per CPU s':>10} {'memory':>8}")
    for weights in ("nvfp4", "bf16"):
        with tempfile.TemporaryDirectory(dir=args.directory) as directory:
            measure(weights, args.megabytes, args.runs, Path(directory))


def measure(weights: str, megabytes: int, runs: int, directory: Path) -> None:
    checkpoint = make_checkpoint(directory / "checkpoint", shape_of_size(megabytes, weights))
    plan = read_plan(checkpoint)
    for path in checkpoint.glob("*.safetensors"):
        path.read_bytes()
    forget_peak_memory()
    elapsed, busy = zip(*times(plan, directory, runs), strict=True)
    memory = peak_memory()
    best, median, work = (
        plan.size_bytes / each for each in (min(elapsed), statistics.median(elapsed), min(busy))
    )
    print(
        f"{weights:8} {plan.size_bytes / 1e6:5.0f} MB {best / 1e6:5.0f} MB/s "
        f"{median / 1e6:5.0f} MB/s {work / 1e6:7.0f} MB {memory / 1e6:5.0f} MB  "
        f"{verdict(plan, best, memory)}"
    )


def times(plan: Plan, directory: Path, runs: int) -> Iterator[tuple[float, float]]:
    """(seconds on the clock, seconds of CPU) of each run."""
    for run in range(runs):
        path = directory / f"{run}.gguf"
        began, busy = time.perf_counter(), time.process_time()
        write_model(plan, "random", path, lambda size: None)
        yield time.perf_counter() - began, time.process_time() - busy
        path.unlink()


def verdict(plan: Plan, rate: float, memory: int) -> str:
    largest = max(tensor.size_bytes for tensor in plan.tensors)
    kept = rate >= PROMISED_RATE and memory <= PROMISED_MEMORY + largest
    return "as promised" if kept else "NOT as promised: 300 MB/s, 300 MB over the largest tensor"


if __name__ == "__main__":
    main()
