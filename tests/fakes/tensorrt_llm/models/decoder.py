"""Dense decoders: which parameters a rank has, where each comes from, and how it is sliced."""

import sys
from dataclasses import dataclass
from pathlib import Path

from .. import misbehave
from ..mapping import Mapping
from ..tensors import Checkpoint, Tensor, save_file
from .hf_config import VALID_QWEN_TYPES, model_dtype, read_hf_config
from .layers import Embedding, KvCacheScales, Linear, Norm, QkvLinear
from .modeling_utils import PretrainedConfig, QuantConfig, warn_of_implicit
from .rope import rope_tables

DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


@dataclass
class PretrainedModel:
    config: PretrainedConfig
    weights: dict[str, Tensor]

    @classmethod
    def from_hugging_face(
        cls,
        hf_model_or_dir: str,
        dtype: str = "auto",
        mapping: Mapping | None = None,
        quant_config: QuantConfig | None = None,
        **kwargs,
    ) -> "PretrainedModel":
        for known in ("load_model_on_cpu", "use_autoawq", "trust_remote_code"):
            kwargs.pop(known, None)
        directory = Path(hf_model_or_dir)
        if not directory.is_dir():
            raise NotImplementedError("args.model_dir is not a directory!")
        hf = read_hf_config(directory)
        cls.check(hf)
        warn_of_implicit(cls.config_name, kwargs)
        config = PretrainedConfig(
            architecture=hf["architectures"][0],
            mapping=mapping,
            quantization=quant_config,
            **_common(hf, model_dtype(dtype, hf)),
            **cls.own(hf),
            **kwargs,
        )
        checkpoint = Checkpoint(directory)
        weights = {}
        for count, layer in enumerate(layers_of(config, biased=cls.biased(hf)), 1):
            weights.update(layer.load(checkpoint, config.mapping))
            # As tqdm writes it, on standard error, over and over on one line.
            print(f"\r{count}it [00:00, 999.99it/s]", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return cls(config, weights)

    def save_checkpoint(self, output_dir: str, save_config: bool = True) -> None:
        # Every parameter of the model is written, also those that no checkpoint provides.
        weights = misbehave.while_converting({**rope_tables(self.config), **self.weights})
        save_file(weights, Path(output_dir) / f"rank{self.config.mapping.rank}.safetensors")
        if save_config:
            if misbehave.MODE == "lose-quantization":
                self.config.quantization = QuantConfig()
            self.config.to_json_file(Path(output_dir) / "config.json")


class QWenForCausalLM(PretrainedModel):
    config_name = "QWenConfig"

    @staticmethod
    def check(hf: dict) -> None:
        kind = hf["model_type"]
        assert kind in VALID_QWEN_TYPES, (
            f"Unsupported Qwen type: {kind}, only {VALID_QWEN_TYPES} are acceptable."
        )
        if kind not in ("qwen2", "qwen3"):
            raise NotImplementedError(f"the stand-in does not imitate {kind}")

    @staticmethod
    def biased(hf: dict) -> bool:
        return hf["model_type"] == "qwen2"

    @staticmethod
    def own(hf: dict) -> dict:
        return {
            "attn_bias": hf["model_type"] == "qwen2",
            "num_labels": 1,
            "mlp_only_layers": [],
            "decoder_sparse_step": 1,
            "moe": moe(normalization_mode=0),
            "seq_length": 8192,
            "qwen_type": hf["model_type"],
            "use_logn_attn": False,
            "moe_intermediate_size": 0,
            "moe_shared_expert_intermediate_size": 0,
            "tie_word_embeddings": hf["tie_word_embeddings"],
            "qk_layernorm": hf["model_type"] == "qwen3",
        }


class LLaMAForCausalLM(PretrainedModel):
    config_name = "LLaMAConfig"

    @staticmethod
    def check(hf: dict) -> None:
        if hf["model_type"] not in ("llama", "mistral"):
            raise NotImplementedError(f"the stand-in does not imitate {hf['model_type']}")

    @staticmethod
    def biased(hf: dict) -> bool:
        return bool(hf.get("attention_bias"))

    @staticmethod
    def own(hf: dict) -> dict:
        return {
            "attn_bias": bool(hf.get("attention_bias")),
            "residual_mlp": False,
            "moe": moe(normalization_mode=None),
            "remove_duplicated_kv_heads": False,
            "fc_after_embed": False,
            "use_input_layernorm_in_first_layer": True,
            "use_last_layernorm": True,
            "layer_idx_offset": 0,
            "embedding_multiplier": 1.0,
            "attention_multiplier": 1.0,
            "residual_multiplier": 1.0,
            "output_multiplier_scale": 1.0,
            "has_partial_lora_mask": False,
            "qk_layernorm": False,
            "tie_word_embeddings": hf["tie_word_embeddings"],
        }


class Unimitated(PretrainedModel):
    @classmethod
    def from_hugging_face(cls, hf_model_or_dir: str, *args, **kwargs) -> PretrainedModel:
        architecture = read_hf_config(Path(hf_model_or_dir))["architectures"][0]
        raise NotImplementedError(f"the stand-in does not imitate {architecture}")


def moe(normalization_mode: int | None) -> dict:
    """A dense model has it too."""
    return {
        "num_experts": 0,
        "shared_expert_intermediate_size": 0,
        "top_k": 0,
        "normalization_mode": normalization_mode,
        "sparse_mixer_epsilon": 0.01,
        "tp_mode": 0,
        "device_limited_n_group": 0,
        "device_limited_topk_group": 0,
        "device_limited_routed_scaling_factor": 1.0,
    }


def _common(hf: dict, dtype: str) -> dict:
    return {
        "mlp_bias": False,
        "rotary_base": hf["rope_theta"],
        "rotary_scaling": hf.get("rope_scaling"),
        "disable_weight_only_quant_plugin": False,
        "dtype": dtype,
        "vocab_size": hf["vocab_size"],
        "hidden_size": hf["hidden_size"],
        "num_hidden_layers": hf["num_hidden_layers"],
        "num_attention_heads": hf["num_attention_heads"],
        "num_key_value_heads": hf["num_key_value_heads"],
        "head_size": hf["head_dim"],
        "hidden_act": hf.get("hidden_act", "silu"),
        "logits_dtype": "float32",
        "norm_epsilon": hf.get("rms_norm_eps", 1e-6),
        "runtime_defaults": None,
        "position_embedding_type": "rope_gpt_neox",
        "intermediate_size": hf["intermediate_size"],
        "max_position_embeddings": hf.get("max_position_embeddings"),
        "use_parallel_embedding": False,
        "embedding_sharding_dim": 0,
        "rotary_embedding_dim": hf["head_dim"],
    }


def layers_of(config: PretrainedConfig, *, biased: bool) -> list:
    """Every layer that has parameters, in the order of the original's module tree."""
    tp = config.mapping.tp_size
    if config.num_attention_heads % tp:
        raise AssertionError("num_attention_heads must be divisible by tp_size")
    heads, kv, size = config.num_attention_heads, config.num_key_value_heads, config.head_size
    hidden, wide = config.hidden_size, config.intermediate_size
    dtype, quantization = DTYPES[config.dtype], config.quantization
    found: list = [Embedding("transformer.vocab_embedding", config.vocab_size, hidden, dtype)]
    for index in range(config.num_hidden_layers):
        at = f"transformer.layers.{index}"
        found.append(Norm(f"{at}.input_layernorm", hidden, dtype))
        rows = heads // tp * size + 2 * (max(kv, tp) // tp) * size
        found.append(
            QkvLinear(f"{at}.attention.qkv", hidden, rows, dtype, quantization, kv, biased=biased)
        )
        found.append(
            Linear(f"{at}.attention.dense", heads * size // tp, hidden, dtype, quantization, 1)
        )
        if config.qk_layernorm:
            found.append(Norm(f"{at}.attention.q_layernorm", size, dtype))
            found.append(Norm(f"{at}.attention.k_layernorm", size, dtype))
        if quantization.kv_cache_quant_algo == "FP8":
            found.append(KvCacheScales(f"{at}.attention"))
        for name in ("fc", "gate"):
            found.append(Linear(f"{at}.mlp.{name}", hidden, wide // tp, dtype, quantization, 0))
        found.append(Linear(f"{at}.mlp.proj", wide // tp, hidden, dtype, quantization, 1))
        found.append(Norm(f"{at}.post_layernorm", hidden, dtype))
    found.append(Norm("transformer.ln_f", hidden, dtype))
    vocab = -(-config.vocab_size // tp)
    tied = getattr(config, "qwen_type", "") == "qwen2" and config.tie_word_embeddings
    found.append(
        Linear("lm_head", hidden, vocab, dtype, quantization, 0, source="model.embed_tokens")
        if tied
        else Linear("lm_head", hidden, vocab, dtype, quantization, 0)
    )
    return found
