"""A model in the real tritonserver that generates scripted text, and engines for the gateway."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes.token_triton import TOKEN_MODEL, served_repository

import enginix.catalog.load as catalog
from enginix.manifest import (
    BuiltWith,
    Chat,
    Limits,
    Manifest,
    Parallelism,
    Quantization,
    Source,
    write_manifest,
)
from enginix.runtimes.runtime import Runtime

MODEL = Path(__file__).parent / "scripted_model" / "model.py"
# Coding agents send prompts of tens of thousands of tokens, more with a small vocabulary.
CONTEXT = 400_000
TOKENIZER_FILES = (
    "chat_template.jinja",
    "generation_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
# Model name -> its tool-call format, in which the scripted texts are written.
FORMATS = {
    "hermes": "hermes-json",
    "llama3": "llama3-json",
    "mistral": "mistral",
    "nemotron": "nemotron-json",
    "qwen3-coder": "qwen3-xml",
}

# In the demo's template: where a text or a list is left out if it is too long.
LIMIT = re.compile(
    r"( if [a-z.]+ \| length <= \d+ else [a-z'.]+| and message\.content \| length <= \d+)"
)

Rule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScriptedTriton:
    address: str
    script: Path

    def follow(self, rules: Sequence[Rule]) -> None:
        """The script from the next request on; scripted_model/model.py says what a rule is."""
        partial = self.script.with_suffix(".partial")
        partial.write_text(json.dumps(list(rules)), encoding="utf-8")
        partial.replace(self.script)


@contextmanager
def scripted_triton(runtime: Runtime, directory: Path) -> Iterator[ScriptedTriton]:
    """`directory` keeps the repository and the script."""
    script = directory / "script.json"
    version = directory / "repository" / "tensorrt_llm" / "1"
    version.mkdir(parents=True)
    shutil.copy(MODEL, version)
    (version.parent / "config.pbtxt").write_text(configuration(script), encoding="utf-8")
    with served_repository(runtime, directory / "repository") as server:
        scripted = ScriptedTriton(server.address, script)
        scripted.follow([])
        yield scripted


def configuration(script: Path) -> str:
    """The token model's tensors with parameters of our own."""
    source = (TOKEN_MODEL / "tensorrt_llm" / "config.pbtxt").read_text(encoding="utf-8")
    lines = [line for line in source.splitlines() if not line.startswith("parameters:")]
    parameters = {
        "script": script,
        "tokenizer": catalog.DIRECTORY / "checkpoints/demo/tokenizer.json",
    }
    for key, value in parameters.items():
        lines.append(f'parameters: {{ key: "{key}" value: {{ string_value: "{value}" }} }}')
    return "\n".join(lines) + "\n"


def models_file(directory: Path, address: str) -> Path:
    """For `enginix openai --models`: one model per tool-call format, all on one Triton."""
    rows = []
    for name, tools in FORMATS.items():
        engine = scripted_engine(directory / name, name, tools)
        rows.append({"name": name, "directory": str(engine), "address": address})
    file = directory / "models.json"
    file.write_text(json.dumps({"models": rows}), encoding="utf-8")
    return file


def _show_all(template: Path) -> None:
    """The demo leaves out what is too long for its small model; a script reads everything."""
    text = template.read_text(encoding="utf-8")
    without, limits = LIMIT.subn("", text)
    assert limits == 3, "the demo's template limits two texts and a list of tools"
    template.write_text(without, encoding="utf-8")


def scripted_engine(directory: Path, name: str, tools: str) -> Path:
    """The parts of an engine that the gateway reads: tokenizer, template and manifest."""
    directory.mkdir(parents=True)
    for file in TOKENIZER_FILES:
        shutil.copy(catalog.DIRECTORY / "checkpoints/demo" / file, directory)
    _show_all(directory / "chat_template.jinja")
    manifest = Manifest(
        name=name,
        kind="gguf",
        architecture="Qwen3ForCausalLM",
        source=Source(None, None, {}),
        quantization=Quantization("NVFP4"),
        parallelism=Parallelism(),
        limits=Limits(max_batch_size=16, max_seq_len=CONTEXT, max_num_tokens=CONTEXT),
        built_with=BuiltWith("0.1.0"),
        files={},
        chat=Chat("think-tags", tools, "enable_thinking"),
    )
    write_manifest(directory, manifest)
    return directory
