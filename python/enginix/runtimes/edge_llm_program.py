"""Asks TensorRT Edge-LLM's environment what it is, and serves an engine in it.

A program of its own: it runs in that environment's Python, and needs nothing else of this package.
`facts` prints, as JSON, the versions, the GPU, the builder's arguments and the path at which
`tensorrt-edgellm-serve` will look for the engine. `serve` checks an engine against its manifest,
lays it out at that path and becomes the server, which would otherwise build another one by itself,
for minutes and with no port open: its cache knows neither the GPU nor any version.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

KIND = "edge-llm"
MANIFEST = "manifest.json"
PLAN = "llm.engine"
CONFIG = "config.json"
LIMITS = ("max_batch_size", "max_input_len", "max_kv_cache_capacity")
CHUNK = 1 << 20
DRIVER = Path("/proc/driver/nvidia/version")
# What must be the same as when the engine was built: in the manifest, here, and for people.
SAME = (
    ("compute_capability", "GPU compute capability"),
    ("gpu_name", "GPU"),
    ("tensorrt", "TensorRT"),
    ("edge_llm", "TensorRT Edge-LLM"),
)
AGAIN = "build it on this machine with this environment: `enginix engine build ... --kind edge-llm`"


class Refused(Exception):
    """The message says what was found, what was expected and what to do."""


def main(arguments: Sequence[str]) -> None:
    args, others = _parser().parse_known_args(arguments)
    try:
        if args.action == "facts":
            sizes = {name: getattr(args, name) for name in LIMITS}
            facts = {**versions(), **placement(args.model, args.cache, sizes)}
            sys.stdout.write(json.dumps(facts) + "\n")
            return
        command = prepared(args, others)
    except Refused as error:
        sys.exit(f"edge-llm: {error}")
    # The environment's own Python runs it, whatever its first line says.
    os.execv(sys.executable, command)


def versions() -> dict[str, str]:
    """What an engine depends on; Refused if no part of this wheel fits the machine."""
    from tensorrt_edgellm import _native  # type: ignore[import-not-found]
    from tensorrt_edgellm._native.dependencies import (  # type: ignore[import-not-found]
        require_tensorrt,
    )
    from tensorrt_edgellm._native.detect import (  # type: ignore[import-not-found]
        detect_platform,
    )
    from tensorrt_edgellm._native.select import (  # type: ignore[import-not-found]
        load_manifest,
        select_variant,
    )
    from tensorrt_edgellm._version import __version__  # type: ignore[import-not-found]

    try:
        tensorrt = require_tensorrt()
        here = detect_platform()
        select_variant(here, load_manifest(Path(_native.__file__).with_name("variants.json")))
    except _native.NativeRuntimeError as error:
        raise Refused(f"TensorRT Edge-LLM {__version__} does not run here: {error}") from None
    return {
        "edge_llm": str(__version__),
        "tensorrt": str(tensorrt.__version__),
        "compute_capability": f"{here.gpu_sm // 10}.{here.gpu_sm % 10}",
        "gpu_name": gpu_name(),
        "driver": driver_version(),
    }


def placement(model: str, cache: str, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Where the server looks in `cache` for an engine of `model`, and how that is built."""
    from experimental.server.runtime import engine_build  # type: ignore[import-not-found]

    options = engine_build.BuildOptions(**sizes)
    path = engine_build.bundle_cache_path(model, cache, options)
    return {"path": path, "arguments": options.to_argv(model, path)}


def prepared(args: argparse.Namespace, others: Sequence[str]) -> list[str]:
    """The server's command line, once nothing is wrong with the engine."""
    engine = Path(args.engine)
    manifest = _read_json(engine / MANIFEST)
    if manifest.get("kind") != KIND:
        raise Refused(f"{engine} is of kind {manifest.get('kind')}, expected {KIND}")
    bundle = find_bundle(engine, manifest)
    config = _read_json(bundle / CONFIG)
    sizes = {name: config.get("builder_config", {}).get(name) for name in LIMITS}
    checkpoint = Path(args.checkpoint or config.get("checkpoint_dir") or "")
    if not (checkpoint / CONFIG).is_file():
        raise Refused(
            f"the checkpoint {checkpoint} that {engine} was built from is not there, and the "
            "server reads its embeddings and norms; put it back, or say where it is with "
            "--checkpoint (in a profile options.checkpoint)"
        )
    if found := differences(recorded(manifest), versions()):
        raise Refused(f"{engine} does not fit here: {'; '.join(found)}; {AGAIN}")
    require_same_files(checkpoint, manifest, Path(f"{args.cache}.checked"))
    lay_out(bundle, Path(args.cache), str(checkpoint), sizes)
    batching = ["--enable-in-flight-batching"] if sizes["max_batch_size"] > 1 else []
    limits = [f"--{name.replace('_', '-')}={sizes[name]}" for name in LIMITS]
    model = [str(checkpoint), f"--cache-dir={args.cache}"]
    return [sys.executable, args.program, *model, *limits, *batching, *others]


def find_bundle(engine: Path, manifest: Mapping[str, Any]) -> Path:
    """The server's part of an engine, where the builder left it."""
    plans = [name for name in manifest.get("files", {}) if Path(name).name == PLAN]
    if len(plans) != 1 or not (engine / plans[0]).is_file():
        raise Refused(f"{engine} has no {PLAN}; build the engine again")
    bundle = (engine / str(plans[0])).parent
    for name, size in manifest["files"].items():
        path = engine / name
        if not path.is_file() or path.stat().st_size != size:
            raise Refused(f"{path} is missing or has not the {size} bytes that {MANIFEST} records")
    return bundle


def recorded(manifest: Mapping[str, Any]) -> dict[str, Any]:
    built = manifest.get("built_with") or {}
    libraries = (manifest.get("recipe") or {}).get("libraries") or {}
    return {**built, "edge_llm": libraries.get("tensorrt-edgellm")}


def differences(built: Mapping[str, Any], here: Mapping[str, str]) -> list[str]:
    """One clause for each thing that differs; a GPU's name may be unknown."""
    return [
        f"it was built for {title} {built.get(key)}, and here is {here[key]}"
        for key, title in SAME
        if built.get(key) != here[key] and (key != "gpu_name" or (built.get(key) and here[key]))
    ]


def require_same_files(checkpoint: Path, manifest: Mapping[str, Any], checked: Path) -> None:
    """Compare the checkpoint's SHA-256; `checked` says which files were, for the next start."""
    wanted: dict[str, str] = manifest["source"]["files"]
    now = {}
    for name, digest in wanted.items():
        try:
            status = (checkpoint / name).stat()
        except OSError as error:
            raise Refused(
                f"{checkpoint / name} cannot be read ({error.strerror}), and the engine was built "
                f"with it; put the checkpoint back as it was, or {AGAIN}"
            ) from None
        now[name] = [digest, status.st_size, status.st_mtime_ns, status.st_ino]
    if checked.is_file() and _read_json(checked) == now:
        return
    with ThreadPoolExecutor() as pool:
        found = dict(pool.map(lambda name: (name, _hash(checkpoint / name)), wanted))
    for name, digest in wanted.items():
        if found[name] != digest:
            raise Refused(
                f"{checkpoint / name} has sha256 {found[name]}, and the engine was built with "
                f"{digest}; put the checkpoint back as it was, or {AGAIN}"
            )
    checked.parent.mkdir(parents=True, exist_ok=True)
    checked.write_text(json.dumps(now), encoding="utf-8")


def lay_out(bundle: Path, cache: Path, checkpoint: str, sizes: Mapping[str, int]) -> None:
    """A cache that holds the engine alone: the server locks and touches its directories only."""
    from experimental.server.runtime import engine_build

    place = Path(placement(checkpoint, str(cache), sizes)["path"])
    if place.name != bundle.name or place.parent.name != bundle.parent.name:
        raise Refused(
            f"the server looks for {place.parent.name}/{place.name}, and the engine is "
            f"{bundle.parent.name}/{bundle.name}: a .json or .model file of {checkpoint} was "
            f"changed or added since; put the checkpoint back as it was, or {AGAIN}"
        )
    # Also what a server that was ended while it built has left.
    shutil.rmtree(cache, ignore_errors=True)
    for path in sorted(bundle.rglob("*")):
        if path.is_file():
            link = place / path.relative_to(bundle)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    if not engine_build._is_ready(checkpoint, str(place), engine_build.BuildOptions(**sizes)):
        raise Refused(f"the server does not take {bundle} for a complete engine; {AGAIN}")


def gpu_name() -> str:
    """Of the first visible GPU, which all others equal; empty if unknown."""
    name, device = ctypes.create_string_buffer(256), ctypes.c_int()
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
            return ""
        return "" if cuda.cuDeviceGetName(name, 256, device) else name.value.decode()
    except OSError:
        return ""


def driver_version() -> str:
    try:
        found = re.search(r"Module\D*(\d+\.[\d.]+)", DRIVER.read_text())
    except OSError:
        return ""
    return found[1] if found else ""


def _hash(path: Path) -> str:
    # Python 3.10 has no hashlib.file_digest.
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read: {error}; expected an engine's") from None
    if not isinstance(data, dict):
        raise Refused(f"{path} holds no object; expected an engine's")
    return data


def _parser() -> argparse.ArgumentParser:
    # What it does not know is the server's.
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    facts = actions.add_parser("facts", allow_abbrev=False)
    facts.add_argument("model", help="a checkpoint's directory")
    facts.add_argument("--cache", required=True, help="the server's --cache-dir")
    for name in LIMITS:
        facts.add_argument(f"--{name.replace('_', '-')}", type=int, required=True)
    serve = actions.add_parser("serve", allow_abbrev=False)
    serve.add_argument("engine", help="an engine's directory")
    serve.add_argument("--program", required=True, help="tensorrt-edgellm-serve's path")
    serve.add_argument("--cache", required=True, help="a directory to make, and to replace")
    serve.add_argument("--checkpoint", help="where the engine's checkpoint is now")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
