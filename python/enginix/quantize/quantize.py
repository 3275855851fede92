"""Quantizes a checkpoint with ModelOpt: checked before, checked afterwards, complete or absent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from enginix.checkpoint.inspect import Inspection, inspect_checkpoint
from enginix.checkpoint.load import open_checkpoint
from enginix.engine.build import sync_files
from enginix.engine.output import new_output
from enginix.engine.stages import Report, Stage, Stages
from enginix.errors import BuildError, OutputExists
from enginix.memory import available_memory
from enginix.quantize.calibration import LEAST_TOKENS, Calibration
from enginix.quantize.failures import Failures
from enginix.quantize.formats import FORMATS, KV_CACHES
from enginix.quantize.needs import Gpu, Needs, choose_device, estimate
from enginix.quantize.result import check_result, copy_text
from enginix.quantize.session import Environment, Session, session
from enginix.quantize.source import load_type, require_quantizable


@dataclass(frozen=True, slots=True)
class Request:
    """`format` and `kv_cache` are keys of their tables; `device` is auto, cpu or cuda."""

    source: Path
    out: Path
    format: str
    kv_cache: str
    calibration: Calibration
    length: int
    """Tokens of a sample that are used."""
    device: str


@dataclass(frozen=True, slots=True)
class Measuring:
    """What a measurement gets: the result lies in `directory` until it is whole."""

    session: Session
    device: str
    directory: Path
    stage: Stage


Measure = Callable[[Measuring], None]
"""Compares the result with its source; raises what is too bad to keep."""


def quantize(
    request: Request, environment: Environment, report: Report, measure: Measure | None
) -> tuple[Inspection, Inspection]:
    """The checks' findings about the source and the result, which is at `request.out` then."""
    stages = Stages(report)
    with stages.run("inspect") as stage:
        source = inspect_checkpoint(open_checkpoint(request.source))
        require_quantizable(source, request.format)
        needs = estimate(source, FORMATS[request.format], request.length, evaluates=bool(measure))
        if request.device == "cpu":
            choose_device("cpu", needs, (), available_memory())
        stage.summary = f"{source.checkpoint.architecture}, {_size(source) / 1e6:,.1f} MB"
    try:
        with new_output(request.out, replace=False) as directory:
            found = _fill(request, source, needs, environment, directory, stages, measure)
            sync_files(directory)
    except BrokenPipeError:
        # The reader of the stages' lines has gone.
        raise
    except OutputExists:
        raise BuildError(f"{request.out} exists already; name another --out") from None
    except OSError as error:
        raise BuildError(
            f"the checkpoint cannot be written to {request.out}: {error.strerror or error}"
        ) from error
    return source, found


def _fill(
    request: Request,
    source: Inspection,
    needs: Needs,
    environment: Environment,
    directory: Path,
    stages: Stages,
    measure: Measure | None,
) -> Inspection:
    failures = Failures(
        request.source, request.out, request.calibration.file, needs, environment.log
    )
    failures.require_space(directory)
    with session(environment, failures.explain) as modelopt:
        with stages.run("load") as stage:
            device = _load(modelopt, request, source, needs, stage)
        with stages.run("quantize") as stage:
            _calibrate(modelopt, request, stage)
        with stages.run("export") as stage:
            stage.children_memory = modelopt.ask("export", out=str(directory))["peak_memory"]
            copied = copy_text(request.source, directory)
            stage.summary = f"and {len(copied)} files of the source as they are"
        with stages.run("check") as stage:
            found = check_result(directory, request.format, request.kv_cache)
            stage.summary = f"{len(found.checkpoint.tensors):,} tensors"
        if measure:
            with stages.run("evaluate") as stage:
                measure(Measuring(modelopt, device, directory, stage))
    return found


def _load(
    modelopt: Session, request: Request, source: Inspection, needs: Needs, stage: Stage
) -> str:
    gpus = [Gpu(each["name"], each["free"]) for each in modelopt.machine["gpus"]]
    device = choose_device(request.device, needs, gpus, available_memory())
    found = modelopt.ask(
        "load", source=str(request.source.resolve()), device=device, dtype=load_type(source)
    )
    stage.children_memory = found["peak_memory"]
    versions = ", ".join(f"{name} {each}" for name, each in modelopt.machine["versions"].items())
    where = ", ".join(gpu.name for gpu in gpus) if device == "cuda" else "the CPU"
    unused = "; the GPU has too little memory free" if gpus and request.device == "auto" else ""
    stage.summary = f"on {where}{unused if device == 'cpu' else ''}, by {versions}"
    return device


def _calibrate(modelopt: Session, request: Request, stage: Stage) -> None:
    samples = request.calibration.samples
    found = modelopt.ask(
        "calibrate",
        stage.progress,
        samples=samples,
        length=request.length,
        least_tokens=LEAST_TOKENS,
        recipe=FORMATS[request.format].recipe,
        kv_cache=KV_CACHES[request.kv_cache][0],
    )
    stage.children_memory = found["peak_memory"]
    stage.summary = f"{request.format}, with {len(samples)} samples of {found['tokens']:,} tokens"


def _size(found: Inspection) -> int:
    return sum(tensor.size_bytes for tensor in found.checkpoint.tensors.values())
