"""`enginix checkpoint lock`: writes commits and Nix hashes into the catalogue's files."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enginix.catalog.load import ModelSpec, SourceSpec, find_model, load_catalog
from enginix.catalog.lock import lock_source
from enginix.checkpoint.listing import Listing
from enginix.checkpoint.locate import checkpoint_home, fetched_directory
from enginix.checkpoint.nar import nar_hash
from enginix.checkpoint.origin import FILE_NAME as ORIGIN_FILE
from enginix.checkpoint.prefetch import hash_without_keeping
from enginix.cli.checkpoint_fetch import fetch_listing, hub, list_repository
from enginix.cli.environment import cache_home
from enginix.cli.views.console import print_progress
from enginix.cli.views.download import download_view
from enginix.cli.views.sizes import human_size
from enginix.errors import (
    CatalogError,
    CheckpointError,
    DownloadError,
    HubUnreachable,
    UsageError,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A catalogue entry to lock, and its current state at the hub."""

    spec: ModelSpec
    listing: Listing

    @property
    def directory(self) -> Path:
        return fetched_directory(cache_home(), self.listing.repo, self.listing.revision)


def lock(args: argparse.Namespace) -> int:
    specs = _wanted(args)
    if not os.access(args.catalog, os.W_OK):
        raise CatalogError(f"{args.catalog} cannot be written; lock in a checkout of enginix")
    entries, failures = _look_up(specs, args)
    if not (args.revisions or args.no_keep):
        _require_room(entries)
    for number, entry in enumerate(entries, start=1):
        print_progress(f"[{number}/{len(entries)}] {entry.spec.name}: {entry.listing.repo}")
        try:
            print(_lock(entry, args), flush=True)
        except HubUnreachable:
            # The others would fail the same way, each after minutes.
            raise
        except (DownloadError, CheckpointError) as error:
            failures[entry.spec.name] = str(error)
            print_progress(f"{entry.spec.name} is not locked: {error}")
    if failures and args.all:
        print_progress(
            f"{len(failures)} of {len(specs)} entries not locked: {', '.join(sorted(failures))}; "
            "do what is said above and run the same command again, it does only what is missing"
        )
    return 1 if failures else 0


def _wanted(args: argparse.Namespace) -> list[ModelSpec]:
    if bool(args.name) == args.all:
        raise UsageError("expected the NAME of a catalogue model or --all, one of the two")
    if args.all and args.revision:
        raise UsageError("--revision is of one repository; leave it out, or name one model")
    if args.revision and args.update:
        raise UsageError("--update takes main's commit, --revision another; leave one out")
    if args.no_keep and args.revisions:
        raise UsageError("--revisions downloads nothing; leave out --no-keep")
    if not args.all:
        spec = find_model(args.name, args.catalog)
        if spec.source.repo is None:
            raise UsageError(f"{spec.name} is shipped with enginix: it has no revision to lock")
        return [spec]
    return [spec for spec in load_catalog(args.catalog).values() if spec.source.repo]


def _look_up(
    specs: Sequence[ModelSpec], args: argparse.Namespace
) -> tuple[list[Entry], dict[str, str]]:
    """The entries that the hub has, and the reason for each one that it lacks."""
    entries, failures = [], {}
    for spec in specs:
        source = spec.source
        assert source.repo is not None
        if args.all and not args.update and _is_locked(source, revisions=args.revisions):
            print(f"{spec.name}: locked already, at {source.revision}")
            continue
        revision = args.revision or (None if args.update else source.revision) or "main"
        try:
            entries.append(Entry(spec, list_repository(source.repo, revision)))
        except HubUnreachable:
            raise
        except DownloadError as error:
            failures[spec.name] = str(error)
            print_progress(f"{spec.name} is not locked: {error}")
    return entries, failures


def _is_locked(source: SourceSpec, *, revisions: bool) -> bool:
    return source.pinned and (revisions or source.nar_hash is not None)


def _lock(entry: Entry, args: argparse.Namespace) -> str:
    """Write the entry's file; return a line on what changed."""
    source, revision = entry.spec.source, entry.listing.revision
    same_commit = source.revision == revision
    if args.revisions:
        hash_ = source.nar_hash if same_commit else None
    elif args.all and args.update and same_commit and source.nar_hash:
        hash_ = source.nar_hash
    else:
        hash_ = _hash(entry, keep=not args.no_keep)
    if (revision, hash_) == (source.revision, source.nar_hash):
        return f"{entry.spec.name}: unchanged, at {revision}"
    lock_source(args.catalog / f"{entry.spec.name}.toml", revision, hash_)
    changes = [_change("revision", source.revision, revision)]
    if hash_ or source.nar_hash:
        changes.append(_change("nar_hash", source.nar_hash, hash_))
    return f"{entry.spec.name}: {', '.join(changes)}"


def _change(key: str, before: str | None, after: str | None) -> str:
    if after is None:
        return f"nar_hash removed, it was of {before}: lock without --revisions"
    return f"{key} {after}" + (f" (was {before})" if before not in (None, after) else "")


def _hash(entry: Entry, *, keep: bool) -> str:
    listing, directory = entry.listing, entry.directory
    if keep or directory.is_dir():
        fetch_listing(listing, directory, with_origin=True)
        _require_only(listing, directory)
        return nar_hash(directory, without={ORIGIN_FILE})
    passing = checkpoint_home(cache_home()) / f".locking-{directory.name}"
    with download_view(sys.stderr) as said:
        return asyncio.run(hash_without_keeping(hub(), listing, passing, said))


def _require_room(entries: Sequence[Entry]) -> None:
    """Refuse before the first byte, not when half a download has filled the disk."""
    missing = sum(
        max(entry.listing.size_bytes - _fetched_bytes(entry.directory), 0)
        for entry in entries
        if not entry.directory.is_dir()
    )
    home = cache_home()
    nearest = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    if missing > free:
        raise DownloadError(
            f"{human_size(missing)} are to come into {home}, which has {human_size(free)} free; "
            "hash them with --no-keep, which needs room for the largest file only, lock only "
            "--revisions, or set ENGINIX_HOME to a larger disk"
        )


def _fetched_bytes(directory: Path) -> int:
    """Bytes of an interrupted fetch, in sparse files of the final length."""
    partial = directory.with_name(directory.name + ".partial")
    return sum(path.stat().st_blocks * 512 for path in partial.rglob("*") if path.is_file())


def _require_only(listing: Listing, directory: Path) -> None:
    """Refuse other files: Nix fetches only what is listed, and its hash must match."""
    files = {ORIGIN_FILE, *(file.name for file in listing.files)}
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    if extra := sorted(found - files):
        raise DownloadError(
            f"{directory} holds {extra[0]}, which is not among the files of {listing.repo} that "
            "are fetched; remove it, and lock again"
        )
