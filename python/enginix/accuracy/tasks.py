"""Runs tasks such as gsm8k with EleutherAI's lm-eval, in a process of its own, against a server."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix import process
from enginix.accuracy.server import ServerTarget
from enginix.errors import TasksFailed, UsageError
from enginix.process import describe_exit, find_program
from enginix.records import read_json

PROGRAM = "lm_eval"
# Requests at a time; a server with fewer slots queues them.
CONCURRENT = 8
STANDARD_ERROR = 2
# 'exact_match,strict-match' -> metric and filter.
METRIC = re.compile(r"(?P<metric>[^,]+),(?P<filter>.+)")


@dataclass(frozen=True, slots=True)
class Tasks:
    names: str
    """Separated by commas, as lm-eval knows them."""
    directory: Path | None = None
    """More tasks, as YAML files."""
    limit: int | None = None
    """Questions of each task; None for all."""
    tokenizer: str | None = None
    """A directory or repository; tasks that compare the likelihood of given answers need it."""


@dataclass(frozen=True, slots=True)
class Measured:
    task: str
    metric: str
    value: float
    stderr: float | None


@dataclass(frozen=True, slots=True)
class TaskResults:
    target: str
    model: str
    results: list[Measured]
    measured_with: dict[str, str]


def find_harness() -> Path:
    """The program: of this Python, or on PATH; UsageError says how to install it."""
    found = find_program(PROGRAM, str(Path(sys.executable).parent)) or find_program(PROGRAM)
    if found is None:
        raise UsageError(
            f"--tasks needs {PROGRAM}, which is not installed: pip install 'enginix[evaluate]'"
        )
    return found


def run_tasks(
    harness: Path, tasks: Tasks, server: ServerTarget, environment: Mapping[str, str]
) -> TaskResults:
    """What lm-eval prints goes to standard error; TasksFailed if it fails."""
    with tempfile.TemporaryDirectory(prefix="enginix-tasks-") as directory:
        argv = [str(harness), *_arguments(tasks, server, directory)]
        code = asyncio.run(_run(argv, environment))
        files = sorted(Path(directory).rglob("results_*.json"))
        if code or not files:
            how = describe_exit(code) if code else "wrote no results"
            raise TasksFailed(f"{PROGRAM} {how}; its messages above say why")
        return read_results(read_json(files[-1], TasksFailed), server.name, server.model)


def _arguments(tasks: Tasks, server: ServerTarget, directory: str) -> list[str]:
    values = {
        "model": server.model,
        "base_url": f"{server.name}/completions",
        "num_concurrent": CONCURRENT,
        # Without one only tasks run that let the model write an answer.
        "tokenizer_backend": "huggingface" if tasks.tokenizer else "None",
        **({"tokenizer": tasks.tokenizer} if tasks.tokenizer else {}),
        # lm-eval cuts longer prompts, after 2,048 tokens if it is not told.
        **({"max_length": server.longest + 1} if server.longest else {}),
    }
    for name, value in values.items():
        if "," in str(value):
            raise UsageError(f"{PROGRAM} cannot take a {name} with a comma: {value!r}")
    arguments = [
        "--model=local-completions",
        "--model_args=" + ",".join(f"{name}={value}" for name, value in values.items()),
        f"--tasks={tasks.names}",
        f"--output_path={directory}",
    ]
    if tasks.directory:
        arguments.append(f"--include_path={tasks.directory}")
    if tasks.limit:
        arguments.append(f"--limit={tasks.limit}")
    return arguments


async def _run(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    async with process.started(argv, env=environment, stdout=STANDARD_ERROR) as child:
        return await child.wait()


def read_results(document: Any, url: str, model: str) -> TaskResults:
    """From lm-eval's results file."""
    try:
        found = [
            measured
            for task, row in document["results"].items()
            for measured in _measured(task, row)
        ]
        version = str(document.get("lm_eval_version", "unknown"))
    except (AttributeError, LookupError, TypeError) as error:
        raise TasksFailed(f"{PROGRAM} wrote other results than expected: {error!r}") from None
    return TaskResults(url, model, found, {"lm-eval": version})


def _measured(task: str, row: Mapping[str, Any]) -> list[Measured]:
    found = []
    for key, value in row.items():
        named = METRIC.fullmatch(key)
        if named and isinstance(value, int | float) and not named["metric"].endswith("_stderr"):
            stderr = row.get(f"{named['metric']}_stderr,{named['filter']}")
            label = named["metric"] + ("" if named["filter"] == "none" else f" ({named['filter']})")
            error = float(stderr) if isinstance(stderr, int | float) else None
            found.append(Measured(task, label, float(value), error))
    return found
