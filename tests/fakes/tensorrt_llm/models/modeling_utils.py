"""QuantConfig and PretrainedConfig, with the fields and defaults of TensorRT-LLM 1.2."""

import json
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..logger import logger
from ..mapping import Mapping
from ..quantization.mode import KV_CACHE_QUANT_ALGO_LIST, QuantAlgo

DEFAULT_EXCLUDED = (
    "*lm_head",
    "*router",
    "*vocab_embedding",
    "*position_embedding",
    "*block_embedding",
    "*shared_expert_gate",
    "*fused_a",
)


@dataclass
class QuantConfig:
    """Strict: an unknown field is a TypeError, an unknown algorithm an error when it is used."""

    quant_algo: QuantAlgo | None = None
    kv_cache_quant_algo: QuantAlgo | None = None
    group_size: int = 128
    smoothquant_val: float = 0.5
    clamp_val: list[float] | None = None
    use_meta_recipe: bool = False
    has_zero_point: bool = False
    pre_quant_scale: bool = False
    exclude_modules: list[str] | None = None
    mamba_ssm_cache_dtype: str | None = None

    def __post_init__(self) -> None:
        assert self.quant_algo is None or self.quant_algo in list(QuantAlgo), (
            f"Unsupported quant algo: {self.quant_algo}"
        )
        assert self.kv_cache_quant_algo is None or (
            self.kv_cache_quant_algo in KV_CACHE_QUANT_ALGO_LIST
        ), f"Unsupported KV cache quant algo: {self.kv_cache_quant_algo}"

    def quantizes(self, module: str) -> bool:
        """A list of patterns replaces the default ones; it does not extend them."""
        patterns = self.exclude_modules or DEFAULT_EXCLUDED
        return self.quant_algo is not None and not any(
            fnmatchcase(module, pattern) for pattern in patterns
        )

    @classmethod
    def from_dict(cls, config: dict) -> "QuantConfig":
        return cls(**config)

    def to_dict(self) -> dict:
        return asdict(self)


class PretrainedConfig:
    """What `config.json` of a rank checkpoint holds; unknown keys become attributes."""

    def __init__(self, *, architecture: str, mapping=None, quantization=None, **values) -> None:
        self.architecture = architecture
        self.mapping = Mapping(**mapping) if isinstance(mapping, dict) else mapping or Mapping()
        if isinstance(quantization, dict):
            quantization = QuantConfig.from_dict(quantization)
        self.quantization = quantization or QuantConfig()
        self.values = values

    def __getattr__(self, name: str):
        try:
            return self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(
                f"'{type(self).__name__}' object has no attribute '{name}'"
            ) from None

    def to_dict(self) -> dict:
        mapping = self.mapping.to_dict()
        mapping.pop("rank")
        return {
            **self.values,
            "architecture": self.architecture,
            "mapping": mapping,
            "quantization": self.quantization.to_dict(),
        }

    def to_json_file(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_dict(), indent=4))

    @classmethod
    def from_json_file(cls, path: Path) -> "PretrainedConfig":
        from . import MODEL_MAP

        config = json.loads(Path(path).read_text())
        MODEL_MAP[config["architecture"]]
        return cls(**config)


def warn_of_implicit(config_name: str, values: dict) -> None:
    for key, value in values.items():
        logger.warning(f"Implicitly setting {config_name}.{key} = {value}")
