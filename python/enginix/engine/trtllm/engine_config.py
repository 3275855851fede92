"""Reads an engine's config.json, as trtllm-build writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginix.checkpoint.architecture import FAMILIES, Sizes, is_dense
from enginix.engine.trtllm.modules import Decoder
from enginix.engine.trtllm.quant_config import NEVER_QUANTIZED
from enginix.engine.trtllm.rank_tensors import (
    DTYPES,
    PACKINGS,
    RankTensor,
    rank_tensors,
    rope_tables,
)
from enginix.errors import EngineDamaged, engine_damaged
from enginix.hub_files import read_object
from enginix.manifest import Limits, Parallelism, Quantization

CONFIG_FILE = "config.json"
ENGINE_KEYS = ("version", "pretrained_config", "build_config")
# Above all real values: a wrong number must not become a huge list of file or tensor names.
MAX_RANKS = 4096
MAX_LAYERS = 10_000


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The values of an engine's config.json."""

    version: str
    architecture: str
    dtype: str
    quantization: Quantization
    parallelism: Parallelism
    limits: Limits
    vocabulary: int | None
    decoder: Decoder | None
    """None: an architecture whose size enginix cannot compute."""

    @property
    def rank_files(self) -> list[str]:
        return [f"rank{rank}.engine" for rank in range(self.parallelism.world_size)]

    def tensors(self) -> dict[str, RankTensor]:
        """One rank's weights; empty if they are not known."""
        known = self.dtype in DTYPES and self.quantization.algo in (None, *PACKINGS)
        if self.decoder is None or not known or self.parallelism.pp != 1:
            return {}
        return rank_tensors(self.decoder, self.quantization, self.dtype, self.parallelism.tp)

    @property
    def table_bytes(self) -> int:
        """Upper bound of the rotary tables, which can exceed a small model's weights."""
        if self.decoder is None:
            return 0
        return sum(table.size_bytes for table in rope_tables(self.decoder.sizes).values())

    @property
    def may_be_tied(self) -> bool:
        """Whether the output head may be the embedding; not every config.json states it."""
        return self.decoder is None or self.decoder.sizes.tied_embeddings


def read_engine(directory: Path) -> EngineConfig:
    """Parse config.json; EngineDamaged if trtllm-build did not write it."""
    path = directory / CONFIG_FILE
    data = _read_config(path)
    config, build = data["pretrained_config"], data["build_config"]
    mapping, quantization = config.get("mapping"), config.get("quantization")
    if not isinstance(mapping, dict) or not isinstance(quantization, dict):
        raise EngineDamaged(f"{path}: pretrained_config has no mapping or quantization")
    try:
        return EngineConfig(
            version=str(data["version"]),
            architecture=_name(config, "architecture"),
            dtype=_name(config, "dtype"),
            quantization=_quantization(quantization),
            parallelism=_parallelism(mapping),
            limits=Limits(
                _number(build, "max_batch_size"),
                _number(build, "max_seq_len"),
                _number(build, "max_num_tokens"),
            ),
            vocabulary=_number(config, "vocab_size") if "vocab_size" in config else None,
            decoder=_decoder(config),
        )
    except KeyError as error:
        raise engine_damaged(f"{path}: {error} is missing") from None
    except ValueError as error:
        raise engine_damaged(f"{path}: {error}") from None


def _read_config(path: Path) -> dict[str, Any]:
    data = read_object(path, EngineDamaged)
    if data is None:
        raise engine_damaged(f"{path} is missing")
    if any(key not in data for key in ENGINE_KEYS):
        # Triton's error for this is "builder_config not found".
        raise EngineDamaged(
            f"{path} is not the one trtllm-build writes: it lacks some of "
            f"{', '.join(ENGINE_KEYS)}; if a checkpoint's config.json was copied over it, build "
            "the engine again"
        )
    if not all(isinstance(data[key], dict) for key in ENGINE_KEYS[1:]):
        raise EngineDamaged(f"{path}: expected objects in {' and '.join(ENGINE_KEYS[1:])}")
    return data


def _decoder(config: Mapping[str, Any]) -> Decoder | None:
    family = FAMILIES.get(config["architecture"])
    if family is None or not is_dense(family) or config.get("mlp_bias"):
        return None
    if bool(config.get("attn_bias")) != family.qkv_bias:
        return None
    sizes = Sizes(
        layers=_number(config, "num_hidden_layers", MAX_LAYERS),
        hidden=_number(config, "hidden_size"),
        heads=_number(config, "num_attention_heads"),
        kv_heads=_number(config, "num_key_value_heads"),
        head_size=_number(config, "head_size"),
        intermediate=_number(config, "intermediate_size"),
        vocabulary=_number(config, "vocab_size"),
        context=_number(config, "max_position_embeddings")
        if config.get("max_position_embeddings")
        else 0,
        tied_embeddings=bool(config.get("tie_word_embeddings", True)),
    )
    return Decoder(sizes, family.query_key_norm, family.qkv_bias)


def _quantization(found: Mapping[str, Any]) -> Quantization:
    for key in ("quant_algo", "kv_cache_quant_algo"):
        if not isinstance(found.get(key), str | None):
            raise ValueError(f"{key} is {found[key]!r}, expected a name or null")
    exclude = found.get("exclude_modules") or _default_excluded()
    if not isinstance(exclude, list) or not all(isinstance(name, str) for name in exclude):
        raise ValueError(f"exclude_modules is {exclude!r}, expected a list of names")
    return Quantization(
        algo=found.get("quant_algo"),
        kv_cache_algo=found.get("kv_cache_quant_algo"),
        group_size=None if found.get("group_size") is None else _number(found, "group_size"),
        exclude=exclude,
    )


def _parallelism(mapping: Mapping[str, Any]) -> Parallelism:
    tp, pp = _number(mapping, "tp_size", MAX_RANKS), _number(mapping, "pp_size", MAX_RANKS)
    cp = _number(mapping, "cp_size", MAX_RANKS) if "cp_size" in mapping else 1
    world_size = _number(mapping, "world_size", MAX_RANKS)
    if world_size != tp * pp * cp:
        raise ValueError(f"world_size is {world_size}, expected {tp} x {pp} x {cp} ranks")
    return Parallelism(tp, pp, world_size)


def _name(values: Mapping[str, Any], key: str) -> str:
    value = values[key]
    if not isinstance(value, str):
        raise ValueError(f"{key} is {value!r}, expected a name")
    return value


def _number(values: Mapping[str, Any], key: str, limit: int = 2**31) -> int:
    """A whole number from 1 to `limit`."""
    value = values[key]
    if type(value) is not int or not 1 <= value <= limit:
        raise ValueError(f"{key} is {value!r}, expected a whole number from 1 to {limit}")
    return value


def _default_excluded() -> list[str]:
    return ["*lm_head", *NEVER_QUANTIZED]
