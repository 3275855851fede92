"""`enginix bench URL`: measures any OpenAI-compatible server under increasing load."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from enginix.bench import record
from enginix.bench.answer import Answer
from enginix.bench.compare import compared
from enginix.bench.load import Level, Limit, Run, put_under_load
from enginix.bench.plot import plot, require_matplotlib
from enginix.bench.prompts import Messages
from enginix.bench.summary import Summary, summarized
from enginix.bench.target import Target
from enginix.bench.workload import Workload
from enginix.cli.api_keys import key_for_server
from enginix.cli.running_gateway import find_gateway
from enginix.cli.signals import run_measurement
from enginix.cli.views.bench import Progress, show_comparison, show_levels
from enginix.errors import BackendError, UsageError

# How old a gateway's count of drafted tokens may be.
COUNTED_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "url",
        nargs="?",
        metavar="URL",
        help="http://HOST:PORT[/v1] (default: of the gateway that runs here)",
    )
    parser.add_argument("--model", metavar="NAME", help="default: the server's only model")
    load = parser.add_mutually_exclusive_group()
    load.add_argument(
        "--concurrency",
        type=counts,
        metavar="N,N,...",
        help="concurrent requests, one level after another (default: 1)",
    )
    load.add_argument(
        "--rate", type=_rates, metavar="R,R,...", help="new requests per second, at random times"
    )
    parser.add_argument(
        "--requests", type=count, metavar="N", help="per level (default: 10 x concurrency)"
    )
    parser.add_argument("--duration", type=positive, metavar="S", help="per level, in seconds")
    parser.add_argument(
        "--warm-up",
        type=count_or_none,
        metavar="N",
        help="not counted, per level (default: concurrency)",
    )
    add_request_options(parser)
    parser.add_argument(
        "--max-tokens", type=count, default=128, metavar="N", help="per response (%(default)s)"
    )
    parser.add_argument(
        "--ignore-eos", action="store_true", help="generate all --max-tokens, if the server can"
    )
    parser.add_argument("--seed", type=int, default=0, help="of prompts and times (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="plot the results; needs enginix[bench]"
    )
    parser.add_argument(
        "--compare", nargs=2, type=Path, metavar=("A.json", "B.json"), help="show B relative to A"
    )
    parser.epilog = "`enginix bench report --help`: tables, plots and a page for publication"


def add_request_options(parser: argparse._ActionsContainer) -> None:
    """The options of requests that `bench` and `bench report` share."""
    prompts = parser.add_mutually_exclusive_group()
    prompts.add_argument(
        "--prompt-tokens", type=count, default=128, metavar="N", help="random text (%(default)s)"
    )
    prompts.add_argument(
        "--prompts", type=Path, metavar="FILE", help="per line: text, or JSON with `messages`"
    )
    parser.add_argument(
        "--timeout", type=positive, default=600.0, metavar="S", help="for a whole response"
    )


def run(args: argparse.Namespace) -> int:
    if args.compare:
        first, second = map(record.read, args.compare)
        show_comparison(first, second, compared(first, second))
        return 0
    if args.plot:
        require_matplotlib()
    for flag, path in (("--json", args.json), ("--plot", args.plot)):
        if path and not path.absolute().parent.is_dir():
            raise UsageError(f"{flag} {path}: there is no directory {path.absolute().parent}")
    url = args.url or find_gateway(None)
    target = Target(url, key_for_server(url), seconds=args.timeout)
    model = args.model or only_model(target.models(), url)
    bench = _Bench(args, Workload(target, model, args.ignore_eos))
    started = datetime.now(UTC).isoformat(timespec="seconds")
    interrupted = run_measurement(bench.measure(), uvloop.new_event_loop)
    levels = [summarized(each) for each in bench.runs if each.answers]
    if not levels:
        return interrupted or 1
    measured = record.Record(target.url, model, started, _settings(args), levels)
    show_levels(measured, interrupted=bool(interrupted))
    _write(args, measured)
    if interrupted:
        return interrupted
    return 1 if any(level.failed for level in levels) else 0


@dataclass(slots=True)
class _Bench:
    args: argparse.Namespace
    workload: Workload
    runs: list[Run] = field(default_factory=list)

    async def measure(self) -> None:
        try:
            prompts = await self.workload.prompts(
                self.args.prompts, self.args.prompt_tokens, self.args.seed
            )
            for level in _levels(self.args):
                await self._level(level, prompts)
        finally:
            await self.workload.target.close()

    async def _level(self, level: Level, prompts: Iterator[Messages]) -> None:
        async def ask() -> Answer:
            return await self.workload.ask(next(prompts), self.args.max_tokens)

        concurrency = level.concurrency or 1
        warm_up = concurrency if self.args.warm_up is None else self.args.warm_up
        limit = _limit(self.args, concurrency)
        with Progress(level, limit) as progress:
            ready = Run(Level(concurrency=concurrency))
            await put_under_load(ready, Limit(requests=warm_up), ask, lambda _: None)
            progress.start()
            before = self._drafts()
            self.runs.append(run := Run(level))
            await put_under_load(run, limit, ask, progress.advance, self.args.seed)
            if before and not any(answer.drafted_tokens for answer in run.answers):
                await asyncio.sleep(COUNTED_SECONDS)
                if after := self._drafts():
                    run.drafts = (after[0] - before[0], after[1] - before[1])

    def _drafts(self) -> tuple[int, int] | None:
        return self.workload.target.drafts(self.workload.model)


def only_model(models: Sequence[str], url: str, option: str = "--model") -> str:
    match models:
        case [model]:
            return model
        case []:
            raise BackendError(f"{url} serves no model; start one, or name it with {option}")
    raise UsageError(f"{url} serves {', '.join(models)}; choose one with {option}")


def _levels(args: argparse.Namespace) -> list[Level]:
    if args.rate:
        return [Level(rate=rate) for rate in args.rate]
    return [Level(concurrency=count) for count in args.concurrency or [1]]


def _limit(args: argparse.Namespace, concurrency: int) -> Limit:
    if args.requests is None and args.duration is None:
        return Limit(requests=10 * concurrency)
    return Limit(args.requests, args.duration)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "prompts": None if args.prompts is None else str(args.prompts),
        "prompt_tokens": None if args.prompts else args.prompt_tokens,
        "max_tokens": args.max_tokens,
        "ignore_eos": args.ignore_eos,
        "seed": args.seed,
    }


def _write(args: argparse.Namespace, measured: record.Record) -> None:
    if args.json:
        try:
            args.json.write_text(record.to_json(measured), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--json {args.json} cannot be written: {error}") from None
    if args.plot:
        levels: list[Summary] = list(measured.levels)
        plot(levels, f"{measured.model} at {measured.url}", args.plot)


def count(text: str) -> int:
    with suppress(ValueError):
        if (count := int(text)) > 0:
            return count
    raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")


def count_or_none(text: str) -> int:
    return 0 if text == "0" else count(text)


def positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < (number := float(text)) < float("inf"):
            return number
    raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")


def counts(text: str) -> list[int]:
    return [count(each) for each in text.split(",")]


def _rates(text: str) -> list[float]:
    return [positive(each) for each in text.split(",")]
