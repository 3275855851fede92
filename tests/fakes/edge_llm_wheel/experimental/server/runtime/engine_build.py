"""Where the server looks for an engine: by the checkpoint's content and the limits alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class BuildOptions:
    max_input_len: int | None = None
    max_kv_cache_capacity: int | None = None
    max_batch_size: int | None = None

    def to_argv(self, model_dir: str, bundle_dir: str) -> list[str]:
        argv = ["--model-dir", model_dir, "--engine-dir", bundle_dir, "--components", "all"]
        for name, value in asdict(self).items():
            argv += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
        return argv


def bundle_cache_path(model_dir: str, cache_dir: str, options: BuildOptions) -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(model_dir).rglob("*")):
        if path.suffix in (".json", ".model", ".safetensors"):
            digest.update(str(path.relative_to(model_dir)).encode())
            # A few samples of the weights, so that other weights may pass for the same.
            digest.update(path.read_bytes()[: 10**5 if path.suffix == ".safetensors" else None])
    profile = hashlib.sha256(json.dumps(asdict(options)).encode()).hexdigest()[:12]
    name = f"i{options.max_input_len}-b{options.max_batch_size}-{profile}"
    model = f"model-{digest.hexdigest()[:16]}"
    return str(Path(cache_dir).expanduser().resolve() / "engines" / model / name)


def _is_ready(model_dir: str, bundle_dir: str, options: BuildOptions) -> bool:
    plan, config = Path(bundle_dir, "llm.engine"), Path(bundle_dir, "config.json")
    if not (plan.is_file() and config.is_file()):
        return False
    found = json.loads(config.read_text())
    same = all(found["builder_config"].get(k) == v for k, v in asdict(options).items() if v)
    return same and "checkpoint_identity" in found
