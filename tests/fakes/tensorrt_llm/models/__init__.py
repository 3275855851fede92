"""Model classes by their Hugging Face architecture, as `tensorrt_llm.models` exports them."""

from ..version import has_engine_path
from .decoder import LLaMAForCausalLM, QWenForCausalLM, Unimitated
from .modeling_utils import PretrainedConfig, QuantConfig

MODEL_MAP = {
    "QWenLMHeadModel": Unimitated,
    "QWenForCausalLM": Unimitated,
    "Qwen2ForCausalLM": QWenForCausalLM,
    "Qwen2MoeForCausalLM": QWenForCausalLM,
    "Qwen3ForCausalLM": QWenForCausalLM,
    "Qwen3MoeForCausalLM": QWenForCausalLM,
    "LlamaForCausalLM": LLaMAForCausalLM,
    "MistralForCausalLM": LLaMAForCausalLM,
    "MixtralForCausalLM": Unimitated,
    "Phi3ForCausalLM": Unimitated,
    "GemmaForCausalLM": Unimitated,
    "Gemma2ForCausalLM": Unimitated,
    "Gemma3ForCausalLM": Unimitated,
    "BaichuanForCausalLM": Unimitated,
    "BaiChuanForCausalLM": Unimitated,
    "ChatGLMModel": Unimitated,
    "ChatGLMForCausalLM": Unimitated,
    "ChatGLMForConditionalGeneration": Unimitated,
    "FalconForCausalLM": Unimitated,
    "GPTForCausalLM": Unimitated,
    "NemotronForCausalLM": Unimitated,
    "DeciLMForCausalLM": Unimitated,
}

if not has_engine_path():
    # The package is still there, and has lost what made engines.
    del MODEL_MAP

__all__ = [
    "MODEL_MAP",
    "LLaMAForCausalLM",
    "PretrainedConfig",
    "QWenForCausalLM",
    "QuantConfig",
]
