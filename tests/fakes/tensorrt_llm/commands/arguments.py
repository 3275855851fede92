"""The command line of `python -m tensorrt_llm.commands.build`: every option of 1.2, no other."""

import argparse

from ..logger import severity_map
from ..plugin import add_plugin_argument

KV_CACHE_TYPES = ("continuous", "paged", "disabled")
LORA_MODULES = [
    "attn_qkv",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_dense",
    "mlp_h_to_4h",
    "mlp_4h_to_h",
    "mlp_gate",
    "cross_attn_qkv",
    "cross_attn_q",
    "cross_attn_k",
    "cross_attn_v",
    "cross_attn_dense",
    "moe_h_to_4h",
    "moe_4h_to_h",
    "moe_gate",
    "moe_router",
    "mlp_router",
    "mlp_gate_up",
]


def kv_cache_type(value: str) -> str:
    if value.lower() not in KV_CACHE_TYPES:
        raise argparse.ArgumentTypeError(
            f"Invalid value '{value}'. Expected one of {list(KV_CACHE_TYPES)}"
        )
    return value.upper()


def parse_arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name in ("checkpoint_dir", "model_config", "build_config", "model_cls_file"):
        parser.add_argument(f"--{name}", type=str, default=None)
    parser.add_argument("--model_cls_name", type=str, default=None)
    parser.add_argument("--output_dir", type=str, default="engine_outputs")
    parser.add_argument("--max_batch_size", type=int, default=2048)
    parser.add_argument("--max_input_len", type=int, default=1024)
    parser.add_argument("--max_seq_len", "--max_decoder_seq_len", type=int, default=None)
    parser.add_argument("--max_beam_width", type=int, default=1)
    parser.add_argument("--max_num_tokens", type=int, default=8192)
    parser.add_argument("--opt_num_tokens", type=int, default=None)
    parser.add_argument("--max_encoder_input_len", type=int, default=1024)
    parser.add_argument(
        "--max_prompt_embedding_table_size", "--max_multimodal_len", type=int, default=0
    )
    parser.add_argument("--kv_cache_type", type=kv_cache_type, default=argparse.SUPPRESS)
    parser.add_argument("--paged_kv_cache", type=str, default=argparse.SUPPRESS)
    parser.add_argument("--input_timing_cache", type=str, default=None)
    parser.add_argument("--output_timing_cache", type=str, default="model.cache")
    parser.add_argument(
        "--profiling_verbosity",
        default="layer_names_only",
        choices=["layer_names_only", "detailed", "none"],
    )
    for name in ("strip_plan", "weight_sparsity", "weight_streaming", "fast_build"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--log_level", type=str, default="info", choices=severity_map.keys())
    parser.add_argument("--enable_debug_output", action="store_true")
    parser.add_argument("--visualize_network", type=str, default=None)
    parser.add_argument("--dry_run", action="store_true")
    parser.add_argument("--monitor_memory", action="store_true")
    _add_groups(parser)
    return parser


def _add_groups(parser: argparse.ArgumentParser) -> None:
    logits = parser.add_argument_group("Logits arguments")
    logits.add_argument("--logits_dtype", default=None, choices=["float16", "float32"])
    for name in ("context_logits", "generation_logits", "all_token_logits"):
        logits.add_argument(f"--gather_{name}", action="store_true")
    lora = parser.add_argument_group("LoRA arguments")
    lora.add_argument("--lora_dir", type=str, default=None, nargs="+")
    lora.add_argument("--lora_ckpt_source", type=str, default="hf", choices=["hf", "nemo"])
    lora.add_argument("--lora_target_modules", nargs="+", default=None, choices=LORA_MODULES)
    lora.add_argument("--max_lora_rank", type=int, default=64)
    speculative = parser.add_argument_group("Speculative decoding arguments")
    speculative.add_argument(
        "--speculative_decoding_mode",
        default=None,
        choices=[
            "draft_tokens_external",
            "lookahead_decoding",
            "medusa",
            "explicit_draft_tokens",
            "eagle",
        ],
    )
    speculative.add_argument("--max_draft_len", type=int, default=0)
    add_plugin_argument(parser.add_argument_group("Plugin config arguments"))
