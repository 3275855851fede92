"""Finds the running gateway for a command, the same way for all commands."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from enginix.cli import environment
from enginix.errors import ProcessError, UsageError
from enginix.inventory.running import Supervisor, supervisors
from enginix.ports import local_url
from enginix.serve.profile import GatewayEntry
from enginix.serve.run_directory import written_files

logger = logging.getLogger(__name__)

DEFAULT = local_url(GatewayEntry().host, GatewayEntry().port)
# Stands for a profile's name if no profile runs.
BY_HAND = "openai"


def add_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        help="a gateway's address; also ENGINIX_URL (default: of the one that runs here, else "
        f"{DEFAULT})",
    )


def find_gateway(url: str | None, *, tell: bool = True) -> str:
    """`url`, or ENGINIX_URL, or the gateway that runs from this home, or the default address.

    UsageError names those that run if there are several. `tell`: name it on standard error, unless
    the user has.
    """
    named = url or environment.gateway_url()
    run = None if named else _only(supervisors(environment.cache_home()))
    found = address_of(named) if named else run.url if run else DEFAULT
    if tell and not url:
        _tell(found)
    return found


def find_run(url: str | None, profile: str | None = None) -> Supervisor | None:
    """The run of that gateway; None if nothing runs and no address is given."""
    running = [
        run for run in supervisors(environment.cache_home()) if profile in (None, run.profile)
    ]
    named = url or environment.gateway_url()
    if named:
        address = address_of(named).replace("//localhost:", "//127.0.0.1:")
        run = next((each for each in running if each.url == address), None)
        if run is None:
            raise UsageError(f"no gateway here is at {named}; running: {_listed(running)}")
    else:
        run = _only(running)
    if run is not None and not url:
        _tell(run.url)
    return run


@contextmanager
def listed(entry: GatewayEntry) -> Iterator[None]:
    """Let other commands find a gateway that was started without a profile."""
    directory = environment.cache_home() / "run" / f"{BY_HAND}-{entry.port}"
    with ExitStack() as stack:
        try:
            stack.enter_context(written_files(directory, [], entry))
        except (OSError, ProcessError) as error:
            logger.info("other commands find this gateway only by --url: %s", error)
        yield


def _tell(url: str) -> None:
    print(f"gateway: {url}", file=sys.stderr)


def _only(running: list[Supervisor]) -> Supervisor | None:
    if len(running) > 1:
        raise UsageError(
            f"several gateways run: {_listed(running)}; choose one with --url or ENGINIX_URL "
            "(`enginix ps` shows what they serve)"
        )
    return running[0] if running else None


def _listed(running: list[Supervisor]) -> str:
    return ", ".join(f"{run.profile} at {run.url}" for run in running) or "none"


def address_of(url: str) -> str:
    """A gateway's address in its usual form: with a scheme, without /v1."""
    whole = url if "://" in url else f"http://{url}"
    return whole.rstrip("/").removesuffix("/v1")
