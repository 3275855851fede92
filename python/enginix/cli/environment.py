"""Every environment variable enginix reads, each in one place."""

from __future__ import annotations

import os
from pathlib import Path


def cache_home() -> Path:
    """ENGINIX_HOME: where runtimes and built engines are kept."""
    if home := os.environ.get("ENGINIX_HOME"):
        return Path(home).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "enginix"


def given_engines() -> list[Path]:
    """ENGINIX_ENGINE: the engine directory to serve, whatever the model's name says.

    Several, with colons between them, are told apart by the names in their manifests.
    """
    words = os.environ.get("ENGINIX_ENGINE", "").split(":")
    return [Path(word).expanduser().absolute() for word in words if word]


def runtime_override(kind: str) -> Path | None:
    """ENGINIX_RUNTIME_TRITON_CPU and so on: a ready runtime's root; Nix sets it."""
    return _path("ENGINIX_RUNTIME_" + kind.upper().replace("-", "_"))


def hub_token() -> str | None:
    """HF_TOKEN, or the one `hf auth login` keeps under HF_HOME; never to be printed."""
    if token := os.environ.get("HF_TOKEN"):
        return token.strip()
    home = _path("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    try:
        return (home / "token").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def hub_endpoint() -> str | None:
    """HF_ENDPOINT: a mirror of the hub to fetch from."""
    return os.environ.get("HF_ENDPOINT") or None


def api_keys() -> frozenset[str]:
    """ENGINIX_API_KEYS: who may ask the gateway, separated by commas; never to be printed."""
    keys = os.environ.get("ENGINIX_API_KEYS", "").split(",")
    return frozenset(key.strip() for key in keys if key.strip())


def bearer_key() -> str | None:
    """What to show a server that is asked: one of ENGINIX_API_KEYS, or OPENAI_API_KEY."""
    return min(api_keys(), default=None) or os.environ.get("OPENAI_API_KEY") or None


def metrics_directory() -> str | None:
    """PROMETHEUS_MULTIPROC_DIR: where the gateway's processes share their metrics."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR")


def with_metrics_directory(directory: str) -> dict[str, str]:
    """The environment of a process that shares its metrics there."""
    return {**os.environ, "PROMETHEUS_MULTIPROC_DIR": directory}


def everything() -> dict[str, str]:
    """A copy of the whole environment, to hand on to a child or to look settings up in."""
    return dict(os.environ)


def _path(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value).expanduser().absolute() if value else None
