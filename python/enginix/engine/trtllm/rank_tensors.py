"""The expected tensors of a rank checkpoint, and their comparison with a file.

TensorRT-LLM only warns about a wrong shape and pads with zeros; this compares every tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path

from enginix.checkpoint.architecture import Sizes
from enginix.checkpoint.tensors import DTYPE_BITS, read_header
from enginix.engine.trtllm.modules import NVFP4_BLOCK, Decoder, Module, linear_modules
from enginix.errors import CheckpointDamaged, ConversionWrong
from enginix.manifest import Quantization

DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}

PLAIN_SCALES = ".weights_block_scaling_factor"
"""Kept in the rank checkpoint; the engine holds the interleaved ones instead."""

ROPE_TABLES = ("embed_positions", "rotary_inv_freq", "embed_positions_for_gpt_attention")
"""TensorRT-LLM registers them on the model itself (`Attention.create_attention_const_params`), so
`save_checkpoint` writes them into every rank file. They follow from config.json alone."""

# An engine holds its weights and little else; TensorRT omits only small parts.
LEAST_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class RankTensor:
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * DTYPE_BITS[self.dtype] // 8

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def rank_tensors(
    decoder: Decoder, quantization: Quantization, dtype: str, ranks: int
) -> dict[str, RankTensor]:
    """Every tensor of one rank; `quantization.exclude` holds TensorRT-LLM's names."""
    plain = DTYPES[dtype]
    pack = PACKINGS.get(quantization.algo)
    found = dict(_other_tensors(decoder, quantization, plain))
    for module in linear_modules(decoder, ranks):
        if pack and not _is_excluded(module.name, quantization):
            found |= pack(module)
        else:
            found[f"{module.name}.weight"] = RankTensor(plain, (module.rows, module.columns))
        if module.bias:
            found[f"{module.name}.bias"] = RankTensor(plain, (module.rows,))
    return found


def rope_tables(sizes: Sizes) -> dict[str, RankTensor]:
    """The rotary position tables, the same on every rank."""
    length, size = sizes.context, sizes.head_size
    shapes = ((1, length, size), (size // 2,), (1, length * size))
    return {name: RankTensor("F32", shape) for name, shape in zip(ROPE_TABLES, shapes, strict=True)}


def engine_bytes(tensors: Mapping[str, RankTensor]) -> int:
    """Bytes of one rank's weights; compiled code and rotary tables come on top."""
    return sum(
        tensor.size_bytes
        for name, tensor in tensors.items()
        if not name.endswith(PLAIN_SCALES) and name not in ROPE_TABLES
    )


def least_engine_bytes(tensors: Mapping[str, RankTensor], *, tied: bool) -> int:
    """A lower bound of an engine's bytes: a head tied to the embedding may be stored once."""
    head = tensors.get("lm_head.weight")
    shared = head.size_bytes if tied and head else 0
    return round((engine_bytes(tensors) - shared) * LEAST_SHARE)


def check_rank_file(path: Path, wanted: Mapping[str, RankTensor]) -> None:
    """Raise ConversionWrong unless the file holds exactly the expected tensors."""
    found = _read_rank_file(path)
    if missing := [name for name in ROPE_TABLES if name in wanted and name not in found]:
        raise ConversionWrong(
            f"{path.name} lacks {', '.join(missing)}, which every TensorRT-LLM that builds engines "
            "writes; convert again, the build strips them for the versions that cannot read them "
            "(0.16, 1.x.0rc1)"
        )
    for what, names in (
        ("missing", wanted.keys() - found.keys()),
        ("unexpected", found.keys() - wanted.keys()),
    ):
        if names:
            raise ConversionWrong(
                f"{path.name} has {len(names)} {what} tensors, the first is {min(names)}; "
                "the checkpoint does not suit this TensorRT-LLM, and nothing was built from it"
            )
    for name, expected in wanted.items():
        if found[name] != expected:
            raise ConversionWrong(
                f"{path.name}: {name} is {found[name]}, expected {expected}; "
                "TensorRT-LLM padded or converted it wrongly, and nothing was built from it"
            )


def least_bytes_of(rank_file: Path, *, tied: bool) -> int:
    """A lower bound of the bytes of an engine made from this rank file."""
    return least_engine_bytes(_read_rank_file(rank_file), tied=tied)


def _read_rank_file(path: Path) -> dict[str, RankTensor]:
    try:
        header = read_header(path)
    except CheckpointDamaged as error:
        raise ConversionWrong(f"the conversion left no complete rank file: {error}") from error
    return {name: RankTensor(each.dtype, each.shape) for name, each in header.items()}


def _is_excluded(name: str, quantization: Quantization) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in quantization.exclude)


def _nvfp4(module: Module) -> dict[str, RankTensor]:
    scales = RankTensor("F8_E4M3", (module.rows, module.columns // NVFP4_BLOCK))
    one = RankTensor("F32", (1,))
    return {
        f"{module.name}.weight": RankTensor("U8", (module.rows, module.columns // 2)),
        f"{module.name}{PLAIN_SCALES}": scales,
        f"{module.name}{PLAIN_SCALES}_interleaved": scales,
        f"{module.name}.weights_global_scaling_factor": one,
        f"{module.name}.activation_global_scaling_factor": one,
        f"{module.name}.alpha": one,
    }


def _fp8(module: Module) -> dict[str, RankTensor]:
    one = RankTensor("F32", (1,))
    return {
        f"{module.name}.weight": RankTensor("F8_E4M3", (module.rows, module.columns)),
        f"{module.name}.weights_scaling_factor": one,
        f"{module.name}.activation_scaling_factor": one,
    }


# Algorithm -> the tensors of one module; unquantized modules have only their weight.
PACKINGS: dict[str | None, Callable[[Module], dict[str, RankTensor]]] = {
    "NVFP4": _nvfp4,
    "FP8": _fp8,
}


def _other_tensors(
    decoder: Decoder, quantization: Quantization, plain: str
) -> Iterator[tuple[str, RankTensor]]:
    sizes = decoder.sizes
    hidden = RankTensor(plain, (sizes.hidden,))
    yield (
        "transformer.vocab_embedding.weight",
        RankTensor(plain, (sizes.vocabulary, sizes.hidden)),
    )
    yield "transformer.ln_f.weight", hidden
    for index in range(sizes.layers):
        layer = f"transformer.layers.{index}"
        yield f"{layer}.input_layernorm.weight", hidden
        yield f"{layer}.post_layernorm.weight", hidden
        if decoder.query_key_norm:
            for norm in ("q_layernorm", "k_layernorm"):
                yield f"{layer}.attention.{norm}.weight", RankTensor(plain, (sizes.head_size,))
        if quantization.kv_cache_algo == "FP8":
            for factor in ("kv_cache_scaling_factor", "kv_cache_rcp_scaling_factor"):
                yield f"{layer}.attention.{factor}", RankTensor("F32", (1,))
