"""The real TensorRT Edge-LLM, with a recorder in place of TensorRT and of its C++ runtime.

Its payloads, arguments, checkpoint reader, weight packing, cache and HTTP server are held against
ours; that TensorRT would accept the network is not. ENGINIX_EDGE_LLM_PYTHON names a Python that
imports `tensorrt-edgellm[server]`; `make test-edge-llm` makes one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.edge_llm import install_real
from fakes.made_checkpoint import DEMO
from serve.servers.edge import build_edge, serving

from enginix.checkpoint.engine_kinds import EDGE_LLM_MODEL_TYPES
from enginix.engine.verify import verify_engine
from enginix.errors import CheckpointDamaged
from enginix.gateway.prompt.strict_servers import EDGE_LLM as STRICT
from enginix.hub_files import read_object
from enginix.manifest import read_manifest
from enginix.serve.model_entry import ModelEntry
from enginix.serve.servers.edge_llm import EDGE_LLM

PYTHON = os.environ.get("ENGINIX_EDGE_LLM_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="opt-in: make test-edge-llm")
CHAT = "/v1/chat/completions"
HELLO = {"model": "edge", "messages": [{"role": "user", "content": "Hi"}]}
SCALE = b"model.layers.0.mlp.up_proj.weight_scale"
DEMOS = {path.name: path for path in (DEMO, DEMO.with_name("demo-llama"))}


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="h") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def runtime(root: Path) -> Path:
    return install_real(root / "runtime", Path(PYTHON))


@pytest.fixture(scope="module")
def engine(root: Path, runtime: Path) -> Path:
    return build_edge(runtime, shutil.copytree(DEMO, root / "checkpoint"), root / "engine")


def said(runtime: Path, program: str, *arguments: object) -> Any:
    """What a program in the environment prints as JSON on its last line."""
    words = [str(runtime / "bin" / "python"), "-c", program, *map(str, arguments)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", DEMOS)
def test_its_builder_makes_an_engine_whose_plan_contains_the_packed_weights(
    runtime: Path, tmp_path: Path, name: str
) -> None:
    out = build_edge(runtime, DEMOS[name], tmp_path / "engine")
    manifest = verify_engine(out, lambda _: None)
    (config,) = out.rglob("engines/*/*/config.json")
    found = read_object(config)
    assert found is not None
    assert found["builder_config"]["max_kv_cache_capacity"] == manifest.limits.max_seq_len
    bound = [key for row in found["checkpoint_weight_bindings"] for key in row["checkpoint_keys"]]
    assert not [key for key in bound if "_proj" in key]
    # Nothing in it says how the weights are quantized, or for which GPU.
    assert not {"quant_algo", "quantization", "gpu", "compute_capability"} & found.keys()


def test_its_server_parses_our_command_line(runtime: Path) -> None:
    program = (
        "import json, sys\n"
        "from experimental.server.config import parse_server_config\n"
        "config = parse_server_config(sys.argv[1:])\n"
        "print(json.dumps([config.api.host, config.api.port, config.api.reasoning_parser,"
        " config.api.enable_auto_tool_choice, config.api.served_model_name]))"
    )
    entry = ModelEntry("m", engine="edge-llm", http_port=5)
    ours = EDGE_LLM.command(["/bin/x"], entry, "/e", Path("/run/m.yaml")).argv
    own = [word for word in ours[4:] if not word.startswith(("--program=", "--cache="))]
    assert said(runtime, program, "/checkpoint", *own) == ["127.0.0.1", 5, "none", True, "m"]


def test_its_chats_have_exactly_the_fields_that_we_send_or_refuse(runtime: Path) -> None:
    program = (
        "import json\n"
        "from experimental.server.api.protocol import ChatCompletionRequest as Request\n"
        "print(json.dumps([*Request.model_fields]))"
    )
    assert {*said(runtime, program)} - {"audio"} == STRICT.fields


def test_it_knows_every_model_type_that_we_build(runtime: Path) -> None:
    program = (
        "import json\n"
        "from experimental.builder.models.registry import registered_root_types\n"
        "print(json.dumps([*registered_root_types()]))"
    )
    assert {*said(runtime, program)} >= EDGE_LLM_MODEL_TYPES


def test_its_builder_takes_a_checkpoint_that_lost_a_scale_and_ours_does_not(
    runtime: Path, tmp_path: Path
) -> None:
    checkpoint = shutil.copytree(DEMO, tmp_path / "checkpoint")
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(SCALE + b'"', SCALE[:-1] + b'X"'))
    words = [runtime / "bin" / "python", runtime / "bin" / "tensorrt-edgellm-build"]
    options = ["--model-dir", checkpoint, "--engine-dir", tmp_path / "theirs"]
    assert subprocess.run([*map(str, [*words, *options])], check=False).returncode == 0
    config = read_object(tmp_path / "theirs" / "config.json")
    assert config is not None
    # Its own limits are toys.
    assert config["builder_config"]["max_kv_cache_capacity"] == 96
    with pytest.raises(CheckpointDamaged, match=r"up_proj\.weight_scale is missing"):
        build_edge(runtime, checkpoint, tmp_path / "ours")


async def test_its_server_takes_our_engine_and_every_request_of_the_gateway(
    root: Path, engine: Path
) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    requests: dict[str, dict[str, Any]] = {
        "plain": {"user": "me", "store": False, "seed": None, "service_tier": "auto"},
        "sampled": {"temperature": 0.3, "top_p": 0.9, "stop": ["zzz"], "seed": 1},
        "thought": {"reasoning_effort": "low"},
        "tools": {"tools": [tool], "tool_choice": "auto", "parallel_tool_calls": False},
        "form": {"response_format": {"type": "json_object"}},
        "counted": {"logprobs": True, "top_logprobs": 2},
    }
    async with serving(root, engine) as (client, _):
        replies = {
            name: await client.post(CHAT, json={**HELLO, **fields})
            for name, fields in requests.items()
        }
        long = {"messages": [{"role": "user", "content": "x" * 500}]}
        too_long = await client.post(CHAT, json={**HELLO, **long})
        refused = await client.post(CHAT, json={**HELLO, "presence_penalty": 1})
        counted = await client.post("/v1/messages/count_tokens", json=HELLO)
        body = {**HELLO, "max_tokens": 50}
        message = (await client.post("/v1/messages", json=body)).json()
    assert {name: reply.status_code for name, reply in replies.items()} == dict.fromkeys(
        requests, 200
    )
    choice = replies["plain"].json()["choices"][0]
    assert choice["message"]["content"] == "The capital of France is Paris."
    assert choice["message"]["reasoning_content"] == "Capitals"
    assert replies["plain"].json()["usage"]["prompt_tokens"] == 7
    assert message["content"][-1]["text"] == "The capital of France is Paris."
    assert too_long.json()["error"]["code"] == "context_length_exceeded", too_long.text
    assert refused.json()["error"]["param"] == "presence_penalty"
    assert counted.json() == {"input_tokens": 7}
    assert read_manifest(engine).built_with.compute_capability == "12.0"
