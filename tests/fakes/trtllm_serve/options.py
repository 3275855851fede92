"""The command line, read by click as the real one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

# The real ones are registered in code; these are known of 1.2 and 1.3.
REASONING_PARSERS = ["deepseek-r1", "qwen3", "nano-v3"]
TOOL_PARSERS = ["qwen3", "qwen3_coder", "kimi_k2", "deepseek_v3", "deepseek_v31", "deepseek_v32"]
LOG_LEVELS = ["internal_error", "error", "warning", "info", "verbose", "debug", "trace"]

Option = tuple[tuple[str, ...], dict[str, Any]]

OPTIONS: list[Option] = [
    (("--tokenizer",), {}),
    (("--custom_tokenizer",), {}),
    (("--host",), {"default": "localhost"}),
    (("--port",), {"type": int, "default": 8000}),
    (
        ("--backend",),
        {
            "type": click.Choice(["pytorch", "tensorrt", "trt", "_autodeploy"]),
            "default": "pytorch",
        },
    ),
    (("--log_level",), {"type": click.Choice(LOG_LEVELS), "default": "info"}),
    (("--max_beam_width",), {"type": int, "default": 1}),
    (("--max_batch_size",), {"type": int, "default": 2048}),
    (("--max_num_tokens",), {"type": int, "default": 8192}),
    (("--max_seq_len",), {"type": int}),
    (("--tensor_parallel_size", "--tp_size"), {"type": int, "default": 1}),
    (("--pipeline_parallel_size", "--pp_size"), {"type": int, "default": 1}),
    (("--context_parallel_size", "--cp_size"), {"type": int, "default": 1}),
    (("--moe_expert_parallel_size", "--ep_size"), {"type": int}),
    (("--moe_cluster_parallel_size", "--cluster_size"), {"type": int}),
    (("--gpus_per_node",), {"type": int}),
    (
        ("--free_gpu_memory_fraction", "--kv_cache_free_gpu_memory_fraction"),
        {"type": float, "default": 0.9},
    ),
    (("--num_postprocess_workers",), {"type": int, "default": 0}),
    (("--trust_remote_code",), {"is_flag": True}),
    (("--revision",), {}),
    (("--config", "--extra_llm_api_options", "extra_llm_api_options"), {}),
    (("--reasoning_parser",), {"type": click.Choice(REASONING_PARSERS)}),
    (("--tool_parser",), {"type": click.Choice(TOOL_PARSERS)}),
    (("--metadata_server_config_file",), {}),
    (("--server_role",), {}),
    (("--fail_fast_on_attention_window_too_large",), {"is_flag": True}),
    (("--otlp_traces_endpoint",), {}),
    (("--disagg_cluster_uri",), {}),
    (("--enable_chunked_prefill",), {"is_flag": True}),
    (("--media_io_kwargs",), {}),
    (("--chat_template",), {}),
]


def command(serve: Callable[..., None]) -> click.Command:
    parameters: list[click.Parameter] = [click.Argument(["model"])]
    parameters += [click.Option(list(names), **how) for names, how in OPTIONS]
    return click.Command("trtllm-serve", callback=serve, params=parameters)
