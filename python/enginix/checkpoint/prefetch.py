"""The Nix hash of a repository's files, with disk space for only one of them at a time.

The hash of an archive reads its files in order, so each can be deleted once it has been hashed. The
state of the hash is not saved: an interrupted run starts this repository over.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from enginix.checkpoint.download import Event, Started, fetch_files
from enginix.checkpoint.listing import Hub, Listing
from enginix.checkpoint.nar import NarHash, nar_order
from enginix.checkpoint.staging import locked, writing
from enginix.errors import DownloadError


async def hash_without_keeping(
    hub: Hub, listing: Listing, directory: Path, report: Callable[[Event], None], **options: Any
) -> str:
    """`options` are those of `fetch_files`. `directory` is temporary and removed at the end."""
    nar = NarHash()
    one_file = directory / "file"

    def report_part(event: Event) -> None:
        # Only the start of the whole repository is reported.
        if not isinstance(event, Started):
            report(event)

    with writing(directory), locked(directory):
        try:
            _require_space(listing, shutil.disk_usage(directory).free)
            report(Started(listing, 0))
            for file in sorted(listing.files, key=lambda file: nar_order(file.name)):
                part = replace(listing, files=(file,))
                await fetch_files(hub, part, one_file, report_part, **options)
                await asyncio.to_thread(nar.add, file.name, one_file / file.name)
                shutil.rmtree(one_file)
        finally:
            # While the lock is held: another process may start there next.
            shutil.rmtree(directory, ignore_errors=True)
    return nar.text()


def _require_space(listing: Listing, free: int) -> None:
    largest = max(listing.files, key=lambda file: file.size)
    if largest.size > free:
        raise DownloadError(
            f"{largest.name} of {listing.repo} has {largest.size / 1e6:,.0f} MB, but the disk has "
            f"{free / 1e6:,.0f} MB free; free space, or set ENGINIX_HOME to a larger disk"
        )
