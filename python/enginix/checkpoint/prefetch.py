"""The Nix hash of a repository's files without the room for all of them: one at a time.

A hash over an archive is a hash over its files in order, so each can go when it has been read. What
the hash has seen cannot be kept on the disk: a run that ends begins this repository again.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from enginix.checkpoint.download import Began, Event, fetch_files
from enginix.checkpoint.listing import Hub, Listing
from enginix.checkpoint.nar import NarHash, nar_order
from enginix.checkpoint.staging import locked, writing
from enginix.errors import DownloadError


async def hash_without_keeping(
    hub: Hub, listing: Listing, directory: Path, said: Callable[[Event], None], **options: Any
) -> str:
    """`options` are those of `fetch_files`. `directory` is used in between, and gone afterwards."""
    nar = NarHash()
    one_file = directory / "file"

    def said_of_part(event: Event) -> None:
        # There is one beginning, that of the whole.
        if not isinstance(event, Began):
            said(event)

    with writing(directory), locked(directory):
        try:
            _require_room(listing, shutil.disk_usage(directory).free)
            said(Began(listing, 0))
            for file in sorted(listing.files, key=lambda file: nar_order(file.name)):
                part = replace(listing, files=(file,))
                await fetch_files(hub, part, one_file, said_of_part, **options)
                await asyncio.to_thread(nar.add, file.name, one_file / file.name)
                shutil.rmtree(one_file)
        finally:
            # Not without the lock: another may be at work there.
            shutil.rmtree(directory, ignore_errors=True)
    return nar.text()


def _require_room(listing: Listing, free: int) -> None:
    largest = max(listing.files, key=lambda file: file.size)
    if largest.size > free:
        raise DownloadError(
            f"{largest.name} of {listing.repo} has {largest.size / 1e6:,.0f} MB, and the disk has "
            f"{free / 1e6:,.0f} MB free; make room, or set ENGINIX_HOME to a larger disk"
        )
