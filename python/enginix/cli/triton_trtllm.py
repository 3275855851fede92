"""Serves a tensorrt-llm engine for `enginix triton`: one process and one GPU per rank."""

from __future__ import annotations

import argparse
from pathlib import Path

from enginix.cli import environment
from enginix.manifest import Manifest
from enginix.triton.server.command import ServerOptions
from enginix.triton.server.compatibility import Machine, require_fit
from enginix.triton.server.gpus import Gpu, query_gpus, visible_gpus
from enginix.triton.server.installation import TensorrtLlmTriton, find_tensorrt_llm
from enginix.triton.server.launch import Launch
from enginix.triton.server.nccl import Setting, nccl_settings, query_links
from enginix.triton.server.ranks import server_command, server_environment
from enginix.triton.server.repository import RenderOptions, render_repository
from enginix.triton.server.scratch_dir import ScratchDir

KIND = "tensorrt-llm"
# Each rank loads tens of gigabytes, perhaps from a slow disk.
START_TIMEOUT = 900.0


def check(engine: Path, manifest: Manifest) -> None:
    """Raise now what TensorRT-LLM would only report after minutes, and less clearly."""
    require_fit(engine, manifest, Machine(_visible_gpus(), _installation().version(_path())))


def plan(
    engine: Path,
    manifest: Manifest,
    options: ServerOptions,
    scratch: ScratchDir,
    args: argparse.Namespace,
) -> Launch:
    triton = _installation()
    ranks = manifest.parallelism.world_size
    repository = scratch.directory / "repository"
    render_repository(
        engine,
        manifest,
        repository,
        RenderOptions(
            kv_cache_fraction=args.kv_cache_fraction, executor_worker=triton.executor_worker
        ),
    )
    command = server_command(
        triton, repository, options, ranks=ranks, shm_prefix=scratch.shm_prefix, path=_path()
    )
    variables = server_environment(triton, environment.for_child(), _nccl(ranks))
    return Launch(command, variables, options, args.start_timeout or START_TIMEOUT, ranks)


def _nccl(ranks: int) -> list[Setting]:
    """NCCL's settings for the ranks' GPUs; prints each with its reason."""
    gpus = [gpu.index for gpu in _visible_gpus()[:ranks]]
    settings = nccl_settings(query_links(), gpus, environment.everything())
    for item in settings:
        print(f"{item.name}={item.value}: {item.why}" if item.value else f"{item.name} {item.why}")
    return settings


def _installation() -> TensorrtLlmTriton:
    return find_tensorrt_llm(environment.runtime_override(KIND))


def _visible_gpus() -> list[Gpu]:
    return visible_gpus(query_gpus(), environment.everything().get("CUDA_VISIBLE_DEVICES"))


def _path() -> str:
    return environment.everything().get("PATH", "")
