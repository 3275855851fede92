"""What TensorRT Edge-LLM's builder leaves, and whether it is what was ordered.

Its config.json names neither the quantization of the weights nor a GPU nor TensorRT's version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix.errors import EngineDamaged, engine_damaged
from enginix.hub_files import read_object
from enginix.manifest import Limits, Manifest

PLAN_FILE = "llm.engine"
CONFIG_FILE = "config.json"
LIBRARY = "tensorrt-edgellm"
"""The distribution, by which the manifest names the version."""
KV_PAGE = 128


@dataclass(frozen=True, slots=True)
class Expected:
    limits: Limits
    version: str
    kv_cache_algo: str | None
    least_bytes: int = 1
    """Of the plan, which contains the dense NVFP4 weights."""


def check_bundle(
    bundle: Path, expected: Expected, fail: Callable[[str], Exception] = engine_damaged
) -> str:
    """A line for people; raises what `fail` makes of the first difference."""
    plan, where = bundle / PLAN_FILE, bundle / CONFIG_FILE
    size = plan.stat().st_size if plan.is_file() else 0
    if size < expected.least_bytes:
        raise fail(f"{plan} has {size} bytes, and its weights alone take {expected.least_bytes}")
    config = read_object(where, fail)
    if config is None:
        raise fail(f"{where} is missing: the builder did not finish")
    if "checkpoint_identity" not in config:
        raise fail(f"{where} has no checkpoint_identity: the server would build another engine")
    if (version := config.get("edgellm_version")) != expected.version:
        raise fail(f"{where} is of Edge-LLM {version}, expected {expected.version}")
    if (found := limits_of(config)) != expected.limits:
        raise fail(f"{where} has the limits {found}, expected {expected.limits}")
    cache = config.get("kv_cache_dtype")
    if expected.kv_cache_algo == "FP8" and cache != "fp8":
        raise fail(
            f"the checkpoint says that its KV cache is FP8, and the builder made it {cache}: it "
            "found no k_scale and v_scale tensors; quantize the checkpoint again, with them"
        )
    return f"{config.get('model')}, {size / 1e6:,.1f} MB, {cache} KV cache"


def limits_of(config: Mapping[str, Any]) -> Limits | None:
    builder = config.get("builder_config")
    names = ("max_batch_size", "max_kv_cache_capacity", "max_input_len")
    found = [builder.get(name) for name in names] if isinstance(builder, dict) else []
    numbers = [each for each in found if isinstance(each, int)]
    return Limits(*numbers) if len(numbers) == len(names) else None


def verify_manifest(directory: Path, manifest: Manifest) -> str:
    """Check an engine's contents against its manifest; returns a line for people."""
    plans = [name for name in manifest.files if Path(name).name == PLAN_FILE]
    if len(plans) != 1:
        raise EngineDamaged(f"{directory} has {len(plans)} {PLAN_FILE}, expected one")
    libraries = manifest.recipe.libraries if manifest.recipe else {}
    algo = manifest.quantization.kv_cache_algo
    expected = Expected(manifest.limits, libraries.get(LIBRARY, ""), algo)
    return check_bundle((directory / plans[0]).parent, expected)
