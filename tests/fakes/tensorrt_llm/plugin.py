"""The plugin options `trtllm-build` shows, with the defaults and choices of TensorRT-LLM 1.2."""

import argparse

PLAIN = ("auto", "float16", "float32", "bfloat16", "int32", "disable")

# Option -> (default, choices).
CHOICES = {
    "bert_attention_plugin": ("auto", PLAIN),
    "gpt_attention_plugin": ("auto", PLAIN),
    "gemm_plugin": (None, (*PLAIN[:-1], "fp8", "nvfp4", "disable")),
    "gemm_swiglu_plugin": ("disable", ("fp8", "disable")),
    "fp8_rowwise_gemm_plugin": ("disable", PLAIN),
    "lora_plugin": ("disable", PLAIN),
    "moe_plugin": ("auto", PLAIN),
    "mamba_conv1d_plugin": ("auto", PLAIN),
    "nccl_plugin": ("auto", PLAIN),
    "low_latency_gemm_plugin": ("disable", ("fp8", "disable")),
    "low_latency_gemm_swiglu_plugin": ("disable", ("fp8", "disable")),
    "gemm_allreduce_plugin": ("disable", ("float16", "bfloat16", "disable")),
}
SWITCHES = {
    "dora_plugin": False,
    "context_fmha": True,
    "bert_context_fmha_fp32_acc": False,
    "remove_input_padding": True,
    "use_paged_context_fmha": True,
    "use_fp8_context_fmha": True,
    "fuse_fp4_quant": False,
    "multiple_profiles": False,
    "paged_state": True,
    "streamingllm": False,
    "norm_quant_fusion": False,
    "reduce_fusion": False,
    "user_buffer": False,
    "use_fused_mlp": True,
    "pp_reduce_scatter": False,
}
HIDDEN = {
    "qserve_gemm_plugin": None,
    "identity_plugin": None,
    "weight_only_groupwise_quant_matmul_plugin": None,
    "weight_only_quant_matmul_plugin": None,
    "smooth_quant_plugins": True,
    "smooth_quant_gemm_plugin": None,
    "layernorm_quantization_plugin": None,
    "rmsnorm_quantization_plugin": None,
    "quantize_per_token_plugin": False,
    "quantize_tensor_plugin": False,
    "paged_kv_cache": True,
    "manage_weights": False,
}


def add_plugin_argument(parser: argparse._ArgumentGroup) -> None:
    for name, (default, choices) in CHOICES.items():
        parser.add_argument(f"--{name}", type=str, default=default, choices=choices)
    for name, on in SWITCHES.items():
        default = "enable" if on else "disable"
        parser.add_argument(f"--{name}", type=str, default=default, choices=["enable", "disable"])
    parser.add_argument("--tokens_per_block", type=int, default=32)


def plugin_config(args: argparse.Namespace, dtype: str) -> dict:
    plugins = {name: getattr(args, name) for name in CHOICES}
    return {
        "dtype": dtype,
        **{
            name: {"auto": dtype, "disable": None}.get(value, value)
            for name, value in plugins.items()
        },
        **{name: getattr(args, name) == "enable" for name in SWITCHES},
        "tokens_per_block": args.tokens_per_block,
        **HIDDEN,
    }
