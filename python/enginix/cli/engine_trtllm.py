"""The tensorrt-llm kind for `enginix engine`: options, runtime, and engines made by hand."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from enginix.checkpoint.load import read_config
from enginix.cli import environment
from enginix.cli.engine_source import recorded_source, repository_source
from enginix.cli.engine_text import load_text
from enginix.cli.find_checkpoint import find_checkpoint_directory, split_revision
from enginix.engine.build import Build, Job
from enginix.engine.stages import Report
from enginix.engine.trtllm.adopt import Origin, adopt, verify_unmanaged
from enginix.engine.trtllm.build import BuildContext, convert_checkpoint, tensorrt_llm_build
from enginix.engine.trtllm.engine_config import CONFIG_FILE, read_engine
from enginix.engine.trtllm.plan import Options
from enginix.engine.trtllm.stage_cache import discard
from enginix.engine.trtllm.verify import describe
from enginix.engine.trtllm.watchdog import Patience
from enginix.errors import RuntimeMissing, UsageError
from enginix.manifest import FILE_NAME, Limits

KIND = "tensorrt-llm"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# --model-type -> the architectures it allows; Yi is a Llama, and older Qwen has remote code.
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

# trtllm-build's own default of tokens per step, and the smallest variant's batch size.
LIMITS = Limits(max_batch_size=8, max_seq_len=16384, max_num_tokens=8192)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("engines of the kind tensorrt-llm")
    group.add_argument("--model", dest="source", metavar="REPO|DIR", help="an unquantized model")
    types = sorted(MODEL_TYPES)
    text = f"refuse any other type: {', '.join(types)}"
    group.add_argument("--model-type", choices=types, metavar="TYPE", help=text)
    group.add_argument(
        "--dtype",
        choices=["auto", "bfloat16", "float16"],
        default="auto",
        help="of what is not quantized (auto: as in the checkpoint)",
    )
    group.add_argument("--max-num-tokens", type=int, metavar="N", help="tokens per step")
    group.add_argument("--max-input-len", type=int, metavar="N", help="tokens per prompt")
    group.add_argument("--max-output-len", type=int, metavar="N", help="tokens per answer")
    group.add_argument("--gpu", metavar="X.Y", help="refuse a GPU of another compute capability")
    group.add_argument("--workers", type=int, metavar="N", help="ranks to process in parallel")
    group.add_argument("--work-dir", type=Path, metavar="DIR", help="keep finished stages there")
    group.add_argument("--keep-work", action="store_true", help="keep them after success")
    patience = Patience()
    group.add_argument(
        "--silence-limit",
        type=float,
        metavar="SECONDS",
        default=patience.silence,
        help="end a builder that prints and writes nothing for so long (%(default)g)",
    )
    group.add_argument(
        "--deadline",
        type=float,
        metavar="SECONDS",
        default=patience.deadline,
        help="end it after so long, whatever it does (%(default)g)",
    )


def source_job(args: argparse.Namespace) -> Job:
    """The job of `--model`, whose files are on this disk."""
    directory, repo = _find(args.source)
    config = read_config(directory)
    if args.model_type:
        require_type(args.model_type, directory, config)
    context = config.get("max_position_embeddings")
    longest = context if isinstance(context, int) and context > 0 else LIMITS.max_seq_len
    limits = replace(LIMITS, max_seq_len=min(LIMITS.max_seq_len, longest))
    job = Job(
        name=args.name or Path(args.source).name.partition("@")[0],
        checkpoint=directory,
        limits=length_limits(args, limits),
        tensor_parallel=args.tensor_parallel or 1,
        load_text=partial(load_text, checkpoint=directory),
    )
    return repository_source(job, repo) if repo else recorded_source(job)


def length_limits(args: argparse.Namespace, limits: Limits) -> Limits:
    """`limits` with the command line's values; the context is the prompt plus the answer."""
    for flag in ("max_num_tokens", "max_input_len", "max_output_len", "workers"):
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise UsageError(f"--{flag.replace('_', '-')}: expected at least 1, got {value}")
    length = args.max_seq_len
    if args.max_output_len:
        if not args.max_input_len:
            raise UsageError("--max-output-len needs --max-input-len; the context is their sum")
        if length:
            raise UsageError("--max-seq-len is --max-input-len plus --max-output-len; give two")
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
            f"{' or '.join(MODEL_TYPES[model_type])}; leave the option out to accept any type"
        )


def builder(job: Job, out: Path, args: argparse.Namespace | None) -> Build:
    return tensorrt_llm_build(job, _options(args) if args else Options(), build_context(out, args))


def convert(job: Job, out: Path, report: Report, args: argparse.Namespace) -> None:
    """Put a rank checkpoint at `out`."""
    options = _options(args)
    convert_checkpoint(job, options, build_context(out, args), out, report, replace_it=args.replace)
    after_build(out, args)


def build_context(out: Path, args: argparse.Namespace | None) -> BuildContext:
    return BuildContext(
        python=find_python(),
        environment=environment.for_child(),
        directory=work_directory(out, args),
        warn=lambda text: print(f"trtllm-build: warning: {text}", file=sys.stderr),
    )


def find_python() -> Path:
    """The Python that imports TensorRT-LLM; enginix cannot find it, so the user names it."""
    root = environment.runtime_override(KIND)
    if root is None:
        raise RuntimeMissing(
            "TensorRT-LLM's location is not set; set ENGINIX_RUNTIME_TENSORRT_LLM to the directory "
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
    """Remove the finished stages, which a complete engine does not need."""
    if not (args and args.keep_work):
        discard(work_directory(out, args))


def after_failure(out: Path, args: argparse.Namespace | None) -> None:
    work = work_directory(out, args)
    if work.exists():
        print(
            f"finished stages are kept in {work}; run the same command to continue",
            file=sys.stderr,
        )


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("engines made by running trtllm-build by hand")
    group.add_argument(
        "--checkpoint",
        type=find_checkpoint_directory,
        metavar="DIR|REPO",
        help="what it was built from",
    )
    group.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="whose tokenizer to copy (the checkpoint's)"
    )
    group.add_argument(
        "--unquantized", action="store_true", help="its weights are intentionally not quantized"
    )
    group.add_argument(
        "--write-manifest", action="store_true", help="write the manifest that serving needs"
    )
    group.add_argument("--name", help="the model's name in it (default: the directory's)")


def is_built_by_hand(args: argparse.Namespace) -> bool:
    """Whether it has TensorRT-LLM's files but no manifest, or is checked against a checkpoint."""
    directory: Path = args.directory
    if (directory / FILE_NAME).exists():
        for option in ("write_manifest", "tokenizer", "name", "unquantized"):
            if getattr(args, option):
                raise UsageError(
                    f"{directory} already has a {FILE_NAME}; leave out "
                    f"--{option.replace('_', '-')}, or remove the file to write a new one"
                )
        return bool(args.checkpoint)
    return (directory / CONFIG_FILE).exists() or any(directory.glob("rank*.engine"))


def verify_built_by_hand(args: argparse.Namespace) -> str:
    """Check an engine against its config and a named checkpoint; write its manifest on request."""
    directory = args.directory
    origin = Origin(args.checkpoint, args.tokenizer, args.unquantized)
    against = f" and {args.checkpoint}" if args.checkpoint else ""
    if not args.write_manifest and (args.name or args.tokenizer):
        raise UsageError("--name and --tokenizer need --write-manifest; add it, or leave them out")
    if args.write_manifest:
        name = require_name(args.name or directory.absolute().name)
        manifest = adopt(directory, name, origin)
        next_step = f"its {FILE_NAME} was written; serve it with `enginix triton {directory}`"
        summary = f"{manifest.name}, {describe(read_engine(directory))}"
    else:
        summary = describe(verify_unmanaged(directory, origin))
        next_step = f"to serve it, write its {FILE_NAME}: add --write-manifest"
    if args.unquantized:
        print(
            f"{directory}: assumed to be unquantized because of --unquantized; if it was built "
            "from a quantized checkpoint, it generates garbage",
            file=sys.stderr,
        )
    return f"{directory}: {summary}; matches its {CONFIG_FILE}{against}\n{next_step}"


def require_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UsageError(f"--name: expected letters, digits, '.', '_' and '-', got {name!r}")
    return name


def _find(source: str) -> tuple[Path, str | None]:
    """The directory, and the repository if it was named without a commit."""
    directory = find_checkpoint_directory(source)
    repo, revision = split_revision(source)
    is_unpinned = "/" in source and revision is None and not Path(source).is_dir()
    return directory, repo if is_unpinned else None


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
