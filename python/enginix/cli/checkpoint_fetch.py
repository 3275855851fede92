"""`enginix checkpoint fetch` and `lock`: the hub's files on this machine, and their pins."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from enginix.catalog.load import DIRECTORY, find_model
from enginix.catalog.lock import lock_source
from enginix.checkpoint.arrival import work_directory
from enginix.checkpoint.download import (
    DEFAULT_ENDPOINT,
    Hub,
    Listing,
    fetch_files,
    list_files,
)
from enginix.checkpoint.load import open_checkpoint
from enginix.checkpoint.locate import fetched_directory, find_fetched
from enginix.checkpoint.nar import nar_hash
from enginix.cli.download_view import download_view
from enginix.cli.environment import cache_home, hub_endpoint, hub_token
from enginix.errors import DownloadError, UsageError


def fetch(args: argparse.Namespace) -> int:
    repo, pinned = _repository(args.source)
    revision = args.revision or pinned
    if args.offline:
        print(_on_this_machine(args.out, repo, revision))
        return 0
    listing = list_files(_hub(), repo, revision or "main", args.include)
    directory = args.out or fetched_directory(cache_home(), repo, listing.revision)
    _fetch(listing, directory)
    print(directory)
    return 0


def lock(args: argparse.Namespace) -> int:
    spec = find_model(args.name, args.catalog)
    if spec.source.repo is None:
        raise UsageError(f"{spec.name} is shipped with enginix: it has no revision to lock")
    revision = args.revision or spec.source.revision or "main"
    listing = list_files(_hub(), spec.source.repo, revision)
    directory = fetched_directory(cache_home(), listing.repo, listing.revision)
    _fetch(listing, directory)
    _require_only(listing, directory)
    hash_ = nar_hash(directory)
    lock_source(args.catalog / f"{spec.name}.toml", listing.revision, hash_)
    print(f"{spec.name}: revision {listing.revision}, nar_hash {hash_}")
    return 0


def _repository(source: str) -> tuple[str, str | None]:
    """(repository, pinned revision) of `org/name`, or of a catalogue model."""
    if "/" in source:
        return source, None
    found = find_model(source, DIRECTORY).source
    if found.repo is None:
        raise UsageError(
            f"{source} is shipped with enginix, in {found.directory}: nothing to fetch"
        )
    return found.repo, found.revision


def _hub() -> Hub:
    # These log each request with its URL, and a redirect's URL is signed: whoever has it may read.
    for name in ("httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return Hub(hub_endpoint() or DEFAULT_ENDPOINT, hub_token())


def _fetch(listing: Listing, directory: Path) -> None:
    with download_view(sys.stderr) as said:
        try:
            asyncio.run(fetch_files(_hub(), listing, directory, said))
        except KeyboardInterrupt:
            here = work_directory(directory)
            print(
                f"stopped; what came is in {here}, the same command goes on there",
                file=sys.stderr,
            )
            raise


def _on_this_machine(out: Path | None, repo: str, revision: str | None) -> Path:
    directory = out or find_fetched(cache_home(), repo, revision)
    if directory is None or not directory.is_dir():
        wanted = f"{repo} at {revision}" if revision else repo
        raise DownloadError(
            f"{wanted} is not on this machine, and --offline forbids to fetch it; "
            "run the command once without"
        )
    open_checkpoint(directory)
    return directory


def _require_only(listing: Listing, directory: Path) -> None:
    """Nix will fetch what is listed, so the hash must be of nothing else."""
    files = {file.name for file in listing.files}
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    if extra := sorted(found - files):
        raise DownloadError(
            f"{directory} holds {extra[0]}, which is not among the files of {listing.repo} that "
            "are fetched; remove it, and lock again"
        )
