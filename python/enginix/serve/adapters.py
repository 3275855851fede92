"""Whether LoRA adapters fit the model whose server is to have them, before it starts.

A server finds out when it has loaded the model, and says so in tensors; or it does not find out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enginix.errors import UsageError
from enginix.gguf_header import GgufFile, read_gguf
from enginix.hub_files import CONFIG_FILE, read_object
from enginix.serve.model_entry import ModelEntry
from enginix.serve.peft import CONFIG, peft_shapes, read_peft
from enginix.serve.servers import SERVERS
from enginix.serve.servers.program import Reads

# As for models: it is a word in command lines and URLs.
NAME = re.compile(r"\w[\w.:+-]*")
NVFP4 = 40
# "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight" -> layer, module, A or B.
PEFT_NAME = re.compile(r".*\blayers\.(\d+)\..*?(\w+)\.lora_([AB])(?:\.\w+)?\.weight")


def check_adapters(entry: ModelEntry, where: str) -> None:
    """Refuse adapters that the entry's server cannot have, whatever is in them."""
    if not entry.adapters:
        return
    server = SERVERS[entry.engine]
    if not server.adapters:
        why = server.lacks.get("adapters", "leave them out, or choose another engine")
        raise UsageError(f"{where}: adapters: {server.title} cannot serve them: {why}")
    if entry.task != "generate":
        raise UsageError(
            f"{where}: adapters: they are for models that generate, and the task is {entry.task}"
        )
    for name in entry.adapters:
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{where}: adapters: {name!r}: expected a name of letters, digits and . : + - _, "
                "beginning with a letter or digit"
            )


def require_fitting(entry: ModelEntry, model: str, known_as: str = "") -> None:
    """UsageError names the first adapter that was made for another model than `model`.

    `known_as`: the model's name at the hub.
    """
    for name, text in entry.adapters.items():
        path, where = Path(text), f"{entry.name}: the adapter {name}"
        if SERVERS[entry.engine].reads is Reads.GGUF:
            _require_gguf(where, path, Path(model))
        else:
            _require_peft(where, path, model, known_as)


def _require_gguf(where: str, path: Path, model: Path) -> None:
    if path.is_dir():
        raise UsageError(
            f"{where}: {path} is a directory, and llama-server reads adapters as GGUF files; "
            "convert it with llama.cpp's convert_lora_to_gguf.py --base CHECKPOINT "
            f"{path}, and name the file that it writes"
        )
    try:
        adapter = read_gguf(path)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    base = read_gguf(model)
    if adapter.values.get("adapter.type") != "lora":
        kind = adapter.values.get("general.type", "model")
        raise UsageError(f"{where}: {path} is a GGUF {kind}; expected a LoRA adapter")
    if adapter.architecture != base.architecture:
        raise UsageError(
            f"{where} was made for another model: {path} is for {adapter.architecture}, and "
            f"{model} is {base.architecture}; name an adapter of this model"
        )
    _require_tensors(where, adapter, base)


def _require_tensors(where: str, adapter: GgufFile, base: GgufFile) -> None:
    bases = {row.name: row for row in base.tensors}
    shapes = {row.name: row.shape for row in adapter.tensors}
    for name in sorted({row.removesuffix(".lora_a").removesuffix(".lora_b") for row in shapes}):
        a, b = shapes.get(f"{name}.lora_a"), shapes.get(f"{name}.lora_b")
        found = bases.get(name)
        if found is None:
            raise UsageError(
                f"{where} was made for another model: it changes {name}, which this one has not; "
                "name an adapter of this model"
            )
        if a is None or b is None or not _fit(name, found.shape, a, b):
            raise UsageError(
                f"{where} was made for another model: it changes {name} by {a} and {b}, and this "
                f"one's is {found.shape}; name an adapter of this model"
            )
        if found.kind == NVFP4 and ".ffn_" in name:
            raise UsageError(
                f"{where} changes {name}, whose weights are NVFP4: llama.cpp ends with an "
                "assertion when such a layer has an adapter; serve the model in BF16, or an "
                "adapter of its attention alone"
            )


def _fit(name: str, base: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    if min(len(base), len(a), len(b)) < 2:
        return False
    if name == "token_embd.weight":
        # Its rows are looked up, not multiplied by, so that the two change places.
        return base[-1] == b[-2] and base[-2] == a[-2]
    return base[-1] == a[-1] and base[-2] == b[-2] and a[-2] == b[-1]


def _require_peft(where: str, path: Path, model: str, known_as: str) -> None:
    try:
        config = read_peft(path)
        shapes = peft_shapes(path)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    made_for = str(config.get("base_model_name_or_path") or "")
    base = (
        read_object(Path(model) / CONFIG_FILE, UsageError) if Path(model).is_dir() else None
    ) or {}
    if problem := _wrong_shape(shapes, base.get("text_config", base)):
        raise UsageError(
            f"{where} was made for another model ({made_for or 'not named'}): {problem}; name an "
            "adapter of this model"
        )
    names = [_plain(name) for name in (made_for, known_as)]
    # A directory's name says nothing.
    if all(names) and not made_for.startswith(("/", ".")) and not _same_model(*names):
        raise UsageError(
            f"{where} was made for another model: {path / CONFIG} says {made_for}, and this one is "
            f"{known_as}; name an adapter of this model, or write its name there if it is the same"
        )


def _plain(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()


def _same_model(one: str, other: str) -> bool:
    """Quantized models have the name of the original, and more: Qwen3-8B-NVFP4."""
    return one.startswith(other) or other.startswith(one)


def _wrong_shape(shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> str:
    """What contradicts the model's config.json; empty if nothing is known to."""
    widths, layers = _widths(config), config.get("num_hidden_layers")
    for tensor, shape in shapes.items():
        parts = PEFT_NAME.fullmatch(tensor)
        if parts is None or "expert" in tensor or len(shape) != 2:
            continue
        if type(layers) is int and int(parts[1]) >= layers:
            return f"it changes layer {parts[1]}, and this one has {layers} layers"
        if parts[2] not in widths:
            continue
        # A is (rank, in) and B is (out, rank).
        width = shape[1] if parts[3] == "A" else shape[0]
        expected = widths[parts[2]]["AB".index(parts[3])]
        if expected and width != expected:
            side = "into" if parts[3] == "A" else "out of"
            return f"{width} values go {side} its {parts[2]}, and {expected} {side} this one's"
    return ""


def _widths(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Module -> the values that go into and out of it; 0 where that is not known."""

    def number(key: str) -> int:
        value = config.get(key)
        return value if type(value) is int else 0

    hidden, inner, heads = (
        number(key) for key in ("hidden_size", "intermediate_size", "num_attention_heads")
    )
    size = number("head_dim") or (hidden // heads if heads else 0)
    query, cached = heads * size, (number("num_key_value_heads") or heads) * size
    return {
        "q_proj": (hidden, query),
        "k_proj": (hidden, cached),
        "v_proj": (hidden, cached),
        "o_proj": (query, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }
