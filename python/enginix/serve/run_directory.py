"""The directory of a running profile: its commands' files, control socket and logs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from enginix.errors import ProcessError
from enginix.owned import hold_soon
from enginix.ports import local_url
from enginix.records import replace_text
from enginix.serve.profile import GatewayEntry, Profile
from enginix.serve.servers.program import Command


def run_directory(profile: Profile, home: Path) -> Path:
    return home / "run" / f"{profile.name}-{profile.gateway.port}"


def control_path(profile: Profile, home: Path) -> Path:
    return run_directory(profile, home) / "control"


def new_log_directory(profile: Profile, home: Path) -> Path:
    """For the logs of a run that starts now; the names of a profile's runs sort by time."""
    begin = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return home / "logs" / profile.name / f"{begin}-{profile.gateway.port}"


@contextmanager
def written_files(
    directory: Path, commands: Sequence[Command], gateway: GatewayEntry, logs: Path | None = None
) -> Iterator[None]:
    """Write the files that the commands read; `directory` is removed when the block ends.

    Commands that look for this run are told where it is reached and has its logs, and which file
    holds its API keys.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = directory.with_name(f"{directory.name}.lock")
    descriptor = hold_soon(lock, os.O_CREAT)
    if descriptor is None:
        raise ProcessError(
            f"another `enginix up` works in {directory}; end it, or choose another --port"
        )
    try:
        # A killed supervisor leaves its directory behind.
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        run = {
            "url": local_url(gateway.host, gateway.port),
            "logs": str(logs) if logs else None,
            "api_keys": str(Path(gateway.api_keys).absolute()) if gateway.api_keys else None,
        }
        (directory / "run.json").write_text(json.dumps(run), encoding="utf-8")
        for command in commands:
            write_files(command)
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def write_files(command: Command) -> None:
    for path, text in command.files.items():
        # A process that reads it may start at any time.
        try:
            replace_text(path, text)
        except OSError as error:
            raise ProcessError(
                f"{path} cannot be written: {error.strerror}; free some space there, or make it "
                "writable"
            ) from None
