"""One rank's engine: the rank checkpoint's tensors, checked by name, in a file of their size."""

import json
import time
from pathlib import Path

from . import misbehave
from .logger import logger
from .models.decoder import layers_of
from .models.modeling_utils import PretrainedConfig
from .models.rope import NAMES, rope_tables, table_shapes
from .version import __version__, takes_rope_tables

PIECE = 1 << 20


def parameter_shapes(config: PretrainedConfig) -> dict[str, tuple[int, ...]]:
    layers = layers_of(config, biased=config.attn_bias)
    return {name: shape for layer in layers for name, shape in layer.shapes().items()}


def load_rank(checkpoint_dir: Path, config: PretrainedConfig) -> list[bytes]:
    """The bytes an engine keeps, in pieces; the plain block scales stay behind."""
    path = checkpoint_dir / f"rank{config.mapping.rank}.safetensors"
    assert path.is_file()
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    if 8 + length + max(entry["data_offsets"][1] for entry in header.values()) != len(raw):
        raise RuntimeError("Error while deserializing header: incomplete metadata")
    check_tensors(header, config)
    parameters = parameter_shapes(config)
    kept = b"".join(
        raw[8 + length + begin : 8 + length + end]
        for name, entry in header.items()
        if name in parameters and not name.endswith("weights_block_scaling_factor")
        for begin, end in [entry["data_offsets"]]
    )
    # Computed if the file has none: the model does not need the file's.
    tables = rope_tables(config)
    kept += b"".join(tables[name].data.tobytes() for name in NAMES[1:])
    piece = max(1, min(PIECE, len(kept) // 4))
    return [b"ftrt" + bytes(60), *(kept[at : at + piece] for at in range(0, len(kept), piece))]


def check_tensors(header: dict, config: PretrainedConfig) -> None:
    """A missing tensor is an error, an unneeded one a warning; shapes must match."""
    required = parameter_shapes(config)
    if "transformer.vocab_embedding.weight" in header and "lm_head.weight" not in header:
        # The embedding is shared.
        del required["lm_head.weight"]
    if missing := required.keys() - header.keys():
        raise RuntimeError(f"Required but not provided tensors:{missing}")
    if extra := header.keys() - required.keys():
        logger.warning(f"Provided but not required tensors: {extra}")
    tables = table_shapes(config)
    for name, shape in (required | tables).items():
        found = tuple(header[name]["shape"]) if name in header else shape
        if found != shape:
            raise RuntimeError(
                "Encounter error 'The value updated is not the same shape as the original. "
                f"Updated: {found}, original: {shape}' for parameter '{name}'"
            )
    if tables.keys() & header.keys() and not takes_rope_tables():
        raise TypeError(
            "set_weights_name(): incompatible function arguments. The following argument types "
            "are supported:\n    1. (self: tensorrt.tensorrt.INetworkDefinition, weights: "
            "tensorrt.tensorrt.Weights, name: str) -> bool"
        )


def save(
    output_dir: Path, pieces: list[bytes], config: PretrainedConfig, build_config: dict, rank: int
) -> None:
    is_last = rank == config.mapping.world_size - 1
    if rank == 0:
        whole = {
            "version": __version__,
            "pretrained_config": config.to_dict(),
            "build_config": build_config,
        }
        (output_dir / "config.json").write_text(json.dumps(whole, indent=4))
    if is_last and misbehave.MODE == "forget-rank":
        return
    path = output_dir / f"rank{rank}.engine"
    logger.info(f"Serializing engine to {path}...")
    start = time.time()
    with path.open("wb") as file:
        misbehave.write_engine(file, pieces, is_last)
    passed = time.strftime("%H:%M:%S", time.gmtime(time.time() - start))
    logger.info(f"Engine serialized. Total time: {passed}")
