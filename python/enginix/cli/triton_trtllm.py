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
from enginix.triton.server.nodes import REPOSITORY, SHM_PREFIX, Nodes
from enginix.triton.server.ranks import server_command, server_environment
from enginix.triton.server.repository import RenderOptions, render_repository
from enginix.triton.server.scratch_dir import ScratchDir

KIND = "tensorrt-llm"
# Each rank loads tens of gigabytes, perhaps from a slow disk.
START_TIMEOUT = 900.0


def check(engine: Path, manifest: Manifest, nodes: int) -> None:
    """Raise now what TensorRT-LLM would only report after minutes, and less clearly."""
    version = _installation().version(_path())
    require_fit(engine, manifest, Machine(_visible_gpus(), version, nodes))


def plan(
    engine: Path,
    manifest: Manifest,
    options: ServerOptions,
    scratch: ScratchDir,
    args: argparse.Namespace,
    nodes: Nodes | None,
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
    variables = environment.for_child()
    if nodes:
        variables |= _own_of_node(nodes.ranks_per_node(ranks), repository, scratch)
    command = server_command(
        triton,
        repository,
        options,
        ranks=ranks,
        shm_prefix=scratch.shm_prefix,
        path=_path(),
        nodes=nodes,
    )
    # Between machines NCCL needs what only their owner knows.
    variables = server_environment(triton, variables, [] if nodes else _nccl(ranks))
    deadline = args.start_timeout or START_TIMEOUT
    return Launch(command, variables, options, deadline, ranks, nodes)


def _own_of_node(ranks: int, repository: Path, scratch: ScratchDir) -> dict[str, str]:
    """What differs between the machines that share an engine's ranks."""
    # TensorRT-LLM takes the rank modulo the number of GPUs that it sees.
    gpus = [gpu.uuid for gpu in _visible_gpus()[:ranks]]
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(gpus),
        REPOSITORY: str(repository),
        SHM_PREFIX: scratch.shm_prefix,
    }


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
