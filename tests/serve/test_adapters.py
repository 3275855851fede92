"""LoRA adapters of a profile: how servers get them, and adapters of another model."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from fakes.gguf_files import adapter, in_f32

from enginix.errors import UsageError
from enginix.manifest import Chat
from enginix.serve.adapters import require_fitting
from enginix.serve.gateway import gateway_row
from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import Profile, check
from enginix.serve.servers import SERVERS

UNUSED = Path("/unused")
VLLM = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96}


def peft(directory: Path, rank: int = 4, width: int = 64, layer: int = 0, **config: Any) -> str:
    """As PEFT saves it, for the q_proj of one layer; without the tensors' values."""
    directory.mkdir()
    (directory / "adapter_config.json").write_text(json.dumps({"r": rank, **config}))
    prefix = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora"
    shapes = {f"{prefix}_A.weight": [rank, width], f"{prefix}_B.weight": [width, rank]}
    rows = {name: {"dtype": "F32", "shape": shape} for name, shape in shapes.items()}
    header = json.dumps(rows).encode()
    file = directory / "adapter_model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    return str(directory)


def test_vllm_gets_all_of_them_in_one_option_and_room_for_the_largest(tmp_path: Path) -> None:
    adapters = {"law": peft(tmp_path / "a", rank=4), "art": peft(tmp_path / "b", rank=24)}
    entry = ModelEntry("m", engine="vllm", adapters=adapters)
    assert SERVERS["vllm"].command(["vllm"], entry, "model", UNUSED).argv[-6:] == [
        *("--enable-lora", "--max-loras=2", "--max-lora-rank=32", "--lora-modules"),
        *(f'{{"name": "{name}", "path": "{path}"}}' for name, path in adapters.items()),
    ]
    rows = gateway_row(entry, "model", Chat())["adapters"]
    assert rows == [{"name": n, "path": p, "upstream": n} for n, p in adapters.items()]


def test_llama_server_gets_files_and_requests_choose_one_by_its_number() -> None:
    entry = ModelEntry("m", engine="llamacpp", adapters={"law": "/a.gguf", "art": "/b.gguf"})
    argv = SERVERS["llamacpp"].command(["llama"], entry, "model.gguf", UNUSED).argv
    assert argv[-2:] == ["--lora=/a.gguf", "--lora=/b.gguf"]
    row = gateway_row(entry, "model.gguf", Chat())
    # Its cache of prompts does not tell them apart.
    assert row["fields"] == {"lora": [], "cache_prompt": False}
    assert [each["fields"]["lora"] for each in row["adapters"]] == [
        [{"id": 0, "scale": 1.0}],
        [{"id": 1, "scale": 1.0}],
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (ModelEntry("m", adapters={"a": "/a"}), "Triton cannot serve them: .*no LoRA for FP4"),
        (ModelEntry("m", engine="trtllm", adapters={"a": "/a"}), 'lora_request.*engine = "vllm"'),
        (ModelEntry("m", engine="vllm", adapters={"a b": "/a"}), "'a b': expected a name"),
        (ModelEntry("m", engine="vllm", adapters={"m": "/a"}), "two models have one name, 'm'"),
        (ModelEntry("m", engine="vllm", task="embed", adapters={"a": "/a"}), "the task is embed"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_reason(entry: ModelEntry, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(Profile("p", "P", [entry]), "p.toml")


def problem_of(path: str, model: str, engine: str = "vllm", known_as: str = "") -> str:
    entry = ModelEntry("m", engine=engine, adapters={"law": path})
    try:
        require_fitting(entry, model, known_as)
    except UsageError as error:
        found = str(error)
    else:
        return ""
    assert found.startswith("m: the adapter law"), found
    return found


def test_an_adapter_of_another_model_is_refused_by_its_shapes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**VLLM, "num_hidden_layers": 2}))
    model, made_for = str(tmp_path), "org/Other-70B"
    assert not problem_of(peft(tmp_path / "fits"), model)
    wide = problem_of(peft(tmp_path / "wide", width=128, base_model_name_or_path=made_for), model)
    assert "another model (org/Other-70B): 128 values go into its q_proj, and 64 into" in wide
    assert "it changes layer 7, and this one has 2" in problem_of(
        peft(tmp_path / "deep", layer=7), model
    )


@pytest.mark.parametrize(
    ("made_for", "known_as", "is_refused"),
    [
        ("Qwen/Qwen3-8B", "nvidia/Qwen3-8B-NVFP4", False),
        ("unsloth/Qwen3-8B-bnb-4bit", "Qwen/Qwen3-8B", False),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B", True),
        # The names of directories say nothing, and nor do those that are not known.
        ("/data/checkpoint-100", "Qwen/Qwen3-8B", False),
        ("Qwen/Qwen3-8B", "", False),
    ],
)
def test_an_adapter_of_another_model_is_refused_by_its_name(
    tmp_path: Path, made_for: str, known_as: str, *, is_refused: bool
) -> None:
    path = peft(tmp_path / "a", base_model_name_or_path=made_for)
    found = problem_of(path, "org/not-here", known_as=known_as)
    assert bool(found) == is_refused
    assert not found or (made_for in found and known_as in found)


def test_what_is_no_adapter_is_refused(tmp_path: Path, demo_engine: Path) -> None:
    (tmp_path / "empty").mkdir()
    damaged = Path(peft(tmp_path / "damaged"))
    (damaged / "adapter_model.safetensors").write_bytes(b"\xff" * 100)
    for path, message in (
        (tmp_path / "empty", "has no adapter_config.json; expected a directory as PEFT saves"),
        (tmp_path / "gone", "has no adapter_config.json"),
        (damaged, "is no complete safetensors file"),
        (peft(tmp_path / "ia3", peft_type="IA3"), "is a IA3 adapter; expected a LORA one"),
        (peft(tmp_path / "rank", rank=0), "r: expected the adapter's rank, got 0"),
    ):
        assert message in problem_of(str(path), "org/not-here")
    model = str(demo_engine / "model.gguf")
    for path, message in (
        (tmp_path / "empty", "convert_lora_to_gguf.py --base CHECKPOINT"),
        (model, "is a GGUF model; expected a LoRA adapter"),
        (damaged / "adapter_model.safetensors", "expected b'GGUF'; expected a complete GGUF"),
        (tmp_path / "gone.gguf", "cannot be read: No such file"),
    ):
        assert message in problem_of(str(path), model, "llamacpp")


def test_a_gguf_adapter_must_be_for_the_models_architecture_tensors_and_types(
    tmp_path: Path, demo_engine: Path
) -> None:
    nvfp4 = demo_engine / "model.gguf"
    plain = in_f32(nvfp4, tmp_path / "plain.gguf")

    def problem(adapter: Path, model: Path = plain) -> str:
        return problem_of(str(adapter), str(model), "llamacpp")

    inner = adapter(plain, tmp_path / "inner.gguf", "ffn_down")
    assert not problem(inner)
    # llama.cpp ends with an assertion at the first request.
    assert re.search(r"blk\.0\.ffn_down\.weight, whose weights are NVFP4", problem(inner, nvfp4))
    assert not problem(adapter(plain, tmp_path / "outer.gguf", "attn_output"), nvfp4)
    llama = adapter(plain, tmp_path / "llama.gguf", "attn_q", architecture="llama")
    assert "another model: " in (found := problem(llama))
    assert "is for llama, and" in found
    short = tmp_path / "short.gguf"
    short.write_bytes(inner.read_bytes().replace(b"ffn_down", b"ffn_wrong"[:8]))
    assert "it changes blk.0.ffn_wron.weight, which this one has not" in problem(short)
