"""The command line and environment of a tensorrt-llm engine's server: one process for each rank."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from enginix.process import find_program
from enginix.triton.command import ServerOptions, tritonserver_command
from enginix.triton.installation import TensorrtLlmTriton
from enginix.triton.mpi import mpirun_command
from enginix.triton.nccl import Setting

# An mpirun that is killed, or whose output nobody reads any more, leaves its ranks behind. setpriv
# is of util-linux, which NVIDIA's image and every Debian and Ubuntu have.
DIES_WITH_MPIRUN = ("setpriv", "--pdeathsig", "KILL", "--")


def server_command(
    triton: TensorrtLlmTriton,
    repository: Path,
    options: ServerOptions,
    *,
    ranks: int,
    shm_prefix: str,
    path: str,
) -> list[str]:
    """tritonserver itself for one rank, mpirun over one tritonserver each for more."""
    if ranks == 1:
        return tritonserver_command(triton.server, repository, options, shm_prefix=shm_prefix)
    dies_along = DIES_WITH_MPIRUN if find_program(DIES_WITH_MPIRUN[0], path) else ()
    commands = [
        [
            *dies_along,
            *tritonserver_command(
                triton.rank_server,
                repository,
                options,
                # All ranks are on one machine and must not share their Python models' memory.
                shm_prefix=f"{shm_prefix}{rank}_",
                # Rank 0 serves; the others only run the engine, as rank 0 tells them.
                only=["tensorrt_llm"] if rank else [],
            ),
        ]
        for rank in range(ranks)
    ]
    return mpirun_command(
        str(triton.mpirun(path)),
        commands,
        as_root=os.geteuid() == 0,
        oversubscribe=ranks > (os.cpu_count() or 1),
    )


def server_environment(
    triton: TensorrtLlmTriton,
    base: Mapping[str, str],
    nccl: Iterable[Setting],
) -> dict[str, str]:
    """`base` with what the server needs; what the user has set stands."""
    return {
        **{setting.name: setting.value for setting in nccl if setting.value is not None},
        **base,
        "PATH": triton.search_path(base.get("PATH", "")),
    }
