"""Fetches a checkpoint from the Hugging Face hub: pinned, parallel, resumed, every file checked.

We transfer the bytes ourselves, because huggingface_hub restarts a download from zero after a
broken connection.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from enginix import __version__
from enginix.checkpoint.listing import Hub, Listing
from enginix.checkpoint.load import hash_file
from enginix.checkpoint.origin import Origin, write_origin
from enginix.checkpoint.partial import PartialFile
from enginix.checkpoint.staging import (
    INCOMPLETE,
    check_file,
    locked,
    partials,
    remove_others,
    require_space,
    work_directory,
    writing,
)
from enginix.checkpoint.transfer import (
    CHUNK_SIZE,
    Received,
    RemoteFile,
    Retrying,
    Transfer,
    first_error,
)
from enginix.errors import DownloadError

CONNECTIONS = 8
# A file whose hash is wrong this many times is wrong on the server.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Started:
    """`have` of the listing's bytes were already on disk."""

    listing: Listing
    have: int


@dataclass(frozen=True, slots=True)
class Checking:
    """An existing file is being read to check its hash."""

    name: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A file is complete, and its hash is right."""

    name: str


@dataclass(frozen=True, slots=True)
class Damaged:
    """A file's hash is wrong; its `lost` bytes are fetched again."""

    name: str
    why: str
    lost: int


Event = Started | Received | Retrying | Checking | Checked | Damaged


async def fetch_files(
    hub: Hub,
    listing: Listing,
    directory: Path,
    report: Callable[[Event], None],
    *,
    connections: int = CONNECTIONS,
    chunk_size: int = CHUNK_SIZE,
    silence: float = 30.0,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    with_origin: bool = False,
) -> None:
    """Fetch every file of the listing into `directory`, and check every hash.

    A new directory appears only when complete; an existing one is repaired. `silence` is how many
    seconds a connection may send nothing. With `with_origin` the commit is recorded in the
    directory.
    """
    work = work_directory(directory)
    with writing(work), locked(work / INCOMPLETE):
        wanted = [file for file in listing.files if not await _is_complete(file, work, report)]
        with partials(work, wanted, chunk_size) as parts:
            missing = sum(file.size for file in wanted) - sum(each.received for each in parts)
            require_space(work, missing, free_bytes(work))
            report(Started(listing, listing.size_bytes - missing))
            async with (
                _client(hub, connections, silence) as client,
                first_error(),
                asyncio.TaskGroup() as tasks,
            ):
                transfer = Transfer(client, report, connections=connections, pause=pause)
                for file, partial in zip(wanted, parts, strict=True):
                    tasks.create_task(_fetch_file(transfer, file, partial, work, report))
        await asyncio.to_thread(_complete, listing, work, directory, with_origin)


def _complete(listing: Listing, work: Path, directory: Path, with_origin: bool) -> None:
    """All files are complete: remove others, then give the directory its name."""
    shutil.rmtree(work / INCOMPLETE)
    if work != directory:
        remove_others(work, listing.files)
    if with_origin:
        hashes = {file.name: file.sha256 or hash_file(work / file.name) for file in listing.files}
        write_origin(work, Origin(listing.repo, listing.revision, hashes))
    if work != directory:
        work.rename(directory)


async def _is_complete(file: RemoteFile, work: Path, report: Callable[[Event], None]) -> bool:
    path = work / file.name
    if not path.exists():
        return False
    report(Checking(file.name))
    why = await asyncio.to_thread(check_file, path, file)
    report(Damaged(file.name, why, 0) if why else Checked(file.name))
    return why is None


async def _fetch_file(
    transfer: Transfer,
    file: RemoteFile,
    partial: PartialFile,
    work: Path,
    report: Callable[[Event], None],
) -> None:
    for _ in range(ATTEMPTS):
        await transfer.fetch(file, partial)
        why = await asyncio.to_thread(check_file, partial.path, file)
        if why is None:
            partial.move_to(work / file.name)
            report(Checked(file.name))
            return
        partial.forget()
        report(Damaged(file.name, why, file.size))
    raise DownloadError(
        f"{file.name} was damaged {ATTEMPTS} times: {why}; the server or the network changes the "
        "file, try another network or HF_ENDPOINT"
    )


def _client(hub: Hub, connections: int, silence: float) -> httpx.AsyncClient:
    # identity: byte ranges of a compressed body are not ranges of the file.
    headers = {"User-Agent": f"enginix/{__version__}", "Accept-Encoding": "identity"}
    if hub.token:
        headers["Authorization"] = f"Bearer {hub.token}"
    return httpx.AsyncClient(
        headers=headers,
        follow_redirects=True,
        timeout=httpx.Timeout(silence, connect=min(silence, 10.0), pool=None),
        limits=httpx.Limits(max_connections=connections),
    )
