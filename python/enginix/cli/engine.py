"""`enginix engine`: builds engines from checkpoints and verifies them against their manifests."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from enginix.catalog.load import ModelSpec, find_model
from enginix.checkpoint.load import read_config
from enginix.checkpoint.locate import find_checkpoint
from enginix.cli import (
    engine_accuracy,
    engine_edge_llm,
    engine_gguf,
    engine_oci,
    engine_rebuild,
    engine_trtllm,
    environment,
)
from enginix.cli.engine_show import show_engine
from enginix.cli.engine_source import catalogue_source, recorded_source
from enginix.cli.engine_text import load_text
from enginix.cli.find_checkpoint import find_checkpoint_directory
from enginix.cli.find_engine import find_directory
from enginix.cli.signals import terminated_as_exit
from enginix.cli.views.console import print_progress
from enginix.cli.views.stages import StageLines
from enginix.engine.build import Build, Job, LoadText, build_engine
from enginix.engine.stages import Report
from enginix.engine.verify import verify_engine
from enginix.errors import BuildError, UsageError
from enginix.manifest import Limits, Manifest

Builder = Callable[[Job, Path, argparse.Namespace | None], Build]
"""Makes the build of a job that writes to a path; the arguments are None when `up` builds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    build = commands.add_parser("build", help="build an engine from a checkpoint")
    _add_job_arguments(build)
    build.add_argument(
        "--rank-checkpoint", type=Path, metavar="DIR", help="the output of `engine convert`"
    )
    engine_accuracy.add_arguments(build)
    build.set_defaults(action=_build)
    convert = commands.add_parser("convert", help="make only a tensorrt-llm rank checkpoint")
    _add_job_arguments(convert)
    convert.set_defaults(action=_convert)
    rebuild = commands.add_parser(
        "rebuild",
        help="rebuild an engine from its manifest",
        description=engine_rebuild.ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    engine_rebuild.add_arguments(rebuild)
    verify = commands.add_parser("verify", help="check an engine against its manifest")
    verify.add_argument(
        "directory", type=find_directory, metavar="DIR|NAME", help="the engine to check"
    )
    engine_trtllm.add_verify_arguments(verify)
    verify.add_argument(
        "--run", dest="run_check", action="store_true", help="also run the checks that it records"
    )
    verify.set_defaults(action=_verify)
    show = commands.add_parser("show", help="describe an engine")
    show.add_argument(
        "directory", type=find_directory, metavar="DIR|NAME", help="the engine to describe"
    )
    show.add_argument("--json", action="store_true", help="print the manifest as JSON")
    show.set_defaults(action=show_engine)
    oci = commands.add_parser("oci", help="write an engine as an OCI image, to mount as a volume")
    engine_oci.add_arguments(oci)


def _add_job_arguments(build: argparse.ArgumentParser) -> None:
    build.add_argument("model", nargs="?", metavar="NAME", help="a model of the catalogue")
    build.add_argument(
        "--checkpoint",
        type=find_checkpoint_directory,
        metavar="DIR|REPO",
        help="a local checkpoint",
    )
    build.add_argument("--name", help="the model's name, if it is not in the catalogue")
    build.add_argument("--kind", choices=sorted(BUILDERS), help="the kind of engine")
    build.add_argument("--out", "--output", type=Path, metavar="DIR", help="the engine's directory")
    build.add_argument("--replace", action="store_true", help="replace an existing engine")
    build.add_argument(
        "--tensor-parallel",
        "--tp",
        "--tp-size",
        type=int,
        metavar="N",
        help="GPUs to split the model across",
    )
    build.add_argument("--max-batch-size", type=int, metavar="N", help="concurrent requests")
    build.add_argument("--max-seq-len", type=int, metavar="N", help="tokens of prompt and answer")
    engine_trtllm.add_arguments(build)
    engine_edge_llm.add_arguments(build)


def run(args: argparse.Namespace) -> int:
    action: Callable[[argparse.Namespace], int] = args.action
    return action(args)


def build_model(spec: ModelSpec, out: Path, report: Report) -> Manifest:
    """Build the catalogue model `spec`, whose checkpoint is on this disk, over what is at `out`."""
    job = catalogue_job(spec, checkpoint=None, tensor_parallel=None)
    return run_job(job, spec.kind, out, report, replace_it=True)


def run_job(
    job: Job,
    kind: str,
    out: Path,
    report: Report,
    args: argparse.Namespace | None = None,
    *,
    replace_it: bool,
) -> Manifest:
    _remark(job)
    try:
        build = _builder(kind)(job, out, args)
        if args:
            build = engine_accuracy.requiring(build, kind, args)
        manifest = build_engine(build, out, report, replace_it=replace_it)
    except BuildError:
        if kind == engine_trtllm.KIND:
            engine_trtllm.after_failure(out, args)
        raise
    if kind == engine_trtllm.KIND:
        engine_trtllm.after_build(out, args)
    return manifest


def _remark(job: Job) -> None:
    if job.remark:
        print_progress(job.remark)


def _build(args: argparse.Namespace) -> int:
    job, kind = _job(args)
    out = args.out or environment.cache_home() / "engines" / job.name
    lines = StageLines()
    with terminated_as_exit():
        try:
            manifest = run_job(job, kind, out, lines, args, replace_it=args.replace)
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
        raise UsageError("no directory was given for the rank checkpoint; add --out DIR")
    _remark(job)
    lines = StageLines()
    with terminated_as_exit():
        try:
            engine_trtllm.convert(job, args.out, lines, args)
        finally:
            lines.clear()
    print(f"{args.out}: rank checkpoint of {job.name}")
    return 0


def _job(args: argparse.Namespace) -> tuple[Job, str]:
    """What to build, and the engine kind."""
    if args.model:
        if args.name:
            raise UsageError(f"the catalogue already names {args.model}; leave out --name")
        spec = find_model(args.model)
        job = catalogue_job(spec, args.checkpoint, args.tensor_parallel)
        return replace(job, limits=_limits(args, job.limits)), args.kind or spec.kind
    if args.source:
        return _source_job(args)
    if not args.checkpoint:
        raise UsageError(
            "nothing to build; name a model of the catalogue (`enginix models`) or a --checkpoint"
        )
    if not args.out and not args.name:
        raise UsageError("no directory was given for the engine; add --out DIR or --name NAME")
    return _checkpoint_job(args), args.kind or engine_gguf.KIND


def _source_job(args: argparse.Namespace) -> tuple[Job, str]:
    if args.checkpoint:
        raise UsageError("--model and --checkpoint both name what to build; leave one out")
    job = engine_trtllm.source_job(args)
    return replace(job, limits=_limits(args, job.limits)), args.kind or engine_trtllm.KIND


def catalogue_job(spec: ModelSpec, checkpoint: Path | None, tensor_parallel: int | None) -> Job:
    directory = checkpoint or find_checkpoint(spec, environment.cache_home())
    variant = spec.variant(tensor_parallel)
    job = Job(
        name=spec.name,
        checkpoint=directory,
        limits=variant.limits,
        tensor_parallel=variant.tensor_parallel,
        chat=spec.chat,
        check=spec.check,
        load_text=_loader(directory),
    )
    return catalogue_source(job, spec)


def _checkpoint_job(args: argparse.Namespace) -> Job:
    job = checkpoint_job(args.checkpoint, args.name, args.kind or engine_gguf.KIND)
    return replace(job, limits=_limits(args, job.limits), tensor_parallel=args.tensor_parallel or 1)


def checkpoint_job(checkpoint: Path, name: str | None, kind: str) -> Job:
    """The job of a directory, with the kind's default limits."""
    config = read_config(checkpoint)
    # Never the directory's name: a checkpoint gives the same engine wherever it is.
    name = engine_trtllm.require_name(str(name or config.get("model_type")))
    defaults = LIMITS[kind]
    context = config.get("max_position_embeddings")
    longest = context if isinstance(context, int) and context > 0 else defaults.max_seq_len
    job = Job(
        name=name,
        checkpoint=checkpoint,
        limits=replace(defaults, max_seq_len=min(defaults.max_seq_len, longest)),
        load_text=_loader(checkpoint, engine_gguf.QUESTIONS),
    )
    return recorded_source(job)


def _loader(checkpoint: Path, questions: Sequence[str] = ()) -> LoadText:
    return partial(load_text, checkpoint=checkpoint, questions=questions)


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
        raise UsageError(f"cannot build engines of kind {kind}; expected one of {sorted(BUILDERS)}")
    return BUILDERS[kind]


def _verify(args: argparse.Namespace) -> int:
    if engine_trtllm.is_built_by_hand(args):
        print(engine_trtllm.verify_built_by_hand(args))
        return 0
    lines = StageLines()
    try:
        manifest = verify_engine(
            args.directory, lines, run=engine_gguf.generator if args.run_check else None
        )
    finally:
        lines.clear()
    print(f"{args.directory}: {manifest.name}, kind {manifest.kind}, matches its manifest")
    return 0


# Engine kind -> the limits of an engine that the catalogue does not know.
LIMITS: dict[str, Limits] = {
    engine_gguf.KIND: engine_gguf.LIMITS,
    engine_trtllm.KIND: engine_trtllm.LIMITS,
    engine_edge_llm.KIND: engine_edge_llm.LIMITS,
}
# Engine kind -> its build. A new kind is one line here, in LIMITS and in engine/verify.py.
BUILDERS: dict[str, Builder] = {
    engine_gguf.KIND: engine_gguf.builder,
    engine_trtllm.KIND: engine_trtllm.builder,
    engine_edge_llm.KIND: engine_edge_llm.builder,
}
