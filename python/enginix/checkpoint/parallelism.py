"""Whether tensor parallelism divides a model: its heads, widths and NVFP4 block scales."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from enginix.checkpoint.architecture import LinearLayer, Sizes

# TensorRT-LLM interleaves block scales in tiles of 128 rows x 4 scales of 16 weights each, and
# its loader does not pad.
TILE_ROWS = 128
TILE_COLUMNS = 4 * 16

# TensorRT-LLM stacks these projections into one matrix.
STACKED = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv"}


def undivided(sizes: Sizes, ranks: int) -> Iterator[str]:
    """Sentences about sizes that cannot be divided into `ranks` equal parts."""
    numbers = {
        "attention heads": sizes.heads,
        "the MLP's intermediate size": sizes.intermediate if not sizes.experts else 0,
        "the experts' intermediate size": sizes.expert_intermediate,
        "the shared expert's intermediate size": sizes.shared_expert_intermediate,
    }
    for what, number in numbers.items():
        if number % ranks:
            yield f"tensor parallel {ranks} does not divide {what}, {number}"
    if sizes.kv_heads % ranks and ranks % sizes.kv_heads:
        yield f"tensor parallel {ranks} does not divide the key and value heads, {sizes.kv_heads}"


def too_many_ranks(sizes: Sizes, ranks: int) -> Iterator[str]:
    """TensorRT-LLM's NVFP4 loader does not repeat key and value heads on several ranks."""
    if ranks > sizes.kv_heads:
        yield (
            f"tensor parallel {ranks} is more than the {sizes.kv_heads} key and value heads, "
            "which TensorRT-LLM does not repeat in quantized layers"
        )


def broken_tiles(
    layers: Iterable[LinearLayer], algorithms: Mapping[str, str | None], ranks: int
) -> list[str]:
    """Sentences about NVFP4 layers that do not fill their block-scale tiles on every rank."""
    found: dict[str, list[str]] = {}
    for role, rows, columns in sorted(_weights_per_rank(layers, algorithms, ranks)):
        if rows % TILE_ROWS:
            found.setdefault(f"{rows:g} rows", []).append(role)
        if columns % TILE_COLUMNS:
            found.setdefault(f"{columns:g} columns", []).append(role)
    return [
        f"{', '.join(roles)}: {size} per rank, but TensorRT-LLM's block scales need a multiple of "
        f"{TILE_ROWS if size.endswith('rows') else TILE_COLUMNS}"
        for size, roles in found.items()
    ]


def _weights_per_rank(
    layers: Iterable[LinearLayer], algorithms: Mapping[str, str | None], ranks: int
) -> set[tuple[str, float, float]]:
    """(role, rows, columns) of each kind of NVFP4 weight, as one rank holds it."""
    stacked: dict[tuple[str, int], float] = {}
    found = set()
    for layer in layers:
        if algorithms.get(layer.name) != "NVFP4":
            continue
        rows = layer.rows / ranks if layer.split == "rows" else layer.rows
        columns = layer.columns / ranks if layer.split == "columns" else layer.columns
        if layer.role in STACKED:
            block = (layer.name.rpartition(".")[0], layer.columns)
            stacked[block] = stacked.get(block, 0) + rows
        else:
            found.add((layer.role, rows, columns))
    return found | {("qkv", rows, columns) for (_, columns), rows in stacked.items()}
