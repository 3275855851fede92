"""`enginix checkpoint fetch`: downloads a repository's files."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from enginix.catalog.load import DIRECTORY, find_model, is_commit
from enginix.checkpoint.download import fetch_files
from enginix.checkpoint.listing import DEFAULT_ENDPOINT, Hub, Listing, list_files
from enginix.checkpoint.load import open_checkpoint
from enginix.checkpoint.locate import fetched_directory, find_fetched
from enginix.checkpoint.staging import work_directory
from enginix.cli.environment import cache_home, hub_endpoint, hub_token
from enginix.cli.find_checkpoint import split_revision
from enginix.cli.views.console import print_progress
from enginix.cli.views.download import download_view
from enginix.errors import DownloadError, HubUnreachable, UsageError


def fetch(args: argparse.Namespace) -> int:
    repo, pinned = find_repository(args.source)
    revision = args.revision or pinned
    if args.offline:
        print(_on_this_machine(args.out, repo, revision))
        return 0
    listing = _list(repo, revision, args.include)
    is_model = "/" not in args.source and not args.revision
    warn_if_unpinned(args.source, revision, listing, is_model=is_model)
    directory = args.out or fetched_directory(cache_home(), repo, listing.revision)
    fetch_listing(listing, directory, with_origin=not args.files_only)
    print(directory)
    return 0


def _list(repo: str, revision: str | None, include: list[str]) -> Listing:
    try:
        return list_repository(repo, revision, include)
    except HubUnreachable as error:
        raise HubUnreachable(
            f"{error}, or pass --offline to use what is on this machine"
        ) from error


def list_repository(repo: str, revision: str | None, include: list[str] | None = None) -> Listing:
    with download_view(sys.stderr) as said:
        return list_files(hub(), repo, revision or "main", include or [], said)


def fetch_listing(listing: Listing, directory: Path, *, with_origin: bool) -> None:
    with download_view(sys.stderr) as said:
        try:
            asyncio.run(fetch_files(hub(), listing, directory, said, with_origin=with_origin))
        except KeyboardInterrupt:
            here = work_directory(directory)
            print_progress(f"stopped; what came is in {here}, the same command goes on there")
            raise


def hub() -> Hub:
    # These log each request's URL, and a redirect's URL is signed: it grants access.
    for name in ("httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return Hub(hub_endpoint() or DEFAULT_ENDPOINT, hub_token())


def warn_if_unpinned(
    source: str, revision: str | None, listing: Listing, *, is_model: bool
) -> None:
    if is_commit(revision):
        return
    pinned = f"{listing.repo}@{listing.revision}"
    pin = f"with `enginix checkpoint lock {source}`" if is_model else f"by its name: {pinned}"
    print_progress(
        f"{source} is not pinned: {revision or 'main'} of {listing.repo} is commit "
        f"{listing.revision} now; pin it {pin}"
    )


def find_repository(source: str) -> tuple[str, str | None]:
    """(repository, revision) of `org/name`, `org/name@revision`, or of a catalogue model."""
    if "/" in source:
        return split_revision(source)
    found = find_model(source, DIRECTORY).source
    if found.repo is None:
        raise UsageError(
            f"{source} is shipped with enginix, in {found.directory}: nothing to fetch"
        )
    return found.repo, found.revision


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
