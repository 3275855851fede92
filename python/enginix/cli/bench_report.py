"""`enginix bench report URL [URL ...]`: the tables, plots and page that people publish."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from enginix.bench.answer import Answer
from enginix.bench.plot import require_matplotlib
from enginix.bench.report.measure import Contender, Measured, Measurement, Plan
from enginix.bench.report.report import Report, files, saturations
from enginix.bench.report.roofline import Memory, memory_of
from enginix.bench.report.servers import Hardware, Server, client_machine, server
from enginix.bench.report.slo import EXAMPLE, parse_slo
from enginix.bench.target import Target
from enginix.bench.workload import Workload
from enginix.cli.api_keys import key_for_server
from enginix.cli.bench import add_request_options, count, counts, only_model, positive
from enginix.cli.signals import run_measurement
from enginix.cli.views.bench_report import ReportProgress, show_summary
from enginix.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("url", nargs="+", metavar="URL", help="http://HOST:PORT[/v1]")
    add("--out", type=Path, default=Path("bench-report"), metavar="DIR", help="(%(default)s)")
    add("--force", action="store_true", help="write into --out even if it is not empty")
    add("--no-plots", action="store_true", help="no PNG files; plots need enginix[bench]")
    _add_servers(parser)
    _add_measurement(parser)


def _add_servers(parser: argparse.ArgumentParser) -> None:
    each = parser.add_argument_group(
        "for each server: one value for all, or one per URL, by commas"
    )
    each.add_argument("--model", type=_words, metavar="NAME", help="default: its only model")
    each.add_argument("--names", type=_words, metavar="NAME", help="what the report calls it")
    each.add_argument(
        "--gpu", type=_words, metavar="[Nx]NAME", help="for the roofline, like 2xH200"
    )
    each.add_argument(
        "--bandwidth", type=_numbers, metavar="GB/S", help="instead of --gpu: its total"
    )
    each.add_argument(
        "--weights-bytes", type=_numbers, metavar="N", help="read per token, like 17.3e9"
    )


def _add_measurement(parser: argparse.ArgumentParser) -> None:
    work = parser.add_argument_group("measurement")
    work.add_argument(
        "--single", type=counts, default=[64, 128, 256, 512, 1024], metavar="N,N,...",
        help="output tokens of the single streams (64,128,256,512,1024)",
    )  # fmt: skip
    work.add_argument(
        "--parallel", type=counts, default=[4, 8, 16, 32, 64], metavar="N,N,...",
        help="concurrent requests, then twice as many until saturation (4,8,16,32,64)",
    )  # fmt: skip
    work.add_argument(
        "--max-concurrency", type=count, default=1024, metavar="N", help="at most (%(default)s)"
    )
    work.add_argument(
        "--max-tokens", type=count, default=128, metavar="N", help="if parallel (%(default)s)"
    )
    work.add_argument(
        "--runs", type=count, default=3, metavar="N", help="of all requests (%(default)s)"
    )
    work.add_argument(
        "--requests", type=count, default=2, metavar="N",
        help="per run and concurrent stream (%(default)s)",
    )  # fmt: skip
    add_request_options(work)
    work.add_argument("--slo", default=EXAMPLE, help="for goodput: ttft, itl, e2e (%(default)s)")
    work.add_argument("--seed", type=int, default=0, help="of the prompts (%(default)s)")


def run(args: argparse.Namespace) -> int:
    slo = parse_slo(args.slo)
    if not args.no_plots:
        require_matplotlib("a report with plots (see --no-plots)")
    session = _Session(args, _servers(args))
    _prepare(args.out, force=args.force)
    client = client_machine()
    started = _now()
    interrupted = run_measurement(session.measure(), uvloop.new_event_loop)
    if not session.answers():
        return interrupted or 1
    report = Report(
        servers=[server for server, _ in session.servers],
        single=session.single,
        parallel=session.parallel,
        slo=slo,
        started=started,
        ended=_now(),
        client=client,
        conditions=session.conditions(),
        interrupted=bool(interrupted),
        plots=not args.no_plots,
    )
    _write(args.out, files(report))
    show_summary(saturations(report), str(args.out / "index.html"), interrupted=bool(interrupted))
    if interrupted:
        return interrupted
    return 1 if any(answer.failure for answer in session.answers()) else 0


@dataclass(slots=True)
class _Session:
    args: argparse.Namespace
    servers: Sequence[tuple[Server, Workload]]
    single: list[Measured] = field(default_factory=list)
    parallel: list[Measured] = field(default_factory=list)

    def answers(self) -> list[Answer]:
        return [answer for each in [*self.single, *self.parallel] for answer in each.answers]

    async def measure(self) -> None:
        args = self.args
        plan = Plan(
            single=args.single,
            parallel=sorted(set(args.parallel)),
            max_concurrency=args.max_concurrency,
            max_tokens=args.max_tokens,
            runs=args.runs,
            requests=args.requests,
        )
        try:
            contenders = [await self._contender(number) for number in range(len(self.servers))]
            with ReportProgress() as progress:
                measurement = Measurement(contenders, plan, progress)
                self.single, self.parallel = measurement.single, measurement.parallel
                await measurement.run()
        finally:
            for _, workload in self.servers:
                await workload.target.close()

    async def _contender(self, number: int) -> Contender:
        server, workload = self.servers[number]
        await workload.try_to_ignore_eos()
        # Two servers may be one behind the other: a prompt of the first must not be in the
        # second's cache.
        seed = self.args.seed + number
        prompts = await workload.prompts(self.args.prompts, self.args.prompt_tokens, seed)
        return Contender(server, lambda tokens: workload.ask(next(prompts), tokens))

    def conditions(self) -> list[str]:
        args = self.args
        ends = [server.name for server, workload in self.servers if not workload.ignore_eos]
        return [
            f"{args.runs} runs of each level, the servers in turns; in each run {args.requests} "
            "requests for each concurrent stream, and one for each before the level, not counted",
            f"Prompts: the lines of {args.prompts.name}, repeated as needed: caches may help"
            if args.prompts
            else f"Prompts: random words, about {args.prompt_tokens} tokens, no two alike",
            f"Answers: greedy (temperature 0), up to the length that is asked for (ignore_eos); "
            f"parallel ones of {args.max_tokens} tokens",
            *[f"{name} refuses ignore_eos: its answers end where the model ends" for name in ends],
        ]


def _servers(args: argparse.Namespace) -> list[tuple[Server, Workload]]:
    many = max(len(args.url), len(args.model or ()))
    targets = [
        Target(url, key_for_server(url), seconds=args.timeout)
        for url in _each("URL", args.url, many)
    ]
    models = [
        model or only_model(target.models(), target.url)
        for target, model in zip(targets, _each("--model", args.model, many), strict=True)
    ]
    names = _names(args, targets, models)
    gpus = [gpu and memory_of(gpu) for gpu in _each("--gpu", args.gpu, many)]
    bandwidths = _each("--bandwidth", args.bandwidth, many)
    weights = _each("--weights-bytes", args.weights_bytes, many)
    made = []
    for i, target in enumerate(targets):
        given = bandwidths[i]
        memory = Memory(given, f"{given:g} GB/s (as given)") if given else gpus[i]
        hardware = Hardware(memory, weights[i] and int(weights[i]))
        workload = Workload(target, models[i], ignore_eos=True)
        made.append((server(names[i], target, models[i], hardware), workload))
    return made


def _names(
    args: argparse.Namespace, targets: Sequence[Target], models: Sequence[str]
) -> Sequence[str]:
    """The given names, or the shortest ones that are distinct."""
    if args.names:
        names = _each("--names", args.names, len(targets))
        if len(set(names)) < len(names):
            raise UsageError(f"--names: expected {len(names)} different names")
        return names
    authorities = [target.authority for target in targets]
    both = [f"{model} at {where}" for model, where in zip(models, authorities, strict=True)]
    for names in (authorities, models, both):
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(authorities, 1)]


def _each(option: str, values: Sequence[Any] | None, many: int) -> Sequence[Any]:
    """One value per server; all None if the option is absent."""
    if values is None:
        return [None] * many
    if len(values) not in (1, many):
        raise UsageError(
            f"{option}: expected one value, or one for each of {many} servers, got {len(values)}"
        )
    return values if len(values) == many else [*values] * many


def _prepare(out: Path, *, force: bool) -> None:
    """Make the directory and check it, before the measurement."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
        is_empty = not any(out.iterdir())
    except FileExistsError:
        raise UsageError(f"--out {out} is a file; expected a directory") from None
    except OSError as error:
        raise UsageError(
            f"--out {out} cannot be written to: {error.strerror}; choose a directory of yours"
        ) from None
    if not (is_empty or force):
        raise UsageError(
            f"--out {out} is not empty; choose another directory, or --force to write over the "
            "report in it"
        )


def _write(out: Path, contents: Mapping[str, bytes]) -> None:
    for name in {"single_stream.png", "parallel.png"} - contents.keys():
        # Plots of the report that --force replaces.
        (out / name).unlink(missing_ok=True)
    for name, content in contents.items():
        try:
            (out / name).write_bytes(content)
        except OSError as error:
            raise UsageError(f"{out / name} cannot be written: {error.strerror}") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _numbers(text: str) -> list[float]:
    return [positive(word) for word in text.split(",")]
