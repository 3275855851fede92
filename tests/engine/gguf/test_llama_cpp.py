"""The real llama.cpp computes the same from our GGUFs as the reference from the checkpoints.

Random weights have no opinions: two numbers are sometimes so close that rounding decides. Of 16
next tokens at least 13 agree when all is right, and at most 5 when only the scaling of positions
is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint.files import safetensors, write_json
from engine.gguf.conftest import Make
from engine.gguf.forward import Decoder
from fakes.made_checkpoint import DEMO

from enginix.catalog.load import DIRECTORY
from enginix.checkpoint.tensors import read_headers
from enginix.engine.gguf.answers import Question, ask
from enginix.engine.gguf.program import Generator
from enginix.gguf_header import read_header

pytestmark = pytest.mark.triton

Write = Callable[[Path], Path]

ENOUGH = 13


def agreement(generator: Generator, gguf: Path, checkpoint: Path) -> int:
    """How many of 16 random prompts llama.cpp and the reference continue identically."""
    random = np.random.default_rng(1)
    prompts = [random.integers(0, 2000, 40).tolist() for _ in range(16)]
    found = ask(generator, gguf, [Question(prompt, 1) for prompt in prompts])
    reference = Decoder(checkpoint)
    return sum(
        [reference.next_token(prompt)] == ids for prompt, ids in zip(prompts, found, strict=True)
    )


def test_the_demo_engine_gives_all_known_answers(
    generator: Generator, write: Write, evals: list[dict[str, Any]]
) -> None:
    questions = [Question(one["prompt_ids"], len(one["answer_ids"])) for one in evals]

    answers = ask(generator, write(DEMO), questions)

    assert len(evals) == 284
    assert answers == [one["answer_ids"] for one in evals]


def test_the_second_demo_engine_gives_all_known_answers(
    generator: Generator, write: Write, llama_evals: list[dict[str, Any]]
) -> None:
    questions = [Question(one["prompt_ids"], len(one["answer_ids"])) for one in llama_evals]

    answers = ask(generator, write(DIRECTORY / "checkpoints/demo-llama"), questions)

    assert len(llama_evals) == 65
    assert answers == [one["answer_ids"] for one in llama_evals]


@pytest.mark.parametrize("weights", ["nvfp4", "bf16", "fp16"])
@pytest.mark.parametrize("architecture", ["qwen3", "qwen3moe", "llama"])
def test_an_architecture_computes_what_its_definition_says(
    architecture: str, weights: str, make: Make, write: Write, generator: Generator
) -> None:
    checkpoint = make(architecture=architecture, weights=weights)

    assert agreement(generator, write(checkpoint), checkpoint) >= ENOUGH


def without_input_scales(checkpoint: Path) -> Path:
    """The checkpoint as written by an exporter that omits input scales and says so."""
    left = {
        name: (
            tensor.dtype,
            list(tensor.shape),
            tensor.file.read_bytes()[tensor.start : tensor.stop],
        )
        for name, tensor in read_headers(checkpoint).items()
        if not name.endswith(".input_scale")
    }
    (checkpoint / "model.safetensors").write_bytes(safetensors(left))
    path = checkpoint / "hf_quant_config.json"
    stated = json.loads(path.read_text())
    stated["quantization"]["with_input_scale"] = False
    write_json(path, stated)
    return checkpoint


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3moe"])
def test_weights_without_input_scales_are_computed_with_as_they_are(
    architecture: str, make: Make, write: Write, generator: Generator
) -> None:
    checkpoint = without_input_scales(make(architecture=architecture))

    gguf = write(checkpoint)

    names = {tensor.name for tensor in read_header(gguf).tensors}
    assert not [name for name in names if name.endswith("input_scale")]
    assert agreement(generator, gguf, checkpoint) >= ENOUGH


def test_tied_embeddings_are_used_twice(make: Make, write: Write, generator: Generator) -> None:
    checkpoint = make(tied=True)

    assert agreement(generator, write(checkpoint), checkpoint) >= ENOUGH


@pytest.mark.parametrize(
    ("architecture", "scaling"),
    [
        ("llama", {"rope_type": "linear", "factor": 8.0}),
        ("qwen3", {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64}),
        (
            "llama",
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        ),
    ],
)
def test_positions_are_scaled_as_the_config_says(
    architecture: str,
    scaling: dict[str, object],
    make: Make,
    write: Write,
    generator: Generator,
) -> None:
    checkpoint = make(
        architecture=architecture, config={"rope_theta": 10000.0, "rope_scaling": scaling}
    )

    assert agreement(generator, write(checkpoint), checkpoint) >= ENOUGH
