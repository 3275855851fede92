"""`enginix engine rebuild`: makes the same engine again, from its manifest alone."""

from __future__ import annotations

import argparse
import glob
from pathlib import Path

from enginix import __version__
from enginix.catalog.load import is_commit, load_catalog
from enginix.checkpoint.load import hash_files
from enginix.checkpoint.locate import fetched_directory, find_fetched
from enginix.cli import engine_gguf, engine_trtllm, environment
from enginix.cli.find_checkpoint import find_checkpoint_directory
from enginix.cli.find_engine import find_directory
from enginix.cli.signals import terminated_as_exit
from enginix.cli.views.console import print_progress
from enginix.cli.views.stages import StageLines
from enginix.engine.build import Build, build_engine
from enginix.engine.output import require_free
from enginix.engine.rebuild import (
    comparing,
    job_of,
    other_keys,
    other_versions,
    read_expected,
    require_listing,
    require_rebuildable,
    require_source,
)
from enginix.engine.trtllm.build import ask_versions, tensorrt_llm_build
from enginix.engine.trtllm.plan import Options
from enginix.engine.trtllm.rank_tensors import DTYPES
from enginix.errors import BuildError, EngineDamaged, NotACheckpoint, NotAnEngine
from enginix.manifest import BuiltWith, Manifest, Recipe, read_manifest, read_manifest_file

ABOUT = """\
Rebuild an engine from its manifest alone, and compare the result with the
original.

The source files are fetched at the recorded commit, or taken from --checkpoint;
each must have the recorded sha256. The build uses the recorded options. A gguf
engine must be identical byte for byte. For tensorrt-llm, the rank checkpoint
and the tokenizer must be; TensorRT's own engine files may differ and are not
compared. An engine that differs is not kept.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "engine", type=find_directory, metavar="MANIFEST|DIR|NAME", help="the engine to rebuild"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: as for build")
    parser.add_argument("--replace", action="store_true", help="replace an existing engine")
    parser.add_argument(
        "--checkpoint",
        type=find_checkpoint_directory,
        metavar="DIR|REPO",
        help="the source files, instead of the hub",
    )
    parser.add_argument("--work-dir", type=Path, metavar="DIR", help="keep finished stages there")
    parser.add_argument("--keep-work", action="store_true", help="keep them after success")
    parser.set_defaults(action=rebuild)


def rebuild(args: argparse.Namespace) -> int:
    manifest = _read(args.engine)
    recipe = require_rebuildable(args.engine, manifest)
    expected = read_expected(manifest, args.engine if args.engine.is_dir() else None)
    name = engine_trtllm.require_name(manifest.name)
    out = args.out or environment.cache_home() / "engines" / name
    require_free(out, replace=args.replace)
    if manifest.kind == engine_trtllm.KIND:
        # Report a missing runtime before fetching gigabytes for it.
        engine_trtllm.find_python()
    checkpoint = args.checkpoint or _source(manifest)
    require_source(checkpoint, manifest)
    build = comparing(_build(manifest, recipe, checkpoint, out, args), expected)
    lines = StageLines()
    with terminated_as_exit():
        try:
            made = build_engine(build, out, lines, replace_it=args.replace)
        except BuildError:
            if manifest.kind == engine_trtllm.KIND:
                engine_trtllm.after_failure(out, args)
            raise
        finally:
            lines.clear()
    if manifest.kind == engine_trtllm.KIND:
        engine_trtllm.after_build(out, args)
    print(f"{out}: rebuilt {manifest.name}, {expected.compared}; {_rest(manifest, made)}")
    return 0


def _read(path: Path) -> Manifest:
    if path.is_dir():
        return read_manifest(path)
    try:
        return read_manifest_file(path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotAnEngine(path, "it does not exist") from None


def _source(manifest: Manifest) -> Path:
    """The directory of the source files: shipped, already fetched, or fetched now."""
    source = manifest.source
    if source.repo is None:
        spec = load_catalog().get(manifest.name)
        if spec is None or spec.source.directory is None:
            raise NotACheckpoint(
                f"{manifest.name} was built from a local directory, which cannot be fetched; "
                "name the directory of its source files with --checkpoint DIR"
            )
        return spec.source.directory
    home = environment.cache_home()
    if is_commit(source.revision):
        found = find_fetched(home, source.repo, source.revision)
        if found and hash_files(found) == source.files:
            return found
    return _fetched(manifest, source.repo, home)


def _fetched(manifest: Manifest, repo: str, home: Path) -> Path:
    # The hub's library takes a second to import; most rebuilds do not need it.
    from enginix.cli.checkpoint_fetch import fetch_listing, list_repository

    source = manifest.source
    if not source.revision:
        print_progress(
            f"the manifest records no commit of {repo}: main must still have the same files"
        )
    names = [glob.escape(name) for name in source.files]
    listing = list_repository(repo, source.revision, names)
    require_listing(listing, manifest)
    directory = fetched_directory(home, repo, listing.revision)
    fetch_listing(listing, directory, with_origin=True)
    return directory


def _build(
    manifest: Manifest, recipe: Recipe, checkpoint: Path, out: Path, args: argparse.Namespace
) -> Build:
    """The kind's own build; prints which versions differ from the recorded ones."""
    job = job_of(manifest, checkpoint)
    if manifest.kind == engine_gguf.KIND:
        # Imports numpy and gguf, which other kinds do not need.
        from enginix.engine.gguf.build import libraries

        _print_differences(manifest, BuiltWith(__version__), libraries())
        return engine_gguf.builder(job, out, None)
    options = _options(args.engine, recipe)
    context = engine_trtllm.build_context(out, args)
    _print_differences(manifest, ask_versions(options, context), {})
    return tensorrt_llm_build(job, options, context)


def _options(where: Path, recipe: Recipe) -> Options:
    try:
        dtype = recipe.options["dtype"]
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}")
        return Options(
            dtype=dtype,
            max_input_len=_number(recipe, "max_input_len"),
            workers=_number(recipe, "workers"),
            rank_hashes=recipe.rank_checkpoint,
        )
    except (KeyError, ValueError) as error:
        raise EngineDamaged(
            f"{where}: recipe: options: {recipe.options} are not build options ({error}); build "
            "the engine again with `enginix engine build`"
        ) from error


def _number(recipe: Recipe, name: str) -> int | None:
    value = recipe.options.get(name)
    if value is not None and int(value) < 1:
        raise ValueError(f"{name} is {value}")
    return None if value is None else int(value)


def _print_differences(manifest: Manifest, now: BuiltWith, libraries: dict[str, str]) -> None:
    differences = list(other_versions(manifest, now, libraries))
    print_progress(
        "versions differ: " + "; ".join(differences)
        if differences
        else "all versions are the recorded ones"
    )


def _rest(before: Manifest, after: Manifest) -> str:
    if before.kind == engine_trtllm.KIND:
        ranks = len(before.recipe.rank_checkpoint) if before.recipe else 0
        return (
            f"{ranks} files of the rank checkpoint are identical; TensorRT's own files are not "
            "compared"
        )
    keys = other_keys(before, after)
    return f"manifest.json differs in {', '.join(keys)}" if keys else "manifest.json is identical"
