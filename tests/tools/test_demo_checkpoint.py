"""The programs that made the demo checkpoints still describe them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fakes.made_checkpoint import Shape, make_checkpoint, shape_of_size, tensors_of

from enginix.catalog.load import find_model
from enginix.chat.events import Answer, ToolCallStart
from enginix.chat.reply import reply_parser
from enginix.chat.template import ChatTemplate
from enginix.chat.tokens import Tokenizer
from enginix.checkpoint.load import open_checkpoint

TOOLS = Path(__file__).parents[2] / "tools" / "demo-checkpoint"


RECORDINGS = Path(__file__).parents[1] / "recordings"
COUNTS = {"demo": 284, "demo-llama": 65}

every_model = pytest.mark.parametrize("name", COUNTS)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The recipes, imported with the modules beside them."""
    monkeypatch.syspath_prepend(str(TOOLS))
    import recipes

    return recipes


def evals_of(name: str) -> list[dict[str, Any]]:
    found = json.loads((RECORDINGS / f"{name}-evals.json").read_text(encoding="utf-8"))
    assert isinstance(found, list)
    return found


def checkpoint_of(name: str) -> Path:
    directory = find_model(name).source.directory
    assert directory
    return directory


@every_model
def test_the_conversations_match_the_evals(name: str, tools: ModuleType) -> None:
    from conversations import conversations

    known, evals = conversations(tools.RECIPES[name].knowledge), evals_of(name)

    assert len(known) == len(evals) == COUNTS[name]
    for one, recorded in zip(known, evals, strict=True):
        assert (one.question, one.tools) == (recorded["messages"], recorded["tools"])
        assert bool(one.answer.get("reasoning_content")) == recorded["thinking"]
        assert tools.RECIPES[name].family.answer(one.answer) == recorded["answer"]


@every_model
def test_the_evals_prompts_are_what_the_shipped_template_renders(name: str) -> None:
    template = ChatTemplate.load(checkpoint_of(name))

    for known in evals_of(name):
        prompt = template.render(
            known["messages"], known["tools"], enable_thinking=known["thinking"]
        )
        assert prompt == known["prompt"]


@every_model
def test_the_evals_ids_are_what_the_shipped_tokenizer_reads(name: str) -> None:
    tokenizer = Tokenizer.load(checkpoint_of(name))

    for known in evals_of(name):
        assert tokenizer.encode(known["prompt"]) == known["prompt_ids"]
        assert tokenizer.encode(known["answer"]) == known["answer_ids"]


@every_model
def test_the_catalogue_reads_every_answer_of_the_evals(name: str) -> None:
    chat = find_model(name).chat
    for known in evals_of(name):
        end = known["answer"].rindex("<|")
        parser = reply_parser(
            chat.reasoning, chat.tools, starts_inside=False, tools_wanted=bool(known["tools"])
        )
        events = [*parser.feed(known["answer"][:end]), *parser.finish()]

        calls = [event.name for event in events if isinstance(event, ToolCallStart)]
        content = "".join(event.text for event in events if isinstance(event, Answer))
        asks_for_weather = known["tools"] and known["messages"][-1]["role"] == "user"
        assert calls == (["get_weather"] if asks_for_weather else [])
        assert content.endswith(known["answer"][:end].rpartition("</think>\n\n")[2]) or calls


@every_model
def test_a_recipe_describes_the_shipped_checkpoint(name: str, tools: ModuleType) -> None:
    recipe = tools.RECIPES[name]

    config = json.loads((checkpoint_of(name) / "config.json").read_text())
    assert recipe.checkpoint.samefile(checkpoint_of(name))
    assert recipe.model_type == config["model_type"]
    assert dict(recipe.config).items() <= config.items()
    assert recipe.family.vocabulary == config["vocab_size"]


@every_model
def test_the_tokenizer_can_be_trained_again(name: str, tools: ModuleType, tmp_path: Path) -> None:
    # Another Python has other docstrings and so other merges; the added tokens stay.
    program = (
        "import sys; from pathlib import Path\n"
        "from conversations import conversations\n"
        "from recipes import RECIPES\n"
        "from tokenizer import docstrings, save_tokenizer, train_tokenizer\n"
        "recipe = RECIPES[sys.argv[1]]\n"
        "known, template = conversations(recipe.knowledge), recipe.template\n"
        "made = train_tokenizer(recipe.family, docstrings()[0], known, template)\n"
        "save_tokenizer(made, recipe.family, template, Path(sys.argv[2]))\n"
    )
    subprocess.run([sys.executable, "-c", program, name, tmp_path], cwd=TOOLS, check=True)

    made, shipped = (
        json.loads((place / "tokenizer.json").read_text())
        for place in (tmp_path, checkpoint_of(name))
    )
    for key in ("added_tokens", "normalizer", "pre_tokenizer", "decoder", "post_processor"):
        assert made[key] == shipped[key]
    assert len(made["model"]["vocab"]) == len(shipped["model"]["vocab"])


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
    arguments = ("--architecture", "qwen3moe", "--experts", "4", "--shards", "2", "--tied")
    program = [sys.executable, TOOLS / "make_random.py", tmp_path / "made", *arguments]

    subprocess.run(program, check=True, capture_output=True)

    checkpoint = open_checkpoint(tmp_path / "made")
    assert checkpoint.architecture == "Qwen3MoeForCausalLM"
    assert "lm_head.weight" not in checkpoint.tensors
    assert len({tensor.file for tensor in checkpoint.tensors.values()}) == 2
