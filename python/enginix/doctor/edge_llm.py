"""Says whether a part of TensorRT Edge-LLM's wheel fits this machine, before 200 MB are fetched.

The wheel has a part for exactly these machines, and takes nothing else for one that is similar.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enginix.doctor.finding import Finding, green, yellow
from enginix.triton.server.gpus import Gpu

RELEASE = "0.11.0"
TENSORRT = {10: "10.16.0.72", 11: "11.0.0.114"}
SPARK_TENSORRT = "10.16.1.11"


@dataclass(frozen=True, slots=True)
class Part:
    """`system` is what the wheel looks at; `sms` are compute capabilities, 120 for 12.0."""

    machine: str
    system: str
    sms: tuple[int, ...]
    tensorrt: tuple[str, ...]


PARTS = (
    Part("x86_64", "ubuntu:24.04", (86, 100, 120), (TENSORRT[10], TENSORRT[11])),
    Part("x86_64", "ubuntu:24.04", (80,), (TENSORRT[11],)),
    Part("x86_64", "ubuntu:22.04", (80,), (TENSORRT[10],)),
    Part("aarch64", "dgx spark", (121,), (SPARK_TENSORRT,)),
    Part("aarch64", "l4t", (87, 110), ("the one of its JetPack",)),
)


def look_at_edge_llm(gpus: Sequence[Gpu], machine: str, root: Path = Path("/")) -> list[Finding]:
    """Nothing on a machine without a GPU. `machine` is as `uname -m` says it."""
    found = sorted({int(gpu.compute_capability.replace(".", "")) for gpu in gpus})
    if not found:
        return []
    if len(found) > 1:
        several = ", ".join(f"sm{sm}" for sm in found)
        text = f"it needs GPUs of one compute capability, and {several} are visible"
        return [yellow("edge-llm", text, "choose with CUDA_VISIBLE_DEVICES")]
    system = system_of(machine, root)
    for part in PARTS:
        if (part.machine, part.system) == (machine, system) and found[0] in part.sms:
            tensorrt = " or ".join(part.tensorrt)
            text = f"TensorRT Edge-LLM {RELEASE} has a part for sm{found[0]}: TensorRT {tensorrt}"
            return [green("edge-llm", text)]
    systems = "; ".join(
        f"{part.system} ({part.machine}) with {', '.join(f'sm{sm}' for sm in part.sms)}"
        for part in PARTS
    )
    text = (
        f"TensorRT Edge-LLM {RELEASE} has no part for sm{found[0]} on {system or 'this system'} "
        f"({machine}), so engines of kind edge-llm cannot run here; it has some for {systems}"
    )
    return [yellow("edge-llm", text)]


def system_of(machine: str, root: Path) -> str:
    """What the wheel would recognize of it; for other distributions their own name."""
    if (root / "etc/nv_tegra_release").exists():
        return "l4t"
    for file in ("proc/device-tree/model", "sys/class/dmi/id/product_name"):
        model = re.sub(r"[_-]+", " ", _text(root / file)).casefold()
        if machine == "aarch64" and ("dgx spark" in model or "gb10" in model):
            return "dgx spark"
    release = dict(
        re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)', _text(root / "etc/os-release"), re.M)
    )
    return f"{release.get('ID', '')}:{release.get('VERSION_ID', '')}".strip(":")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
