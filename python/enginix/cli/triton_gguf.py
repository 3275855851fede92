"""Serves a gguf engine for `enginix triton`: on the CPU, in the triton-cpu runtime."""

from __future__ import annotations

import argparse
from pathlib import Path

from enginix.cli import environment
from enginix.manifest import Manifest, check_files
from enginix.runtimes.find import find_triton_cpu
from enginix.runtimes.runtime import TRITON_CPU
from enginix.runtimes.triton_cpu import (
    cache_directory,
    check_runtime,
    link_backends,
    tritonserver,
)
from enginix.runtimes.triton_cpu import environment as runtime_environment
from enginix.triton.server.command import Installation, ServerOptions, tritonserver_command
from enginix.triton.server.launch import Launch
from enginix.triton.server.nodes import Nodes
from enginix.triton.server.repository import RenderOptions, render_repository
from enginix.triton.server.scratch_dir import ScratchDir

START_TIMEOUT = 120.0


def check(engine: Path, manifest: Manifest, nodes: int) -> None:
    check_files(engine, manifest)


def plan(
    engine: Path,
    manifest: Manifest,
    options: ServerOptions,
    scratch: ScratchDir,
    args: argparse.Namespace,
    nodes: Nodes | None,
) -> Launch:
    override = environment.runtime_override(TRITON_CPU.kind)
    runtime = find_triton_cpu(environment.cache_home(), override)
    check_runtime(runtime)
    repository, backends = scratch.directory / "repository", scratch.directory / "backends"
    render_repository(engine, manifest, repository, RenderOptions(threads=args.threads))
    link_backends(runtime, backends)
    command = tritonserver_command(
        Installation(tritonserver(runtime), backends, cache_directory(runtime)),
        repository,
        options,
        shm_prefix=scratch.shm_prefix,
    )
    variables = runtime_environment(runtime, environment.for_child())
    return Launch(command, variables, options, args.start_timeout or START_TIMEOUT)
