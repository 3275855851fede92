"""Checks the driver, the GPUs and their links."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

from enginix.doctor.finding import Finding, green, red, yellow
from enginix.errors import ProcessError
from enginix.process import find_program, run
from enginix.triton.server.gpus import Gpu, query_gpus, visible_gpus
from enginix.triton.server.nccl import nccl_settings, query_links

# NixOS keeps the driver's libraries out of the loader's default path.
NIXOS_LIBCUDA = Path("/run/opengl-driver/lib/libcuda.so.1")


def look_at_gpus(environment: Mapping[str, str]) -> list[Finding]:
    if find_program("nvidia-smi") is None:
        return [
            yellow(
                "gpu",
                "no NVIDIA driver: engines of kind gguf run on the CPU, all others need a GPU",
            )
        ]
    gpus = query_gpus()
    if not gpus:
        return [
            red("gpu", _nvidia_smi_output(), "reinstall the driver, or reboot after its update")
        ]
    visible = visible_gpus(gpus, environment.get("CUDA_VISIBLE_DEVICES"))
    findings = [_libcuda(gpus[0].driver), *(_gpu(gpu) for gpu in visible)]
    if len(visible) < len(gpus):
        findings.append(
            yellow("gpu", f"CUDA_VISIBLE_DEVICES hides {len(gpus) - len(visible)} of {len(gpus)}")
        )
    return [*findings, *_links([gpu.index for gpu in visible], environment)]


def _libcuda(driver: str) -> Finding:
    for name in ("libcuda.so.1", str(NIXOS_LIBCUDA)):
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return green("driver", f"{driver}, libcuda loads")
    return red(
        "driver",
        f"{driver}, but libcuda.so.1 cannot be loaded",
        "install the driver's CUDA library (Debian: libcuda1; NixOS: hardware.graphics.enable)",
    )


def _gpu(gpu: Gpu) -> Finding:
    text = f"{gpu.index}: {gpu.name}, compute capability {gpu.compute_capability}"
    if not gpu.memory_total:
        return green("gpu", f"{text}, memory shared with the CPU")
    text += f", {gpu.memory_free / 1024:.1f} of {gpu.memory_total / 1024:.1f} GiB free"
    if gpu.memory_free < gpu.memory_total / 2:
        return yellow("gpu", text, "find the process that uses it with nvidia-smi")
    return green("gpu", text)


def _links(gpus: list[int], environment: Mapping[str, str]) -> list[Finding]:
    settings = nccl_settings(query_links(), gpus, environment)
    chosen = (
        f"{item.name}={item.value} ({item.why})" if item.value else f"{item.name} {item.why}"
        for item in settings
    )
    return [green("nccl", text) for text in chosen]


def _nvidia_smi_output() -> str:
    try:
        return run(["nvidia-smi"], timeout=20).strip() or "nvidia-smi lists no GPU"
    except ProcessError as error:
        return str(error)
