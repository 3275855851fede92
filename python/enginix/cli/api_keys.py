"""API keys: reads the files that `--api-keys` names, and finds the key to send to a server."""

from __future__ import annotations

import logging
import shlex
from contextlib import suppress
from pathlib import Path

from enginix.cli import environment
from enginix.cli.running_gateway import address_of
from enginix.errors import UsageError
from enginix.gateway.keys.key import fault_of
from enginix.gateway.keys.key_file import SUFFIX, read_key_file
from enginix.gateway.keys.ledger import MAX_WORKERS
from enginix.inventory.running import supervisors
from enginix.records import reason

logger = logging.getLogger(__name__)


def read_keys(path: str | Path) -> frozenset[str]:
    """One key per line; empty lines and lines that start with # are ignored.

    Raises UsageError for a key that no request could have: it would only ever be refused.
    """
    try:
        # Some editors begin a file with a byte-order mark.
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--api-keys {path} cannot be read: {reason(error)}") from None
    lines = enumerate(map(str.strip, text.split("\n")), 1)
    keys = {number: line for number, line in lines if line and line[0] != "#"}
    for number, key in keys.items():
        if fault := fault_of(key):
            raise UsageError(f"--api-keys {path}:{number}: the key {fault}")
    if not keys:
        # An empty file would disable authorization, which cannot be what the user wants.
        raise UsageError(f"--api-keys {path} holds no key; write one key per line")
    return frozenset(keys.values())


def has_names(path: str | Path) -> bool:
    """Whether it is a file of named keys, which holds their hashes."""
    return Path(path).suffix == SUFFIX


def check_named_keys(path: Path, workers: int) -> None:
    """Raise UsageError for a file of named keys that a gateway does not begin with."""
    if workers > MAX_WORKERS:
        raise UsageError(
            f"--workers is {workers}; expected at most {MAX_WORKERS} with a file of named keys"
        )
    keys = read_key_file(path)
    if not keys:
        raise UsageError(
            f"--api-keys {path} holds no key; add one: enginix keys add NAME "
            f"--file {shlex.quote(str(path))}"
        )
    for key in keys.values():
        if key.expired:
            logger.warning("the API key %r expired on %s", key.name, f"{key.expires:%Y-%m-%d}")


def key_for_gateway(url: str) -> str | None:
    """The key to send to our gateway at that URL: one of ENGINIX_API_KEYS, else of that run's."""
    return min(environment.api_keys() or _keys_of_run(url), default=None)


def key_for_server(url: str) -> str | None:
    """Likewise for any server of the OpenAI API, with OPENAI_API_KEY if there is no other."""
    return key_for_gateway(url) or environment.openai_key()


def _keys_of_run(url: str) -> frozenset[str]:
    """The keys of this machine's gateway at that URL, if this user may read its file of keys."""
    for run in supervisors(environment.cache_home()):
        if run.url == address_of(url) and run.api_keys and not has_names(run.api_keys):
            with suppress(UsageError):
                return read_keys(run.api_keys)
    return frozenset()
