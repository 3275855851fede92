"""`enginix evaluate URL --tasks`: the field's own tasks, by lm-eval."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from enginix.accuracy.server import ServerTarget
from enginix.accuracy.tasks import Tasks, find_harness, run_tasks
from enginix.accuracy.windows import Window
from enginix.bench.target import Target as Address
from enginix.cli import environment
from enginix.cli.api_keys import key_for_server
from enginix.cli.bench import count, only_model
from enginix.cli.views.console import Console, print_table
from enginix.errors import UsageError

# What is of the perplexity and the answers alone.
OTHERS = ("text", "context", "stride", "require_accuracy", "baseline", "max_drop", "min_agreement")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tasks, instead of the perplexity, of a server")
    group.add_argument(
        "--tasks", metavar="NAME,...", help="run them with lm-eval: gsm8k, mmlu, ..."
    )
    group.add_argument(
        "--tasks-dir", type=Path, metavar="DIR", help="tasks of your own, as lm-eval's YAML files"
    )
    group.add_argument(
        "--tasks-limit", type=count, metavar="N", help="questions of each (default: all)"
    )
    group.add_argument(
        "--tokenizer", metavar="DIR|REPO", help="for tasks that choose among given answers"
    )


def run_server_tasks(args: argparse.Namespace, *, is_url: bool) -> int:
    for name in OTHERS:
        if getattr(args, name) is not None:
            option = name.replace("_", "-")
            raise UsageError(f"--tasks run instead of the perplexity; leave out --{option}")
    if not is_url:
        raise UsageError(
            f"--tasks are run through a server: serve it (`enginix serve {args.target}`), and name "
            "its URL"
        )
    if args.tasks_dir and not args.tasks_dir.is_dir():
        raise UsageError(f"--tasks-dir {args.tasks_dir} is not a directory")
    harness = find_harness()
    key = key_for_server(args.target)
    address = Address(args.target, key)
    model = args.model or only_model(address.models(), args.target)
    if args.tokenizer:
        # lm-eval would read what is missing as equally likely answers, and report chance.
        with ServerTarget(address.url, model, key) as server:
            server.logprob([Window([1, 2, 3, 4], 1)], lambda _: None)
    variables = environment.for_child(environment.HUB_SECRETS) | {"OPENAI_API_KEY": key or ""}
    tasks = Tasks(args.tasks, args.tasks_dir, args.tasks_limit, args.tokenizer)
    found = run_tasks(harness, tasks, address.url, model, _context(address, model), variables)
    if args.json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return 0
    rows = [
        [
            one.task,
            one.metric,
            f"{one.value:.4f}",
            "" if one.stderr is None else f"{one.stderr:.4f}",
        ]
        for one in found.results
    ]
    console = Console(highlight=False)
    print_table(console, ("task", "metric", "value", "stderr"), rows, ("value", "stderr"))
    return 0


def _context(address: Address, model: str) -> int | None:
    """How many tokens the server reads, as it lists its models."""
    listed = address.facts("/v1/models").get("data")
    rows = listed if isinstance(listed, list) else []
    found = [
        row.get("max_model_len") for row in rows if isinstance(row, dict) and row["id"] == model
    ]
    return found[0] if found and isinstance(found[0], int) else None
