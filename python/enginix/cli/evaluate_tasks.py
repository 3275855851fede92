"""`enginix evaluate URL --tasks`: the field's own tasks, by lm-eval."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from enginix.accuracy.tasks import Tasks, find_harness, run_tasks
from enginix.accuracy.windows import Window
from enginix.cli import environment
from enginix.cli.api_keys import key_for_server
from enginix.cli.bench import count
from enginix.cli.evaluate_server import find_server, is_url
from enginix.cli.signals import terminated_as_exit
from enginix.cli.views.console import Console, print_table
from enginix.errors import UsageError

# What is of the perplexity and the answers alone.
OTHERS = (
    "text",
    "context",
    "stride",
    "require_accuracy",
    "baseline",
    "baseline_model",
    "max_drop",
    "min_agreement",
)


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


def run_server_tasks(args: argparse.Namespace) -> int:
    for name in OTHERS:
        if getattr(args, name) is not None:
            option = name.replace("_", "-")
            raise UsageError(f"--tasks run instead of the perplexity; leave out --{option}")
    if not is_url(args.target):
        raise UsageError(
            f"--tasks are run through a server: serve it (`enginix serve {args.target}`), and name "
            "its URL"
        )
    if args.tasks_dir and not args.tasks_dir.is_dir():
        raise UsageError(f"--tasks-dir {args.tasks_dir} is not a directory")
    harness = find_harness()
    tasks = Tasks(args.tasks, args.tasks_dir, args.tasks_limit, args.tokenizer)
    variables = environment.for_child(environment.HUB_SECRETS)
    variables["OPENAI_API_KEY"] = key_for_server(args.target) or ""
    with find_server(args.target, args.model) as server, terminated_as_exit():
        if args.tokenizer:
            # lm-eval would read what is missing as equally likely answers, and report chance.
            server.logprob([Window([1, 2, 3, 4], 1)], lambda _: None)
        found = run_tasks(harness, tasks, server, variables)
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
