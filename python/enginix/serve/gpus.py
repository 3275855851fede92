"""A profile's GPUs and those of this machine, as `nvidia-smi -L` lists them: are they there, and
which does each replica get.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from enginix.errors import UsageError
from enginix.process import find_program, run
from enginix.serve.environment import Environment
from enginix.serve.model_entry import ModelEntry
from enginix.serve.model_server import gpus_needed
from enginix.serve.profile import Profile, check, memory_by_gpu

GPU = re.compile(r"^GPU (\d+): .*\(UUID: (GPU-[0-9a-f-]+)\)")
MIG = re.compile(r"^\s+MIG .*\(UUID: (MIG-[0-9A-Za-z/-]+)\)")


def with_gpus(profile: Profile, environment: Environment) -> Profile:
    """GPUs of this machine for models with several servers that name none.

    Without nvidia-smi nothing changes; UsageError if there are too few.
    """
    lacking = [one for one in profile.models if one.replicas_here > 1 and not one.gpus]
    needed = {one.name: gpus_needed(one, environment) for one in lacking}
    smi = find_program("nvidia-smi")
    if smi is None or not any(needed.values()):
        return profile
    listed = listed_devices(run([str(smi), "-L"], timeout=20))
    gpus = sorted({device for device in listed.values() if device.isdigit()}, key=int)
    models = [assigned(one, needed.get(one.name, 0), gpus) for one in profile.models]
    changed = replace(profile, models=models)
    check(changed, profile.name)
    return changed


def assigned(entry: ModelEntry, each: int, gpus: Sequence[str]) -> ModelEntry:
    """The entry with `each` of the machine's GPUs for each of its replicas; 0: it needs none."""
    needed = each * entry.replicas_here
    if needed > len(gpus):
        raise UsageError(
            f"{entry.name}: replicas is {entry.replicas_here}, which need {needed} GPUs, {each} "
            f"each; nvidia-smi -L lists {len(gpus)}; choose fewer with "
            f"--set {entry.name}.replicas=N, or name servers elsewhere as endpoints"
        )
    return replace(entry, gpus=list(gpus[:needed])) if needed else entry


def check_gpus(profile: Profile) -> list[str]:
    """Refuse a GPU that is not there; return a warning for each that several models share."""
    if any(entry.gpus for entry in profile.models) and (smi := find_program("nvidia-smi")):
        check_devices(profile, listed_devices(run([str(smi), "-L"], timeout=20)))
    return shared_devices(profile)


def listed_devices(text: str) -> dict[str, str]:
    """Number or UUID -> the device; a MIG device has a UUID only."""
    devices: dict[str, str] = {}
    for line in text.splitlines():
        if gpu := GPU.match(line):
            number, uuid = gpu.groups()
            devices |= {number: number, uuid: number}
        elif mig := MIG.match(line):
            devices[mig[1]] = mig[1]
    return devices


def check_devices(profile: Profile, devices: dict[str, str]) -> None:
    """Refuse a GPU that is not there, before a server fails with a less clear message."""
    for entry in profile.models:
        for word in entry.gpus:
            if word not in devices:
                known = ", ".join(devices) or "none"
                raise UsageError(
                    f"{entry.name}: gpus: there is no device {word!r} here; nvidia-smi -L lists "
                    f"{known}; choose with --set '{entry.name}.gpus=[\"0\"]'"
                )


def shared_devices(profile: Profile) -> list[str]:
    """A warning for each GPU whose memory several models share, with the sum."""
    warnings = []
    staying = [entry for entry in profile.models if not entry.on_demand]
    for gpu, shares in memory_by_gpu(staying).items():
        if len(shares) > 1:
            which = "every GPU" if gpu is None else f"GPU {gpu}"
            parts = " + ".join(f"{name} {share:g}" for name, share in shares.items())
            warnings.append(f"{which} is shared: {parts} = {sum(shares.values()):g} of its memory")
    return warnings
