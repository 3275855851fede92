"""Decides which server program serves a model on a machine.

Nothing here looks at the machine: facts go in, one verdict for each program comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from enginix.serve.servers import SERVERS, server_for_kind
from enginix.serve.servers.program import Reads, ServerProgram

# Beside the weights there are activations, the KV cache and the program itself.
OVERHEAD = 1.2
# The share of a GPU's free memory that a server may take.
USABLE = 0.9
CPU_BUILD = "-cpu"
"""The suffix of an environment kind that needs no GPU."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has; sizes in bytes."""

    gpus: tuple[int, ...] = ()
    """The free memory of each NVIDIA GPU; 0 where the driver does not report it."""
    memory: int = 0
    """Host memory that is available to programs."""
    disk: int = 0
    """Free bytes where enginix keeps engines and checkpoints."""
    installed: Mapping[str, str] = field(default_factory=dict)
    """Server program -> its environment's kind; empty if the user named the program."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Server program -> what else it needs that this machine lacks."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model in the form in which it is on this machine, or can be fetched."""

    reads: Reads
    """Its form: an engine, a checkpoint, or a GGUF file."""
    kind: str = ""
    """An engine's kind."""
    refusals: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Engine kind -> why a checkpoint cannot become an engine of it."""
    algo: str | None = None
    """How its weights are quantized."""
    weights: int = 0
    """Their size in bytes."""
    cache: int = 0
    """Bytes of the KV cache that llama.cpp allocates, as far as that is known."""
    context: int = 0
    """The context length in tokens; 0 if unknown."""
    fetches: int = 0
    """Bytes that are still to be downloaded."""
    builds: int = 0
    """Bytes of the llama.cpp engine that is still to be built from it."""
    ranks: int = 1
    """GPUs that an engine was built for."""
    preferred: str = ""
    """The engine kind that the catalogue names for it."""

    @property
    def host_memory(self) -> int:
        """The memory it needs on the CPU, in bytes."""
        return round(self.weights * OVERHEAD) + self.cache


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one server program can serve a model here, and how."""

    server: ServerProgram
    obstacle: str = ""
    """Why it cannot; empty if it can."""
    is_final: bool = False
    """Whether naming the program does not help: it cannot read the model, or is not installed."""
    ranks: int = 0
    """GPUs that it uses; 0: it runs on the CPU."""
    how: str = ""

    @property
    def line(self) -> str:
        return f"no: {self.obstacle}" if self.obstacle else f"could, {self.how}"


def judge(offer: Offer, machine: Machine, ranks: int | None = None) -> list[Verdict]:
    """One verdict for each server program; `ranks` is the number of GPUs that the user wants."""
    return [_judge(server, offer, machine, ranks) for server in SERVERS.values()]


def choose(verdicts: Sequence[Verdict], offer: Offer, engine: str | None = None) -> Verdict | None:
    """The program to use: what the catalogue means, else one on GPUs, else the first that can.

    A program that the user names in `engine` is used unless its obstacle is final.
    """
    if engine is not None:
        named = next(each for each in verdicts if engine in each.server.names)
        return None if named.is_final else named
    # For a TensorRT-LLM model this machine makes another kind of engine, so Triton is not meant.
    is_meant = offer.preferred not in ("", "tensorrt-llm")
    meant = server_for_kind(offer.preferred) if is_meant else None
    able = [each for each in verdicts if not each.obstacle]
    return min(able, key=lambda each: (each.server is not meant, each.ranks == 0), default=None)


def _judge(server: ServerProgram, offer: Offer, machine: Machine, ranks: int | None) -> Verdict:
    if why := _cannot_read(server, offer):
        return Verdict(server, why, is_final=True)
    if server.name in machine.lacks:
        return Verdict(server, machine.lacks[server.name], is_final=True)
    if server.reads is not Reads.CHECKPOINT:
        if offer.kind not in ("", "gguf"):
            return _on_gpus(server, offer, machine, offer.ranks)
        return _as_gguf(server, offer, machine, ranks)
    kind = machine.installed.get(server.name)
    if kind is None:
        return Verdict(server, _not_installed(server, offer, machine), is_final=True)
    if kind.endswith(CPU_BUILD):
        return _cpu_build(server, offer, machine)
    return _on_gpus(server, offer, machine, ranks)


def _cannot_read(server: ServerProgram, offer: Offer) -> str:
    """Why it can read neither the model nor what this machine can make from it."""
    if offer.reads is Reads.CHECKPOINT:
        if server.reads is Reads.ENGINE and "gguf" not in server.engine_kinds:
            kind = server.engine_kinds[0]
            return f"it serves engines, built with `enginix engine build --kind {kind}`"
        kind = server.engine_kinds[0] if server.reads is Reads.CHECKPOINT else "gguf"
        return next(iter(offer.refusals.get(kind, ())), "")
    if offer.reads is Reads.GGUF:
        return "" if server.reads is Reads.GGUF else "it does not read .gguf files"
    # llama-server reads the model.gguf of an engine that Triton is meant for.
    kinds = ("gguf",) if server.reads is Reads.GGUF else server.engine_kinds
    return "" if offer.kind in kinds else f"it does not serve engines of kind {offer.kind}"


def _as_gguf(server: ServerProgram, offer: Offer, machine: Machine, ranks: int | None) -> Verdict:
    is_built = offer.reads is not Reads.CHECKPOINT
    if ranks not in (None, 1):
        return Verdict(server, f"it runs in one process, not on {ranks} GPUs", is_final=True)
    obstacle = _too_little(offer, machine, offer.builds, on_cpu=True)
    how = "on the CPU" if is_built else "repacked without loss for llama.cpp, on the CPU"
    return Verdict(server, obstacle, how=how)


def _cpu_build(server: ServerProgram, offer: Offer, machine: Machine) -> Verdict:
    obstacle = _too_little(offer, machine, 0, on_cpu=True)
    if offer.algo:
        obstacle = f"it cannot run {offer.algo} weights on a CPU"
    return Verdict(server, obstacle, how="on the CPU")


def _on_gpus(server: ServerProgram, offer: Offer, machine: Machine, ranks: int | None) -> Verdict:
    gpus = machine.gpus
    if not gpus:
        return Verdict(server, "it needs an NVIDIA GPU, and there is none here")
    if ranks is not None and ranks > len(gpus):
        return Verdict(server, f"{ranks} GPUs are asked for, and there are {len(gpus)}", True)
    free, needed = min(gpus), round(offer.weights * OVERHEAD)
    tried = [ranks] if ranks else [2**n for n in range(8) if 2**n <= len(gpus)]
    # A driver that reports no memory (it is shared with the CPU) leaves it to the server.
    fitting = [each for each in tried if not free or needed / each <= free * USABLE]
    obstacle = _too_little(offer, machine, 0, on_cpu=False)
    if not fitting:
        obstacle = f"it needs about {_gb(needed)} of GPU memory: {len(gpus)} x {_gb(free)} is free"
    chosen = min(fitting or tried[-1:])
    return Verdict(
        server, obstacle, ranks=chosen, how=f"on {chosen} GPU{'s' if chosen > 1 else ''}"
    )


def _too_little(offer: Offer, machine: Machine, written: int, *, on_cpu: bool) -> str:
    """What is missing of memory, or of disk for the download and an engine of `written` bytes."""
    disk, memory = offer.fetches + written, offer.host_memory
    if disk > machine.disk:
        return f"it needs {_gb(disk)} of disk, and {_gb(machine.disk)} are free"
    if on_cpu and memory > machine.memory:
        text = f"it needs about {_gb(memory)} of memory, and {_gb(machine.memory)} are available"
        is_for_cache = memory - offer.cache <= machine.memory
        return f"{text}; a smaller --context needs less" if is_for_cache else text
    return ""


def _not_installed(server: ServerProgram, offer: Offer, machine: Machine) -> str:
    kinds = [recipe.kind for recipe in server.recipes]
    if not machine.gpus:
        kinds = [kind for kind in kinds if kind.endswith(CPU_BUILD)]
        if not kinds:
            return "it needs an NVIDIA GPU, and there is none here"
        if offer.algo:
            return f"it cannot run {offer.algo} weights on a CPU, and there is no GPU here"
    return f"it is not installed (enginix setup {kinds[0]})"


def _gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
