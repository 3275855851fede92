"""`enginix engine build | verify | show`: engines from checkpoints, and what they promise."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table

import enginix.triton
from enginix.catalog.load import ModelSpec, find_model
from enginix.chat.tokens import Tokenizer
from enginix.checkpoint.load import read_config
from enginix.checkpoint.locate import find_checkpoint
from enginix.cli import engine_trtllm, environment
from enginix.cli.stage_lines import StageLines
from enginix.engine.build import Build, Job, build_engine
from enginix.engine.gguf.answers import Generator
from enginix.engine.stages import Report
from enginix.engine.verify import verify_engine
from enginix.errors import BuildError, EnginixError, RuntimeMissing, UsageError
from enginix.manifest import Limits, Manifest, check_files, read_manifest
from enginix.runtimes.find import find_runtime

RUNTIME = "triton-cpu"
GENERATE = Path("gguf", "tensorrt_llm", "1", "generate.py")

# What a checkpoint without known answers is asked; the answers become its manifest's check.
QUESTIONS = (
    "The capital of France is",
    "def fibonacci(n):\n",
    "1 2 3 4 5 6 7 8",
    "Die Katze sitzt auf",
)

# For a checkpoint outside the catalogue: a KV cache that fits a small machine.
SMALL = Limits(max_batch_size=8, max_seq_len=4096, max_num_tokens=512)

Builder = Callable[[Job, Path, argparse.Namespace | None], Build]
"""Makes the build of a job that ends at a path; the arguments are None when `up` asks for it."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    build = commands.add_parser("build", help="build an engine from a checkpoint")
    _add_job_arguments(build)
    build.add_argument(
        "--rank-checkpoint", type=Path, metavar="DIR", help="what `engine convert` has made"
    )
    build.set_defaults(action=_build)
    convert = commands.add_parser("convert", help="only the first half of a tensorrt-llm build")
    _add_job_arguments(convert)
    convert.set_defaults(action=_convert)
    verify = commands.add_parser("verify", help="hold an engine to its manifest")
    verify.add_argument("directory", type=Path, metavar="DIR")
    verify.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="what an engine built by hand was built from"
    )
    verify.add_argument(
        "--run", dest="run_check", action="store_true", help="let it answer its recorded checks"
    )
    verify.set_defaults(action=_verify)
    show = commands.add_parser("show", help="say what an engine is")
    show.add_argument("directory", type=Path, metavar="DIR")
    show.add_argument("--json", action="store_true", help="print the manifest as JSON")
    show.set_defaults(action=_show)


def _add_job_arguments(build: argparse.ArgumentParser) -> None:
    build.add_argument("model", nargs="?", metavar="NAME", help="a model of the catalogue")
    build.add_argument("--checkpoint", type=Path, metavar="DIR", help="a checkpoint on this disk")
    build.add_argument("--name", help="the model's name, for a checkpoint outside the catalogue")
    build.add_argument("--kind", choices=sorted(BUILDERS), help="the kind of engine")
    build.add_argument(
        "--out", "--output", type=Path, metavar="DIR", help="where to put the engine"
    )
    build.add_argument("--replace", action="store_true", help="build over an engine that is there")
    build.add_argument(
        "--tensor-parallel",
        "--tp",
        "--tp-size",
        type=int,
        metavar="N",
        help="GPUs to split it over",
    )
    build.add_argument("--max-batch-size", type=int, metavar="N", help="requests at a time")
    build.add_argument("--max-seq-len", type=int, metavar="N", help="tokens of one conversation")
    engine_trtllm.add_arguments(build)


def run(args: argparse.Namespace) -> int:
    action: Callable[[argparse.Namespace], int] = args.action
    return action(args)


def build_model(
    spec: ModelSpec, out: Path, report: Report, *, replace_it: bool = False
) -> Manifest:
    """Build the catalogue's `spec`, whose checkpoint is on this disk, at `out`."""
    job = _catalogue_job(spec, checkpoint=None, tensor_parallel=None)
    return _run(job, spec.kind, out, report, replace_it=replace_it)


def _run(
    job: Job,
    kind: str,
    out: Path,
    report: Report,
    args: argparse.Namespace | None = None,
    *,
    replace_it: bool,
) -> Manifest:
    try:
        build = _builder(kind)(job, out, args)
        manifest = build_engine(build, out, report, replace_it=replace_it)
    except BuildError:
        if kind == engine_trtllm.KIND:
            engine_trtllm.after_failure(out, args)
        raise
    if kind == engine_trtllm.KIND:
        engine_trtllm.after_build(out, args)
    return manifest


def _build(args: argparse.Namespace) -> int:
    job, kind = _job(args)
    out = args.out or environment.cache_home() / "engines" / job.name
    lines = StageLines()
    with _terminated_as_exit():
        try:
            manifest = _run(job, kind, out, lines, args, replace_it=args.replace)
        finally:
            lines.clear()
    size = sum(manifest.files.values())
    print(f"{out}: {manifest.name}, kind {manifest.kind}, {size / 1e6:,.1f} MB")
    return 0


def _convert(args: argparse.Namespace) -> int:
    if args.kind not in (None, engine_trtllm.KIND):
        raise UsageError(f"only {engine_trtllm.KIND} has rank checkpoints, not {args.kind}")
    args.kind = engine_trtllm.KIND
    job, _ = _job(args)
    if not args.out:
        raise UsageError("a rank checkpoint needs a place; add --out DIR")
    lines = StageLines()
    with _terminated_as_exit():
        try:
            engine_trtllm.convert(job, args.out, lines, args)
        finally:
            lines.clear()
    print(f"{args.out}: rank checkpoint of {job.name}")
    return 0


def _job(args: argparse.Namespace) -> tuple[Job, str]:
    """What to build, and of which kind."""
    if args.model:
        if args.name:
            raise UsageError(f"{args.model} has its name from the catalogue; leave out --name")
        spec = find_model(args.model)
        job = _catalogue_job(spec, args.checkpoint, args.tensor_parallel)
        return replace(job, limits=_limits(args, job.limits)), args.kind or spec.kind
    if args.source:
        return _source_job(args)
    if not args.checkpoint:
        raise UsageError(
            "nothing to build; name a model of the catalogue (`enginix models`) or a --checkpoint"
        )
    if not args.out and not args.name:
        raise UsageError("a checkpoint needs a place for its engine; add --out DIR or --name NAME")
    return _checkpoint_job(args), args.kind or "gguf"


def _source_job(args: argparse.Namespace) -> tuple[Job, str]:
    if args.checkpoint:
        raise UsageError("--model and --checkpoint both say what to build; leave one out")
    job = engine_trtllm.source_job(args)
    return replace(job, limits=_limits(args, job.limits)), args.kind or engine_trtllm.KIND


def _catalogue_job(spec: ModelSpec, checkpoint: Path | None, tensor_parallel: int | None) -> Job:
    directory = checkpoint or find_checkpoint(spec, environment.cache_home())
    variant = spec.variant(tensor_parallel)
    return Job(
        name=spec.name,
        checkpoint=directory,
        limits=Limits(variant.max_batch_size, variant.max_seq_len, variant.max_num_tokens),
        repo=spec.source.repo,
        revision=spec.source.revision,
        tensor_parallel=variant.tensor_parallel,
        chat=spec.chat,
        check=spec.check,
    )


def _checkpoint_job(args: argparse.Namespace) -> Job:
    config = read_config(args.checkpoint)
    # Never the directory's name: the same checkpoint gives the same engine wherever it lies.
    name = str(args.name or config.get("model_type"))
    if not NAME.fullmatch(name):
        raise UsageError(f"--name: expected letters, digits, '.', '_' and '-', got {name!r}")
    small = engine_trtllm.LIMITS if args.kind == engine_trtllm.KIND else SMALL
    context = config.get("max_position_embeddings")
    most = context if isinstance(context, int) and context > 0 else small.max_seq_len
    limits = replace(small, max_seq_len=min(small.max_seq_len, most))
    return Job(
        name=name,
        checkpoint=args.checkpoint,
        limits=_limits(args, limits),
        tensor_parallel=args.tensor_parallel or 1,
        prompts=[] if args.kind == engine_trtllm.KIND else _prompts(args.checkpoint),
    )


def _limits(args: argparse.Namespace, limits: Limits) -> Limits:
    for flag, value in (
        ("--max-batch-size", args.max_batch_size),
        ("--max-seq-len", args.max_seq_len),
        ("--tensor-parallel", args.tensor_parallel),
    ):
        if value is not None and value < 1:
            raise UsageError(f"{flag}: expected at least 1, got {value}")
    return replace(
        engine_trtllm.length_limits(args, limits),
        max_batch_size=args.max_batch_size or limits.max_batch_size,
    )


def _builder(kind: str) -> Builder:
    if kind not in BUILDERS:
        raise UsageError(f"engines of the kind {kind} are not built here; got {sorted(BUILDERS)}")
    return BUILDERS[kind]


def _prompts(checkpoint: Path) -> list[list[int]]:
    """The questions as token ids; none where the checkpoint's tokenizer is missing."""
    if not (checkpoint / "tokenizer.json").exists():
        return []
    tokenizer = Tokenizer.load(checkpoint)
    return [tokenizer.encode(question) for question in QUESTIONS]


def _gguf(job: Job, out: Path, args: argparse.Namespace | None) -> Build:
    # Imports numpy and gguf, which `verify` and `show` do without.
    from enginix.engine.gguf.build import gguf_build

    try:
        generator = _generator()
    except RuntimeMissing:
        # One that was named and is not there is a mistake; none at all is only a check less.
        if environment.runtime_override(RUNTIME):
            raise
        generator = None
    return gguf_build(job, generator)


def _generator() -> Generator:
    """The token engine in its runtime; RuntimeMissing when that is not set up."""
    override = environment.runtime_override(RUNTIME)
    runtime = find_runtime(RUNTIME, environment.cache_home(), override)
    templates = Path(enginix.triton.__file__).parent / "templates"
    return Generator(
        python=runtime.python,
        program=templates / GENERATE,
        threads=len(os.sched_getaffinity(0)),
    )


def _verify(args: argparse.Namespace) -> int:
    if args.checkpoint or engine_trtllm.is_without_manifest(args.directory):
        print(engine_trtllm.verify_without_manifest(args.directory, args.checkpoint))
        return 0
    lines = StageLines()
    try:
        manifest = verify_engine(args.directory, lines, run=_generator if args.run_check else None)
    finally:
        lines.clear()
    print(f"{args.directory}: {manifest.name}, kind {manifest.kind}, is as its manifest promises")
    return 0


def _show(args: argparse.Namespace) -> int:
    manifest = read_manifest(args.directory)
    if args.json:
        print(json.dumps(asdict(manifest), indent=2, sort_keys=True, ensure_ascii=False))
        return 0
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for row in _rows(manifest):
        table.add_row(*row)
    Console().print(table, highlight=False)
    try:
        check_files(args.directory, manifest)
    except EnginixError as error:
        print(f"\nNot as promised: {error}")
        return 1
    return 0


def _rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    source, quantization, limits = manifest.source, manifest.quantization, manifest.limits
    yield "name", manifest.name
    yield "kind", manifest.kind
    yield "architecture", manifest.architecture
    yield "source", _source(manifest)
    yield "source files", f"{len(source.files)}, each with its sha256"
    yield "quantization", quantization.algo or "none"
    if quantization.kv_cache_algo:
        yield "KV cache", f"{quantization.kv_cache_algo} in the checkpoint"
    if manifest.parallelism.world_size > 1:
        parallelism = manifest.parallelism
        yield "ranks", f"{parallelism.world_size} (tp {parallelism.tp}, pp {parallelism.pp})"
    yield "limits", f"{limits.max_batch_size} requests, {limits.max_seq_len} tokens each"
    yield "reasoning", manifest.chat.reasoning or "-"
    yield "tools", manifest.chat.tools or "-"
    yield "built with", _built_with(manifest)
    yield "check", f"{len(manifest.check)} prompts with known answers"
    for name, size in manifest.files.items():
        yield "file", f"{name}, {size:,} bytes"


def _source(manifest: Manifest) -> str:
    if manifest.source.repo is None:
        return "a local directory"
    return f"{manifest.source.repo} at {manifest.source.revision}"


def _built_with(manifest: Manifest) -> str:
    found = asdict(manifest.built_with)
    return ", ".join(f"{name} {value}" for name, value in found.items() if value is not None)


@contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that nothing half-made is left."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What `nohup` had ignored stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(ValueError):
                signal.signal(number, handler)


# Engine kind -> its build. A kind is added with one line here and one in engine/verify.py.
BUILDERS: dict[str, Builder] = {"gguf": _gguf, engine_trtllm.KIND: engine_trtllm.builder}
