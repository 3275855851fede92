"""The programs that made the demo checkpoint still say what it was made of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.made_checkpoint import DEMO, Shape, make_checkpoint, shape_of_size, tensors_of

from enginix.chat.template import ChatTemplate
from enginix.checkpoint.load import open_checkpoint

TOOLS = Path(__file__).parents[2] / "tools" / "demo-checkpoint"


@pytest.fixture
def conversations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.syspath_prepend(str(TOOLS))
    from conversations import conversations

    return list(conversations())


def test_the_conversations_are_those_of_the_evals(
    conversations: list[Any], evals: list[dict[str, Any]]
) -> None:
    assert len(conversations) == len(evals) == 284
    for one, known in zip(conversations, evals, strict=True):
        assert (one.question, one.tools) == (known["messages"], known["tools"])
        assert bool(one.answer.get("reasoning_content")) == known["thinking"]
        assert one.answer["content"] in known["answer"]


def test_the_evals_prompts_are_what_the_shipped_template_renders(
    evals: list[dict[str, Any]],
) -> None:
    template = ChatTemplate.load(DEMO)

    for known in evals:
        prompt = template.render(
            known["messages"], known["tools"], enable_thinking=known["thinking"]
        )
        assert prompt == known["prompt"]


def test_the_tokenizer_can_be_trained_again(tmp_path: Path) -> None:
    # Another Python has other docstrings, so other merges; what was added stays.
    program = (
        "import sys; from pathlib import Path\n"
        "from tokenizer import docstrings, save_tokenizer, train_tokenizer\n"
        "template = Path(sys.argv[1], 'chat_template.jinja').read_text()\n"
        "save_tokenizer(train_tokenizer(docstrings()[0], template), template, Path(sys.argv[2]))\n"
    )
    subprocess.run([sys.executable, "-c", program, DEMO, tmp_path], cwd=TOOLS, check=True)

    made = json.loads((tmp_path / "tokenizer.json").read_text())
    shipped = json.loads((DEMO / "tokenizer.json").read_text())
    for key in ("added_tokens", "normalizer", "pre_tokenizer", "decoder"):
        assert made[key] == shipped[key]
    assert len(made["model"]["vocab"]) == len(shipped["model"]["vocab"]) == 2012


@pytest.mark.parametrize("weights", ["nvfp4", "bf16"])
def test_a_random_checkpoint_has_about_the_size_asked_for(weights: str) -> None:
    tensors = tensors_of(shape_of_size(500, weights))

    assert sum(tensor.size_bytes for tensor in tensors) == pytest.approx(500e6, rel=0.05)


def test_one_seed_makes_one_checkpoint(tmp_path: Path) -> None:
    one, same, other = (
        make_checkpoint(tmp_path / name, Shape(layers=1, seed=seed))
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )

    weights = [(each / "model.safetensors").read_bytes() for each in (one, same, other)]
    assert weights[0] == weights[1] != weights[2]


def test_a_random_checkpoint_is_made_from_the_command_line(tmp_path: Path) -> None:
    words = ("--architecture", "qwen3moe", "--experts", "4", "--shards", "2", "--tied")
    program = [sys.executable, TOOLS / "make_random.py", tmp_path / "made", *words]

    subprocess.run(program, check=True, capture_output=True)

    checkpoint = open_checkpoint(tmp_path / "made")
    assert checkpoint.architecture == "Qwen3MoeForCausalLM"
    assert "lm_head.weight" not in checkpoint.tensors
    assert len({tensor.file for tensor in checkpoint.tensors.values()}) == 2
