"""What --extra_llm_api_options may hold, for the PyTorch backend and for AutoDeploy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class KvCacheConfig(Strict):
    free_gpu_memory_fraction: float = Field(0.9, ge=0, le=1)
    enable_block_reuse: bool = True
    dtype: str = "auto"
    tokens_per_block: int = 32
    max_tokens: int | None = None
    host_cache_size: int | None = None


class Drafting(Strict):
    """What all kinds of speculative decoding have; the newer name of the model is an alias."""

    max_draft_len: int | None = Field(None, ge=0)
    speculative_model: str | None = Field(
        None, validation_alias=AliasChoices("speculative_model", "speculative_model_dir")
    )


class Eagle(Drafting):
    decoding_type: Literal["Eagle"]
    max_draft_len: int = Field(ge=1)
    speculative_model: str = Field(
        validation_alias=AliasChoices("speculative_model", "speculative_model_dir")
    )


class DraftTarget(Eagle):
    decoding_type: Literal["DraftTarget"]  # type: ignore[assignment]


class NGram(Drafting):
    decoding_type: Literal["NGram"]
    max_draft_len: int = Field(ge=1)
    max_matching_ngram_size: int = Field(2, ge=1)


class Mtp(Drafting):
    decoding_type: Literal["MTP"]
    num_nextn_predict_layers: int = Field(1, ge=1)


class LlmArgs(Strict):
    """Of both backends."""

    model: str
    backend: str = "pytorch"
    tokenizer: str | None = None
    max_batch_size: int = 2048
    max_num_tokens: int = 8192
    max_seq_len: int | None = None
    max_beam_width: int = 1
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    context_parallel_size: int = 1
    moe_expert_parallel_size: int | None = None
    dtype: str = "auto"
    gpus_per_node: int = 1
    kv_cache_config: KvCacheConfig = KvCacheConfig()
    trust_remote_code: bool = False
    reasoning_parser: str | None = None
    enable_chunked_prefill: bool = False
    return_perf_metrics: bool = False
    enable_iter_perf_stats: bool = False
    print_iter_log: bool = False
    attn_backend: str = "TRTLLM"
    cuda_graph_config: dict[str, Any] | None = None
    moe_config: dict[str, Any] | None = None
    disable_overlap_scheduler: bool = False
    speculative_config: Annotated[
        Eagle | DraftTarget | NGram | Mtp, Field(discriminator="decoding_type")
    ] = None  # type: ignore[assignment]


class AutoDeployArgs(LlmArgs):
    runtime: Literal["trtllm", "demollm"] = "trtllm"
    compile_backend: Literal["torch-simple", "torch-compile", "torch-cudagraph", "torch-opt"] = (
        "torch-cudagraph"
    )
    attn_backend: Literal["flashinfer", "triton", "trtllm"] = "flashinfer"  # type: ignore[assignment]
    mla_backend: str = "MultiHeadLatentAttention"
    model_factory: Literal["AutoModelForCausalLM", "AutoModelForImageTextToText"] = (
        "AutoModelForCausalLM"
    )
    model_kwargs: dict[str, Any] = {}
    tokenizer_kwargs: dict[str, Any] = {}
    skip_loading_weights: bool = False
    attn_page_size: int = 64
    cuda_graph_batch_sizes: list[int] | None = None
    world_size: int = Field(1, ge=0)
    mode: Literal["graph", "transformers"] = "graph"
    transforms: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def only_world_size(self) -> AutoDeployArgs:
        if (self.tensor_parallel_size, self.pipeline_parallel_size) != (1, 1):
            raise ValueError(
                "AutoDeploy only supports parallelization via the `world_size` argument."
            )
        if self.max_beam_width > 1:
            raise ValueError("AutoDeploy does not support beam search (max_beam_width > 1).")
        return self


def read_settings(options: dict[str, Any], file: str | None) -> LlmArgs:
    """The file's values override the command line's; one level of tables is merged."""
    given = dict(options)
    if file is not None:
        extra = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
        for key, value in extra.items():
            if isinstance(value, dict) and isinstance(given.get(key), dict):
                value = {**given[key], **value}
            given[key] = value
    kind = AutoDeployArgs if given["backend"] == "_autodeploy" else LlmArgs
    return kind.model_validate(given)
