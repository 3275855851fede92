"""Renders Triton's model repository for one engine, from triton-repo/ and the engine's manifest.

Two mistakes are errors: a hole without a value, and a value without a hole. (NVIDIA's own
script leaves holes unfilled, which surface as Triton's parse errors, or not at all.)
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from enginix.errors import EngineMismatch, TemplateMismatch
from enginix.manifest import Limits, Manifest, manifest_hash
from enginix.triton.server.template_versions import lines_for
from enginix.triton.template_files import TEMPLATES

CONFIG = "config.pbtxt"

# TensorRT-LLM's guided decoding reads it; the build writes it, NVIDIA chose the name.
GUIDE_FILE = "xgrammar_tokenizer_info.json"

# Requests that tensorrt_llm_bls serves at a time; each takes a process with a tokenizer of its own.
BLS_INSTANCES = 16

# In NVIDIA's container.
EXECUTOR_WORKER = Path("/opt/tritonserver/backends/tensorrtllm/trtllmExecutorWorker")


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """`threads` 0 lets the model choose: one per physical core it may use (gguf).

    `kv_cache_fraction` is the share of the GPU memory left after loading that the KV cache takes;
    `executor_worker` is the path of this Triton's TensorRT-LLM worker (both tensorrt-llm).
    """

    threads: int = 0
    kv_cache_fraction: float = 0.9
    executor_worker: Path = EXECUTOR_WORKER


def render_repository(
    engine: Path, manifest: Manifest, out: Path, options: RenderOptions | None = None
) -> None:
    """Write the repository for `engine` into `out`, which must be empty or absent."""
    templates = TEMPLATES / manifest.kind
    if not templates.is_dir():
        served = ", ".join(sorted(path.name for path in TEMPLATES.iterdir() if path.is_dir()))
        raise EngineMismatch(
            f"Triton does not serve engines of kind {manifest.kind}; it serves: {served}"
        )
    values = repository_values(engine, manifest, options or RenderOptions())
    version = manifest.built_with.tensorrt_llm
    configs = {
        path.parent.name: lines_for(path.read_text(encoding="utf-8"), version)
        for path in templates.glob(f"*/{CONFIG}")
    }
    rendered = render_configs(configs, values)
    for model, text in rendered.items():
        _copy_model(templates / model, out / model)
        (out / model / CONFIG).write_text(text, encoding="utf-8")


def repository_values(engine: Path, manifest: Manifest, options: RenderOptions) -> dict[str, str]:
    """The values for the holes of the kind's templates."""
    values = _tensorrt_llm if manifest.kind == "tensorrt-llm" else _gguf
    return {
        "engine_dir": str(engine.absolute()),
        "engine_hash": manifest_hash(engine),
        # An engine contains its tokenizer.
        "tokenizer_dir": str(engine.absolute()),
        **values(engine, manifest.limits, options),
    }


def _tensorrt_llm(engine: Path, limits: Limits, options: RenderOptions) -> dict[str, str]:
    # A prompt longer than one step must be read in chunks.
    chunked = limits.max_seq_len > limits.max_num_tokens
    guide = engine.absolute() / GUIDE_FILE
    return {
        "max_batch_size": str(limits.max_batch_size),
        "bls_instances": str(min(limits.max_batch_size, BLS_INSTANCES)),
        "kv_cache_fraction": f"{options.kv_cache_fraction:g}",
        "chunked_context": "true" if chunked else "false",
        "executor_worker_path": str(options.executor_worker),
        "guided_decoding_backend": "xgrammar" if guide.exists() else "",
        "xgrammar_tokenizer_info_path": str(guide) if guide.exists() else "",
    }


def _gguf(engine: Path, limits: Limits, options: RenderOptions) -> dict[str, str]:
    return {
        "parallel": str(limits.max_batch_size),
        "context": str(limits.max_seq_len),
        "prompt_tokens": str(limits.max_num_tokens),
        "threads": str(options.threads),
    }


def render_configs(configs: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Model name -> its configuration, with every hole filled and checked by Triton's schema."""
    templates = {model: Template(text) for model, text in configs.items()}
    holes = {hole for template in templates.values() for hole in template.get_identifiers()}
    if missing := holes - values.keys():
        raise TemplateMismatch(f"no value for {', '.join(sorted(missing))}")
    if unused := values.keys() - holes:
        raise TemplateMismatch(f"no template has a hole {', '.join(sorted(unused))}")
    quoted = {key: _quoted(value) for key, value in values.items()}
    rendered = {model: template.substitute(quoted) for model, template in templates.items()}
    for model, text in rendered.items():
        check_config(model, text)
    return rendered


def check_config(model: str, text: str) -> None:
    """Check a configuration against Triton's protobuf schema."""
    config = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise TemplateMismatch(f"Triton cannot read {model}/{CONFIG}: {error}") from error
    if config.name != model:
        raise TemplateMismatch(f"{model}/{CONFIG} names its model {config.name!r}")


def _quoted(value: str) -> str:
    """Escape for the double quotes of a protobuf text string."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _copy_model(source: Path, target: Path) -> None:
    # Triton requires a version directory even for a model without code; git keeps no empty ones.
    (target / "1").mkdir(parents=True)
    for path in sorted((source / "1").glob("*.py")):
        shutil.copyfile(path, target / "1" / path.name)
