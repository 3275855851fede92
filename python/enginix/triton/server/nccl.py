"""Chooses NCCL's settings from how the GPUs are connected.

NCCL's own guesses are made for machines with NVLink and InfiniBand; on PCIe boxes they cost users
hours. Path names are nvidia-smi's: NV# (NVLink), PIX and PXB (PCIe switches), PHB (one host
bridge), NODE (several host bridges of one socket), SYS (between sockets).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from enginix.errors import ProcessError
from enginix.process import find_program, run

PATIENCE = 20.0
PATHS = ("PIX", "PXB", "PHB", "NODE", "SYS")

Links = Mapping[tuple[int, int], str]


@dataclass(frozen=True, slots=True)
class Setting:
    """`value` None: the user's own setting stands, and `why` says which it is."""

    name: str
    value: str | None
    why: str


def query_links() -> Links:
    """(GPU, GPU) -> path name, from `nvidia-smi topo -m`; empty where there is none."""
    program = find_program("nvidia-smi")
    if program is None:
        return {}
    try:
        return parse_links(run([str(program), "topo", "-m"], timeout=PATIENCE))
    except ProcessError:
        return {}


def parse_links(text: str) -> Links:
    """The GPU rows and columns of the matrix; NICs and affinities are left out."""
    # Terminals get the header underlined with escape codes, and pipes do on some drivers.
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    header = next((line.split() for line in lines if re.match(r"\s+GPU0\b", line)), [])
    columns = [word for word in header if re.fullmatch(r"GPU\d+", word)]
    links = {}
    for line in lines:
        # A row begins with its name, the header with space.
        if re.match(r"GPU\d+\s", line):
            name, *cells = line.split()
            for column, path in zip(columns, cells, strict=False):
                if path != "X":
                    links[int(name[3:]), int(column[3:])] = path
    return links


def nccl_settings(links: Links, gpus: Sequence[int], user: Mapping[str, str]) -> list[Setting]:
    """What to set for ranks on these GPUs of one machine; `user` is the caller's environment."""
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
        # Better NCCL's own guess than ours about a machine we cannot see.
        return []
    shared = Setting("NCCL_SHM_DISABLE", "0", "pairs without direct copies use shared memory")
    if paths & {"NODE", "SYS"}:
        farthest = "SYS" if "SYS" in paths else "NODE"
        why = f"some pairs are {farthest} apart: direct copies only within one host bridge"
        return [Setting("NCCL_P2P_LEVEL", "PHB", why), shared]
    return [Setting("NCCL_P2P_LEVEL", "PHB", "the GPUs share one PCIe host bridge"), shared]
