"""Chooses NCCL's settings from how the GPUs are connected.

NCCL's defaults assume NVLink and InfiniBand; on PCIe machines they cost users hours. Path names
are nvidia-smi's: NV# (NVLink), PIX and PXB (PCIe switches), PHB (one host
bridge), NODE (several host bridges of one socket), SYS (between sockets).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from enginix.errors import ProcessError
from enginix.process import find_program, run

TIMEOUT_SECONDS = 20.0
PATHS = ("PIX", "PXB", "PHB", "NODE", "SYS")

Links = Mapping[tuple[int, int], str]


@dataclass(frozen=True, slots=True)
class Setting:
    """`value` None: the user's own setting applies, and `why` names it."""

    name: str
    value: str | None
    why: str


def query_links() -> Links:
    """(GPU, GPU) -> path name, from `nvidia-smi topo -m`; empty without nvidia-smi."""
    program = find_program("nvidia-smi")
    if program is None:
        return {}
    try:
        return parse_links(run([str(program), "topo", "-m"], timeout=TIMEOUT_SECONDS))
    except ProcessError:
        return {}


def parse_links(text: str) -> Links:
    """Read the GPU rows and columns of the matrix; skip NICs and affinities."""
    # On terminals, and with some drivers in pipes, escape codes underline the header.
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    header = next((line.split() for line in lines if re.match(r"\s+GPU0\b", line)), [])
    columns = [word for word in header if re.fullmatch(r"GPU\d+", word)]
    links = {}
    for line in lines:
        # A row starts with its name, the header with a space.
        if re.match(r"GPU\d+\s", line):
            name, *cells = line.split()
            for column, path in zip(columns, cells, strict=False):
                if path != "X":
                    links[int(name[3:]), int(column[3:])] = path
    return links


def nccl_settings(links: Links, gpus: Sequence[int], user: Mapping[str, str]) -> list[Setting]:
    """Settings for ranks on these GPUs of one machine; `user` is the caller's environment."""
    paths = {links.get(pair, "unknown") for pair in combinations(sorted(gpus), 2)}
    if not paths:
        return []
    chosen = [
        Setting("NCCL_IB_DISABLE", "1", "all ranks are on this machine, InfiniBand is not needed"),
        *_peer_to_peer(paths),
    ]
    return [
        Setting(item.name, None, f"kept as you set it: {user[item.name]}")
        if item.name in user
        else item
        for item in chosen
    ]


def _peer_to_peer(paths: set[str]) -> list[Setting]:
    if all(path.startswith("NV") for path in paths):
        return [Setting("NCCL_P2P_LEVEL", "NVL", "every pair of GPUs has NVLink")]
    if "unknown" in paths or not paths <= {*PATHS, *(path for path in paths if path[:2] == "NV")}:
        # The topology is unknown: keep NCCL's default.
        return []
    shared = Setting("NCCL_SHM_DISABLE", "0", "pairs without peer-to-peer use shared memory")
    if paths & {"NODE", "SYS"}:
        farthest = "SYS" if "SYS" in paths else "NODE"
        why = f"some pairs are {farthest} apart: peer-to-peer only within one host bridge"
        return [Setting("NCCL_P2P_LEVEL", "PHB", why), shared]
    return [Setting("NCCL_P2P_LEVEL", "PHB", "the GPUs share one PCIe host bridge"), shared]
