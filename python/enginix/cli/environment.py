"""Reads every environment variable of enginix, each in one place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from enginix.errors import UsageError
from enginix.runtimes.runtime import runtime_variable

# A program that serves or builds a model may run a checkpoint's code, or parse untrusted files. So
# a child gets the user's variables as they are (PATH, HOME, proxies, CUDA_*, NCCL_*, whatever a
# server may read) except those whose names end like a secret's: it gets these only when it needs
# them or the user names them.
SECRET = re.compile(
    r"(TOKEN|API_?KEYS?|ACCESS_KEY|SECRET_KEY|PRIVATE_KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS)$",
    re.IGNORECASE,
)

# Needed by a program that downloads from the hub, and by the gateway.
HUB_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
GATEWAY_SECRETS = ("ENGINIX_API_KEYS",)

PASS_SECRETS = "ENGINIX_PASS_SECRETS"

# Variables that were renamed -> the earlier name, which people may still set.
EARLIER_NAMES = {"ENGINIX_RUNTIME_TENSORRT_LLM": "ENGINIX_RUNTIME_TRTLLM"}


def cache_home() -> Path:
    """ENGINIX_HOME: where runtimes and built engines are kept."""
    if home := os.environ.get("ENGINIX_HOME"):
        return Path(home).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "enginix"


def given_engines() -> list[Path]:
    """ENGINIX_ENGINE: the engine directory to serve, whatever the model's name says.

    Several are separated by colons, and distinguished by the names in their manifests.
    """
    words = os.environ.get("ENGINIX_ENGINE", "").split(":")
    return [Path(word).expanduser().absolute() for word in words if word]


def runtime_override(kind: str) -> Path | None:
    """ENGINIX_RUNTIME_TRITON_CPU and so on: a ready runtime's root; Nix sets it."""
    variable = runtime_variable(kind)
    return _path(variable) or _path(EARLIER_NAMES.get(variable, ""))


def hub_token() -> str | None:
    """HF_TOKEN, the content of the file HF_TOKEN_PATH, or the one that `hf auth login` keeps under
    HF_HOME; never to be printed.
    """
    if token := os.environ.get("HF_TOKEN"):
        return token.strip()
    home = _path("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    try:
        return (_path("HF_TOKEN_PATH") or home / "token").read_text(
            encoding="utf-8"
        ).strip() or None
    except OSError:
        return None


def hub_endpoint() -> str | None:
    """HF_ENDPOINT: a mirror of the hub to fetch from."""
    return os.environ.get("HF_ENDPOINT") or None


def api_keys() -> frozenset[str]:
    """ENGINIX_API_KEYS: keys the gateway accepts, separated by commas; never to be printed."""
    keys = os.environ.get("ENGINIX_API_KEYS", "").split(",")
    return frozenset(_sendable(key.strip(), "ENGINIX_API_KEYS") for key in keys if key.strip())


def openai_key() -> str | None:
    """OPENAI_API_KEY: the key for a server that is not ours."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    return _sendable(key, "OPENAI_API_KEY") if key else None


def _sendable(key: str, variable: str) -> str:
    # Nix' builders have this module and no gateway.
    from enginix.gateway.keys.key import fault_of

    if fault := fault_of(key):
        raise UsageError(f"{variable}: a key {fault}")
    return key


def gateway_url() -> str | None:
    """ENGINIX_URL: the gateway that commands talk to."""
    return os.environ.get("ENGINIX_URL") or None


def metrics_directory() -> str | None:
    """PROMETHEUS_MULTIPROC_DIR: where the gateway's processes share their metrics."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR")


def with_metrics_directory(directory: str) -> dict[str, str]:
    """The environment of a gateway's process that shares its metrics there."""
    return {**for_child(GATEWAY_SECRETS), "PROMETHEUS_MULTIPROC_DIR": directory}


def everything() -> dict[str, str]:
    """A copy of the whole environment, for looking up settings; a child gets `for_child`."""
    return dict(os.environ)


def for_child(secrets: Iterable[str] = ()) -> dict[str, str]:
    """The environment of a program that we start: no secrets except these.

    ENGINIX_PASS_SECRETS: names of secrets, separated by commas, that every program gets.
    """
    named = {name.strip() for name in os.environ.get(PASS_SECRETS, "").split(",")}
    passed = named.union(secrets)
    return {
        name: value
        for name, value in os.environ.items()
        if name in passed or not SECRET.search(name)
    }


def for_server(names: Iterable[str], downloads: bool) -> dict[str, str]:
    """Likewise, for a server, which passes these secrets on to its own children.

    `downloads`: whether it fetches its model from the hub.
    """
    wanted = [*names, *(HUB_SECRETS if downloads else ())]
    secrets = [name for name in wanted if name in os.environ]
    return for_child(secrets) | ({PASS_SECRETS: ",".join(secrets)} if secrets else {})


def _path(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value).expanduser().absolute() if value else None
