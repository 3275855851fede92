"""The architectures and algorithms that each engine kind can run, as data.

TensorRT-LLM's come from its MODEL_MAP (engine path, 1.0 to 1.3.0rc20) and its table of models for
the PyTorch backend; llama.cpp's are those that enginix can repack; TensorRT Edge-LLM's are the text
models of release 0.11.0.
"""

from __future__ import annotations

import re

ENGINE_PATH_FIRST = "0.17.0"
ENGINE_PATH_LAST = "1.3.0rc20"

# Architecture -> the first TensorRT-LLM release whose engine path knows it.
TENSORRT_LLM_ENGINES: dict[str, str] = {
    "Qwen3ForCausalLM": "1.0.0",
    "Qwen3MoeForCausalLM": "1.0.0",
    **dict.fromkeys(
        (
            "ArcticForCausalLM",
            "BaiChuanForCausalLM",
            "BaichuanForCausalLM",
            "BloomForCausalLM",
            "ChatGLMForCausalLM",
            "ChatGLMForConditionalGeneration",
            "ChatGLMModel",
            "CohereForCausalLM",
            "DbrxForCausalLM",
            "DeciLMForCausalLM",
            "DeepseekForCausalLM",
            "DeepseekV2ForCausalLM",
            "ExaoneForCausalLM",
            "FalconForCausalLM",
            "GLMModel",
            "Gemma2ForCausalLM",
            "Gemma3ForCausalLM",
            "GemmaForCausalLM",
            "GraniteForCausalLM",
            "GraniteMoeForCausalLM",
            "Grok1ModelForCausalLM",
            "InternLM2ForCausalLM",
            "InternLMForCausalLM",
            "InternLMXComposer2ForCausalLM",
            "LlamaForCausalLM",
            "LlavaLlamaModel",
            "MPTForCausalLM",
            "MambaForCausalLM",
            "MistralForCausalLM",
            "MixtralForCausalLM",
            "NemotronForCausalLM",
            "OPTForCausalLM",
            "Phi3ForCausalLM",
            "Phi3SmallForCausalLM",
            "Phi3VForCausalLM",
            "Phi4MMForCausalLM",
            "PhiForCausalLM",
            "PhiMoEForCausalLM",
            "QWenForCausalLM",
            "QWenLMHeadModel",
            "Qwen2ForCausalLM",
            "Qwen2ForSequenceClassification",
            "Qwen2MoeForCausalLM",
            "Qwen2VLForConditionalGeneration",
            "Qwen2VLModel",
            "RecurrentGemmaForCausalLM",
            "SkyworkForCausalLM",
        ),
        ENGINE_PATH_FIRST,
    ),
}
TENSORRT_LLM_ALGORITHMS = (None, "NVFP4", "FP8")

# NVIDIA's precision table lists NVFP4 engines for these only; others use the same layers.
NVFP4_ENGINES_ADVERTISED = ("LlamaForCausalLM", "MixtralForCausalLM")

LLMAPI_ARCHITECTURES = frozenset(
    {
        "Cohere2ForCausalLM",
        "DeciLMForCausalLM",
        "DeepseekV32ForCausalLM",
        "DeepseekV3ForCausalLM",
        "Exaone4ForCausalLM",
        "ExaoneMoEForCausalLM",
        "Gemma3ForCausalLM",
        "Gemma3ForConditionalGeneration",
        "Glm4MoeForCausalLM",
        "GptOssForCausalLM",
        "Llama4ForConditionalGeneration",
        "LlamaForCausalLM",
        "LlavaNextForConditionalGeneration",
        "MiniMaxM2ForCausalLM",
        "Mistral3ForConditionalGeneration",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "MllamaForConditionalGeneration",
        "NemotronForCausalLM",
        "NemotronHForCausalLM",
        "NemotronNASForCausalLM",
        "Phi3ForCausalLM",
        "Phi4MMForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen3ForCausalLM",
        "Qwen3MoeForCausalLM",
        "Qwen3NextForCausalLM",
    }
)
LLMAPI_FORMATS = ("none", "modelopt", "compressed-tensors", "fp8", "mxfp4", "mxfp8", "nvfp4")

GGUF_ARCHITECTURES = {
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3moe",
    "LlamaForCausalLM": "llama",
}
# llama.cpp quantizes activations in its own way, so it needs only the weights.
GGUF_ALGORITHMS = (None, "NVFP4", "W4A16_NVFP4")
# llama.cpp keeps NVFP4 in blocks of 64 weights along the input.
GGUF_BLOCK = 64

# config.json's model_type decides, never `architectures`.
EDGE_LLM_MODEL_TYPES = frozenset(
    {
        "hunyuan_v1_dense",
        "llama",
        "mistral",
        "nemotron_h",
        "qwen2",
        "qwen3",
        "qwen3_moe",
    }
)
EDGE_LLM_ALGORITHMS = (
    *(None, "NVFP4", "NVFP4_AWQ", "W4A16_NVFP4", "FP8", "FP8_BLOCK_SCALES", "MXFP8", "W4A16_AWQ"),
    "MIXED_PRECISION",
)
EDGE_LLM_FORMATS = ("none", "modelopt", "compressed-tensors")
# NVFP4 weights without quantized activations; it runs others of them as if they had some.
EDGE_LLM_WEIGHT_ONLY = ("nemotron_h",)
EDGE_LLM_RUNS_ON = (
    "TensorRT Edge-LLM 0.11.0 runs on Ubuntu 24.04 with GPUs of compute capability 8.0 (TensorRT "
    "11), 8.6, 10.0 or 12.0, on Ubuntu 22.04 with 8.0 (TensorRT 10), on DGX Spark (12.1) and on "
    "Jetson and DRIVE Thor and Orin; not with 8.9 (RTX 40, L40) or 9.0 (H100)"
)
# Relative error, of the weights' own values, for weights of standard deviation 0.1 to 0.005.
EDGE_LLM_EXPERTS = (
    "TensorRT Edge-LLM does not run the experts' NVFP4 weights as they are stored: it quantizes "
    "them again, with a relative error of 3 % to 28 % on top (8 % for weights of standard "
    "deviation 0.02)"
)


def engine_path_refusal(version: str) -> str | None:
    """Why this TensorRT-LLM release cannot build engines at all, or None."""
    if release(version) > release(ENGINE_PATH_LAST):
        return (
            f"TensorRT-LLM {version} no longer builds engines, the last that does is "
            f"{ENGINE_PATH_LAST}; use that, or the engine kind llmapi"
        )
    return None


def release(version: str) -> tuple[int, int, int, float]:
    """'1.3.0rc20' -> (1, 3, 0, 20): release candidates sort before their release."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(?:rc(\d+))?", version)
    if not found:
        return (0, 0, 0, 0)
    major, minor, patch, candidate = found.groups()
    return (int(major), int(minor), int(patch or 0), float(candidate or "inf"))
