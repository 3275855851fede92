"""The command line and environment of a tensorrt-llm engine's server: one process per rank."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from enginix.process import find_program
from enginix.triton.server.command import ServerOptions, tritonserver_command
from enginix.triton.server.installation import TensorrtLlmTriton
from enginix.triton.server.mpi import mpirun_command
from enginix.triton.server.nccl import Setting
from enginix.triton.server.nodes import REPOSITORY, SHM_PREFIX, Nodes, in_place

# A killed mpirun, or one whose output pipe is closed, leaves its ranks running. setpriv is part
# of util-linux, which NVIDIA's image, Debian and Ubuntu have; otherwise our Python does it.
SETPRIV = ("setpriv", "--pdeathsig", "KILL", "--")
IN_PYTHON = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


def server_command(
    triton: TensorrtLlmTriton,
    repository: Path,
    options: ServerOptions,
    *,
    ranks: int,
    shm_prefix: str,
    path: str,
    nodes: Nodes | None = None,
) -> list[str]:
    """tritonserver itself for one rank; for more, mpirun over one tritonserver each."""
    if ranks == 1:
        return tritonserver_command(triton.server, repository, options, shm_prefix=shm_prefix)
    here = nodes.ranks_per_node(ranks) if nodes else ranks
    commands = [
        rank_command(triton, options, rank, repository, shm_prefix, path)
        if rank < here
        else in_place(
            rank_command(triton, options, rank, Path(f"${REPOSITORY}"), f"${{{SHM_PREFIX}}}", path)
        )
        for rank in range(ranks)
    ]
    return mpirun_command(
        str(triton.mpirun(path)),
        commands,
        as_root=os.geteuid() == 0,
        oversubscribe=here > (os.cpu_count() or 1),
        placement=nodes.placement(ranks) if nodes else (),
    )


def rank_command(
    triton: TensorrtLlmTriton,
    options: ServerOptions,
    rank: int,
    repository: Path,
    shm_prefix: str,
    path: str,
) -> list[str]:
    command = tritonserver_command(
        triton.rank_server,
        repository,
        options,
        # The ranks of a machine must not share their Python models' memory.
        shm_prefix=f"{shm_prefix}{rank}_",
        # Rank 0 serves; the others only run the engine under its control.
        only=["tensorrt_llm"] if rank else [],
    )
    return [*die_with_parent(path), *command]


def die_with_parent(path: str) -> Sequence[str]:
    """A command prefix: the kernel kills the command when the process that starts it dies."""
    if find_program(SETPRIV[0], path):
        return SETPRIV
    return (sys.executable, "-I", "-S", "-c", IN_PYTHON)


def server_environment(
    triton: TensorrtLlmTriton,
    base: Mapping[str, str],
    nccl: Iterable[Setting],
) -> dict[str, str]:
    """`base` plus what the server needs; the user's settings win."""
    return {
        **{setting.name: setting.value for setting in nccl if setting.value is not None},
        **base,
        "PATH": triton.search_path(base.get("PATH", "")),
    }
