"""Checks Nix, runtimes and the hub token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from enginix.doctor.finding import Finding, green, red, yellow
from enginix.errors import EnginixError, ProcessError
from enginix.manifest import read_manifest
from enginix.process import find_program, run
from enginix.triton.server.compatibility import Machine, require_fit

SERVER = "opt/tritonserver"


def look_at_nix(user: str) -> list[Finding]:
    if find_program("nix") is None:
        return [yellow("nix", "not installed: `enginix engine build` works without it")]
    try:
        settings = json.loads(run(["nix", "config", "show", "--json"], timeout=20))
    except (ProcessError, json.JSONDecodeError) as error:
        return [yellow("nix", f"cannot read its settings: {error}", "install nix 2.20 or newer")]
    return [_sandbox(str(_value(settings, "sandbox")), _value(settings, "trusted-users"), user)]


def look_at_tensorrt_llm(root: Path) -> list[Finding]:
    """`root` is the root of NVIDIA's userland: / in its container."""
    backend = root / SERVER / "backends" / "tensorrtllm"
    if backend.is_dir():
        return [green("tensorrt-llm", f"Triton's backend is in {backend}")]
    return [
        yellow(
            "tensorrt-llm",
            f"no Triton with its backend in {root / SERVER}",
            "serve engines of that kind with the Nix apps, or inside NVIDIA's container",
        )
    ]


def look_at_tensorrt_llm_version(version: str | None) -> list[Finding]:
    return [green("tensorrt-llm", f"version {version} is installed")] if version else []


def look_at_triton_cpu(root: Path | None) -> list[Finding]:
    if root is None:
        return [yellow("runtime", "triton-cpu is not set up", "enginix setup triton-cpu")]
    return [green("runtime", f"triton-cpu in {root}")]


def look_at_token(token: str | None) -> list[Finding]:
    """A finding never contains the token."""
    if token:
        return [green("hub token", "present")]
    return [
        yellow("hub token", "none", "gated models need one: export HF_TOKEN, or `hf auth login`")
    ]


def look_at_engine(directory: Path, machine: Machine) -> list[Finding]:
    try:
        manifest = read_manifest(directory)
        require_fit(directory, manifest, machine)
    except EnginixError as error:
        first, *rest = str(error).splitlines()
        return [red("engine", text, "") for text in rest or [first]]
    ranks = manifest.parallelism.world_size
    return [green("engine", f"{manifest.name} ({manifest.kind}, {ranks} ranks) fits this machine")]


def _sandbox(sandbox: str, trusted: object, user: str) -> Finding:
    names = trusted if isinstance(trusted, Sequence) else []
    if sandbox in {"false", "False", "relaxed"}:
        return green("nix", f"sandbox = {sandbox.lower()}: engines can be built")
    if user == "root" or user in names or "*" in names:
        return green("nix", f"{user} is trusted: build engines with --option sandbox relaxed")
    return yellow(
        "nix",
        f"sandbox = {sandbox.lower()} and {user} is not a trusted user: engines need the GPU",
        "set `sandbox = relaxed`, or add yourself to `trusted-users`, in /etc/nix/nix.conf",
    )


def _value(settings: object, name: str) -> object:
    entry = settings.get(name) if isinstance(settings, dict) else None
    return entry.get("value") if isinstance(entry, dict) else None
