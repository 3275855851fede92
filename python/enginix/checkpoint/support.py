"""Which engine kinds can run a checkpoint, and why not the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from enginix.checkpoint import engine_kinds
from enginix.checkpoint.architecture import LinearLayer, Sizes, has_plain_layers, sliding_window
from enginix.checkpoint.load import Checkpoint
from enginix.checkpoint.parallelism import broken_tiles, too_many_ranks, undivided

QKV = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True, slots=True)
class KindVerdict:
    """`refusals` make an engine impossible, `doubts` make it uncertain, `remarks` inform."""

    refusals: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A checkpoint and the results of its check, on which the verdicts are based."""

    checkpoint: Checkpoint
    sizes: Sizes | None
    layers: tuple[LinearLayer, ...]
    algorithms: Mapping[str, str | None]
    """Layer -> the algorithm it is stored in."""
    scales: Mapping[str, float]
    """Tensor -> value, for scales of a whole layer."""
    ranks: int
    tensorrt_llm: str | None

    @property
    def architecture(self) -> str:
        return self.checkpoint.architecture

    @property
    def algo(self) -> str | None:
        return self.checkpoint.quantization.algo

    @property
    def format(self) -> str:
        return self.checkpoint.format


def judge_kinds(model: CheckedModel) -> dict[str, KindVerdict]:
    return {
        kind: KindVerdict(tuple(refuse(model)), tuple(invalidate(model)), tuple(remark(model)))
        for kind, (refuse, invalidate, remark) in _JUDGES.items()
    }


def _refuse_tensorrt_llm(model: CheckedModel) -> Iterator[str]:
    version = model.tensorrt_llm
    first = engine_kinds.TENSORRT_LLM_ENGINES.get(model.architecture)
    if version and (refusal := engine_kinds.engine_path_refusal(version)):
        yield refusal
    if first is None:
        yield (
            f"no TensorRT-LLM engine exists for {model.architecture}; use the engine kind llmapi"
        )
    elif version and engine_kinds.release(version) < engine_kinds.release(first):
        yield f"{model.architecture} needs TensorRT-LLM {first} or newer, but this is {version}"
    if model.format not in ("none", "modelopt"):
        yield (
            f"its quantization is in the format {model.format}, which only TensorRT-LLM's PyTorch "
            "backend reads; use the engine kind llmapi, or a ModelOpt checkpoint"
        )
    elif model.algo not in engine_kinds.TENSORRT_LLM_ALGORITHMS:
        yield (
            f"TensorRT-LLM engines are built from NVFP4, FP8 or plain weights, not {model.algo}; "
            "use the engine kind llmapi"
        )
    elif model.algo and not model.checkpoint.stores_input_scales:
        yield (
            "its activations are quantized dynamically or not at all: no input_scale is stored, "
            "and TensorRT-LLM's engines need one; quantize it with calibration, or use the engine "
            "kind llmapi"
        )
    if model.algo in engine_kinds.TENSORRT_LLM_ALGORITHMS[1:] and model.format == "modelopt":
        yield from _refuse_quantized_layers(model)
    if model.sizes:
        uneven = list(undivided(model.sizes, model.ranks))
        if model.algo:
            uneven += too_many_ranks(model.sizes, model.ranks)
        yield from uneven or broken_tiles(model.layers, model.algorithms, model.ranks)
    yield from _unequal_scales(model)


def _refuse_quantized_layers(model: CheckedModel) -> Iterator[str]:
    """Quantized layers are compared after their conversion, so enginix must know them."""
    cache = model.checkpoint.quantization.kv_cache_algo
    if not has_plain_layers(model.architecture, model.checkpoint.config):
        yield (
            f"enginix builds {model.algo} engines of dense Llama, Mistral, Qwen2 and Qwen3 without "
            f"additional biases, and does not know how TensorRT-LLM lays out this "
            f"{model.architecture}; use the engine kind llmapi"
        )
    if cache not in (None, "FP8"):
        yield (
            f"its KV cache is {cache}, but TensorRT-LLM's engines are built with FP8 or none; use "
            "the engine kind llmapi"
        )
    for block in _attention_blocks(model):
        if len({model.algorithms.get(f"{block}.{role}") for role in QKV}) > 1:
            yield (
                f"only some of {', '.join(QKV)} of {block} are quantized, and TensorRT-LLM stacks "
                "them into one matrix; use the engine kind llmapi"
            )
            return


def _attention_blocks(model: CheckedModel) -> Iterator[str]:
    for layer in model.layers:
        if layer.role == QKV[0]:
            yield layer.name.rpartition(".")[0]


def _doubt_tensorrt_llm(model: CheckedModel) -> Iterator[str]:
    if model.sizes and model.sizes.tied_embeddings and model.architecture.startswith("Qwen3"):
        yield (
            "the output head is tied to the embedding, and TensorRT-LLM's Qwen3 converter has no "
            "rule for that: lm_head may come out missing"
        )
    if window := sliding_window(model.architecture, model.checkpoint.config):
        yield (
            f"each token attends to {window} tokens, which an engine does not keep to: it is built "
            "for no more than that"
        )


def _remark_tensorrt_llm(model: CheckedModel) -> Iterator[str]:
    if first := engine_kinds.TENSORRT_LLM_ENGINES.get(model.architecture):
        yield f"needs TensorRT-LLM {first} to {engine_kinds.ENGINE_PATH_LAST}"
    advertised = engine_kinds.NVFP4_ENGINES_ADVERTISED
    if model.algo == "NVFP4" and model.architecture not in advertised:
        yield (
            "NVIDIA's precision table lists NVFP4 engines for Llama and Mixtral only; this "
            "architecture uses the same layers, unlisted"
        )


def _refuse_gguf(model: CheckedModel) -> Iterator[str]:
    if model.architecture not in engine_kinds.GGUF_ARCHITECTURES:
        known = ", ".join(engine_kinds.GGUF_ARCHITECTURES)
        yield f"enginix repacks {known} for llama.cpp, not {model.architecture}"
    if model.algo not in engine_kinds.GGUF_ALGORITHMS or model.format not in ("none", "modelopt"):
        yield (
            "a lossless repack exists for ModelOpt's NVFP4 and for plain BF16 or F16 weights, "
            f"not for {model.algo} in the format {model.format}"
        )
    if model.ranks > 1:
        yield f"llama.cpp runs in one process, not in {model.ranks} ranks; leave out --tp"
    odd = [
        layer
        for layer in model.layers
        if model.algorithms[layer.name] in engine_kinds.GGUF_ALGORITHMS[1:]
        and layer.columns % engine_kinds.GGUF_BLOCK
    ]
    if odd:
        yield (
            f"{odd[0].name} has {odd[0].columns} inputs, but llama.cpp's NVFP4 blocks need a "
            f"multiple of {engine_kinds.GGUF_BLOCK}"
        )


def _refuse_llmapi(model: CheckedModel) -> Iterator[str]:
    if model.format not in engine_kinds.LLMAPI_FORMATS:
        yield (
            f"its quantization is in the format {model.format}, but TensorRT-LLM reads "
            f"{', '.join(engine_kinds.LLMAPI_FORMATS[1:])}"
        )
    if model.sizes:
        yield from undivided(model.sizes, model.ranks)


def _doubt_llmapi(model: CheckedModel) -> Iterator[str]:
    if model.architecture not in engine_kinds.LLMAPI_ARCHITECTURES:
        yield (
            f"{model.architecture} is not among the architectures that enginix knows of "
            "TensorRT-LLM's PyTorch backend"
        )


def _refuse_vllm(model: CheckedModel) -> Iterator[str]:
    if model.sizes:
        yield from undivided(model.sizes, model.ranks)


def _doubt_vllm(model: CheckedModel) -> Iterator[str]:
    if model.sizes is None:
        yield f"whether vLLM supports {model.architecture} was not checked"


def _refuse_edge_llm(model: CheckedModel) -> Iterator[str]:
    kind = model.checkpoint.config.get("model_type")
    cache = model.checkpoint.quantization.kv_cache_algo
    if kind not in engine_kinds.EDGE_LLM_MODEL_TYPES:
        known = ", ".join(sorted(engine_kinds.EDGE_LLM_MODEL_TYPES))
        yield f"its model_type is {kind!r}; of TensorRT Edge-LLM's, enginix builds {known}"
    if model.format not in engine_kinds.EDGE_LLM_FORMATS:
        yield f"its quantization is in the format {model.format}, which Edge-LLM does not read"
    elif model.algo not in engine_kinds.EDGE_LLM_ALGORITHMS:
        yield f"Edge-LLM does not read {model.algo} weights"
    if model.algo == "W4A16_NVFP4" and kind not in engine_kinds.EDGE_LLM_WEIGHT_ONLY:
        yield (
            "its activations are not quantized (W4A16_NVFP4), and Edge-LLM would quantize those of "
            f"a {kind} without saying so; use the engine kind gguf, llmapi or vllm"
        )
    if cache not in (None, "FP8"):
        yield (
            f"its KV cache is {cache}, and Edge-LLM would use FP16 without saying so; quantize it "
            "with an FP8 KV cache, or use another engine kind"
        )
    names = model.checkpoint.tensors
    if cache == "FP8" and names and not any(name.endswith("k_proj.k_scale") for name in names):
        yield (
            "its KV cache is FP8 without stored scales, and Edge-LLM would use FP16 without saying "
            "so; quantize it with calibrated scales, or use another engine kind"
        )
    if model.ranks > 1:
        yield "Edge-LLM's server runs on one GPU only; leave out --tp"


def _doubt_edge_llm(model: CheckedModel) -> Iterator[str]:
    if has_nvfp4_experts(model.layers, model.algorithms):
        yield engine_kinds.EDGE_LLM_EXPERTS


def has_nvfp4_experts(layers: Iterable[LinearLayer], algorithms: Mapping[str, str | None]) -> bool:
    return any(".experts." in layer.name and algorithms[layer.name] == "NVFP4" for layer in layers)


def _remark_edge_llm(model: CheckedModel) -> Iterator[str]:
    yield engine_kinds.EDGE_LLM_RUNS_ON
    yield "everything that is not quantized runs in FP16, also what is stored in BF16"


def _nothing(_: CheckedModel) -> Iterator[str]:
    return iter(())


def _unequal_scales(model: CheckedModel) -> Iterator[str]:
    """TensorRT-LLM uses the largest scale for stacked q, k and v and does not rescale weights."""
    for block in _attention_blocks(model):
        if model.algorithms[f"{block}.{QKV[0]}"] != "NVFP4":
            continue
        scales = {model.scales.get(f"{block}.{role}.weight_scale_2") for role in QKV}
        if len(scales - {None}) > 1:
            yield (
                f"q_proj, k_proj and v_proj of {block} differ in weight_scale_2, and TensorRT-LLM "
                "takes the largest for all three without requantizing"
            )
            return


_Judge = Callable[[CheckedModel], Iterator[str]]

# One line for each of enginix.manifest.KINDS: refusals, doubts, remarks.
_JUDGES: dict[str, tuple[_Judge, _Judge, _Judge]] = {
    "tensorrt-llm": (_refuse_tensorrt_llm, _doubt_tensorrt_llm, _remark_tensorrt_llm),
    "gguf": (_refuse_gguf, _nothing, _nothing),
    "llmapi": (_refuse_llmapi, _doubt_llmapi, _nothing),
    "vllm": (_refuse_vllm, _doubt_vllm, _nothing),
    "edge-llm": (_refuse_edge_llm, _doubt_edge_llm, _remark_edge_llm),
}
