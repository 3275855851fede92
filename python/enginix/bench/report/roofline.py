"""The ceiling of single-stream decoding: each token reads all weights from memory once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from enginix.errors import UsageError

# Peak memory bandwidth of one GPU in GB/s, by the name that nvidia-smi shows. Source: NVIDIA's data
# sheet or product page of each GPU ("memory bandwidth"); B200 and later: those of the DGX and NVL72
# systems, divided by their number of GPUs.
BANDWIDTH = {
    "NVIDIA A10": 600,
    "NVIDIA A100-PCIE-40GB": 1555,
    "NVIDIA A100-SXM4-40GB": 1555,
    "NVIDIA A100 80GB PCIe": 1935,
    "NVIDIA A100-SXM4-80GB": 2039,
    "NVIDIA A30": 933,
    "NVIDIA A40": 696,
    "NVIDIA B200": 8000,
    "NVIDIA B300 SXM6 AC": 8000,
    "NVIDIA GB10": 273,
    "NVIDIA GB200": 8000,
    "NVIDIA GB300": 8000,
    "NVIDIA GeForce RTX 3090": 936,
    "NVIDIA GeForce RTX 4090": 1008,
    "NVIDIA GeForce RTX 5090": 1792,
    "NVIDIA GH200 144G HBM3e": 4900,
    "NVIDIA GH200 480GB": 4000,
    "NVIDIA H100 80GB HBM3": 3350,
    "NVIDIA H100 NVL": 3900,
    "NVIDIA H100 PCIe": 2000,
    "NVIDIA H200": 4800,
    "NVIDIA H200 NVL": 4800,
    "NVIDIA L4": 300,
    "NVIDIA L40": 864,
    "NVIDIA L40S": 864,
    "NVIDIA RTX 6000 Ada Generation": 960,
    "NVIDIA RTX A6000": 768,
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": 1597,
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": 1792,
}

# Architectures that read all their weights for each token; a mixture of experts reads a part.
DENSE = {
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
}


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory that holds the weights, of all GPUs together."""

    gb_per_second: float
    name: str


@dataclass(frozen=True, slots=True)
class Roofline:
    tokens_per_second: float | None
    """None: unknown."""
    because: str
    """The basis of the number, or what is missing for it."""


def memory_of(text: str) -> Memory:
    """Of "H200" or "4x NVIDIA H100 80GB HBM3": words that occur in a name of the table.

    Raises UsageError if there is none, or if there are several with different bandwidths.
    """
    found = re.fullmatch(r"(?:(\d+) ?x ?)?(.+)", text.strip(), re.IGNORECASE)
    count, name = (int(found[1] or 1), found[2]) if found else (1, text)
    names = [name] if name in BANDWIDTH else _named(name)
    bandwidths = {BANDWIDTH[each] for each in names}
    if len(bandwidths) > 1:
        raise UsageError(f"--gpu {text}: expected one of {', '.join(names)}")
    if not bandwidths or not count:
        raise UsageError(
            f"--gpu {text}: its bandwidth is not known; expected [N x] one of "
            f"{', '.join(BANDWIDTH)}; or give all GPUs' memory bandwidth with --bandwidth GB/S"
        )
    many = f"{count} x " if count > 1 else ""
    each = bandwidths.pop()
    return Memory(count * each, f"{many}{name} at {each:g} GB/s (data sheet)")


def _named(name: str) -> list[str]:
    wanted = set(_words(name))
    return [each for each in BANDWIDTH if wanted and wanted <= set(_words(each))]


def _words(name: str) -> list[str]:
    return re.findall(r"\w+", name.lower())


def roofline(memory: Memory | None, weights: int | None, architecture: str | None) -> Roofline:
    """`weights` in bytes; `architecture` None: they are what a token reads, as the user says."""
    if memory is None:
        return Roofline(None, "unknown: say which GPUs serve it with --gpu, or --bandwidth GB/S")
    if not weights:
        return Roofline(None, "unknown: give the weights' size with --weights-bytes")
    if architecture is not None and architecture not in DENSE:
        return Roofline(
            None,
            f"unknown: {architecture} may read a part of its weights for a token; give the bytes "
            "it reads with --weights-bytes",
        )
    return Roofline(
        memory.gb_per_second * 1e9 / weights,
        f"{memory.name}, {weights / 1e9:.3g} GB of weights read for each token; without the KV "
        "cache, and without speculative decoding, which may exceed it",
    )
