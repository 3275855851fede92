"""What `enginix engine build` can be told about engines of the kind tensorrt-llm."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from enginix.checkpoint.load import read_config
from enginix.checkpoint.locate import find_fetched
from enginix.cli import environment
from enginix.engine.build import Build, Job
from enginix.engine.stages import Report
from enginix.engine.trtllm.build import Workshop, convert_checkpoint, tensorrt_llm_build
from enginix.engine.trtllm.plan import Options
from enginix.engine.trtllm.verify import describe, read_engine, verify_by_hand
from enginix.engine.trtllm.watchdog import Patience
from enginix.engine.trtllm.work import discard
from enginix.errors import NotACheckpoint, RuntimeMissing, UsageError
from enginix.manifest import FILE_NAME, Limits

KIND = "tensorrt-llm"

# --model-type -> the architectures it may be; Yi is a Llama, and older Qwen has remote code.
MODEL_TYPES = {
    "llama": ("LlamaForCausalLM",),
    "qwen": (
        "QWenLMHeadModel",
        "Qwen2ForCausalLM",
        "Qwen2MoeForCausalLM",
        "Qwen3ForCausalLM",
        "Qwen3MoeForCausalLM",
    ),
    "mistral": ("MistralForCausalLM", "MixtralForCausalLM"),
    "baichuan": ("BaichuanForCausalLM", "BaiChuanForCausalLM"),
    "chatglm": ("ChatGLMModel", "ChatGLMForCausalLM", "ChatGLMForConditionalGeneration"),
    "yi": ("LlamaForCausalLM", "YiForCausalLM"),
}

# trtllm-build's own number of tokens per step, and as many sequences as the smallest variant has.
LIMITS = Limits(max_batch_size=8, max_seq_len=16384, max_num_tokens=8192)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("engines of the kind tensorrt-llm")
    group.add_argument("--model", dest="source", metavar="REPO|DIR", help="a plain model")
    group.add_argument("--model-type", choices=sorted(MODEL_TYPES), help="what it must be")
    group.add_argument("--dtype", choices=["auto", "bfloat16", "float16"], default="auto")
    group.add_argument("--max-num-tokens", type=int, metavar="N", help="tokens of one step")
    group.add_argument("--max-input-len", type=int, metavar="N", help="tokens of a prompt")
    group.add_argument("--max-output-len", type=int, metavar="N", help="tokens of an answer")
    group.add_argument("--gpu", metavar="X.Y", help="refuse a GPU of another compute capability")
    group.add_argument("--workers", type=int, metavar="N", help="ranks worked on at a time")
    group.add_argument("--work-dir", type=Path, metavar="DIR", help="where stages are kept")
    group.add_argument("--keep-work", action="store_true", help="keep it after success")
    patience = Patience()
    group.add_argument("--silence-limit", type=float, metavar="SECONDS", default=patience.silence)
    group.add_argument("--deadline", type=float, metavar="SECONDS", default=patience.deadline)


def source_job(args: argparse.Namespace) -> Job:
    """The job of `--model`, whose files are on this disk."""
    directory, repo = _find(args.source)
    config = read_config(directory)
    if args.model_type:
        require_type(args.model_type, directory, config)
    context = config.get("max_position_embeddings")
    longest = context if isinstance(context, int) and context > 0 else LIMITS.max_seq_len
    limits = replace(LIMITS, max_seq_len=min(LIMITS.max_seq_len, longest))
    return Job(
        name=args.name or Path(args.source).name,
        checkpoint=directory,
        limits=length_limits(args, limits),
        repo=repo,
        tensor_parallel=args.tensor_parallel or 1,
    )


def length_limits(args: argparse.Namespace, limits: Limits) -> Limits:
    """`limits` with what the command line says; a conversation is its prompt and its answer."""
    for flag in ("max_num_tokens", "max_input_len", "max_output_len", "workers"):
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise UsageError(f"--{flag.replace('_', '-')}: expected at least 1, got {value}")
    length = args.max_seq_len
    if args.max_output_len:
        if not args.max_input_len:
            raise UsageError("--max-output-len needs --max-input-len: their sum is the context")
        if length:
            raise UsageError("--max-seq-len is --max-input-len plus --max-output-len; name two")
        length = args.max_input_len + args.max_output_len
    return replace(
        limits,
        max_seq_len=length or limits.max_seq_len,
        max_num_tokens=args.max_num_tokens or limits.max_num_tokens,
    )


def require_type(model_type: str, directory: Path, config: Mapping[str, object]) -> None:
    names = config.get("architectures")
    found = names[0] if isinstance(names, list) and names else None
    if found not in MODEL_TYPES[model_type]:
        raise UsageError(
            f"--model-type {model_type}: {directory} is a {found}, expected "
            f"{' or '.join(MODEL_TYPES[model_type])}; leave the option out to take what is there"
        )


def builder(job: Job, out: Path, args: argparse.Namespace | None) -> Build:
    return tensorrt_llm_build(job, _options(args) if args else Options(), workshop(out, args))


def convert(job: Job, out: Path, report: Report, args: argparse.Namespace) -> None:
    """Put a rank checkpoint at `out`."""
    options = _options(args)
    convert_checkpoint(job, options, workshop(out, args), out, report, replace_it=args.replace)
    after_build(out, args)


def workshop(out: Path, args: argparse.Namespace | None) -> Workshop:
    return Workshop(
        python=find_python(),
        environment=environment.everything(),
        directory=work_directory(out, args),
        warn=lambda text: print(f"trtllm-build warns: {text}", file=sys.stderr),
    )


def find_python() -> Path:
    """The Python that imports TensorRT-LLM; which it is, only its owner knows."""
    root = environment.runtime_override(KIND)
    if root is None:
        raise RuntimeMissing(
            "no TensorRT-LLM is known here; set ENGINIX_RUNTIME_TENSORRT_LLM to the directory "
            "whose bin/python imports tensorrt_llm (in NVIDIA's container: /usr)"
        )
    for name in ("python", "python3"):
        if found := shutil.which(name, path=str(root / "bin")):
            return Path(found)
    raise RuntimeMissing(
        f"ENGINIX_RUNTIME_TENSORRT_LLM is {root}, which has no bin/python; name the directory "
        "whose bin/python imports tensorrt_llm"
    )


def work_directory(out: Path, args: argparse.Namespace | None) -> Path:
    named: Path | None = args.work_dir if args else None
    return named or out.with_name(f".{out.name}.work")


def after_build(out: Path, args: argparse.Namespace | None) -> None:
    """The engine stands: what its stages left is not needed any more."""
    if not (args and args.keep_work):
        discard(work_directory(out, args))


def after_failure(out: Path, args: argparse.Namespace | None) -> None:
    work = work_directory(out, args)
    if work.exists():
        print(
            f"what is finished is kept in {work}; the same command goes on from there",
            file=sys.stderr,
        )


def is_without_manifest(directory: Path) -> bool:
    """Rank engines and no manifest: somebody ran trtllm-build by hand."""
    return any(directory.glob("rank*.engine")) and not (directory / FILE_NAME).exists()


def verify_without_manifest(directory: Path, checkpoint: Path | None) -> str:
    """Hold an engine that was built by hand to itself, and to its checkpoint if that is named."""
    verify_by_hand(directory, checkpoint)
    against = f" and to {checkpoint}" if checkpoint else ""
    return f"{directory}: {describe(read_engine(directory))}; true to its config.json{against}"


def _find(source: str) -> tuple[Path, str | None]:
    path = Path(source)
    if path.is_dir():
        return path, None
    found = find_fetched(environment.cache_home(), source, None)
    if found is None:
        raise NotACheckpoint(
            f"{source} is neither a directory nor fetched to this machine; get it with "
            f"`enginix checkpoint fetch {source}`"
        )
    return found, source


def _options(args: argparse.Namespace) -> Options:
    for flag in ("silence_limit", "deadline"):
        if getattr(args, flag) <= 0:
            raise UsageError(f"--{flag.replace('_', '-')}: expected more than 0 seconds")
    return Options(
        dtype=args.dtype,
        max_input_len=args.max_input_len,
        workers=args.workers,
        rank_checkpoint=getattr(args, "rank_checkpoint", None),
        gpu=args.gpu,
        patience=Patience(silence=args.silence_limit, deadline=args.deadline),
    )
