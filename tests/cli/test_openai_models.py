"""How `enginix openai --models FILE` reads the rows of that file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enginix.cli.openai_models import read_models
from enginix.errors import UsageError
from enginix.gateway.models.registry import PassthroughModel
from enginix.triton.client.client import TritonClient

ROW = {"name": "ours", "engine": "vllm", "url": "http://127.0.0.1:1", "upstream": "theirs"}


def no_triton(address: str, vocabulary: int) -> TritonClient:
    raise AssertionError("no row is about it")


def read(tmp_path: Path, **more: Any) -> PassthroughModel:
    file = tmp_path / "models.json"
    file.write_text(json.dumps({"models": [{**ROW, **more}]}))
    (only,) = read_models(file, no_triton)
    (model,) = only.open()
    assert isinstance(model, PassthroughModel)
    return model


async def test_a_row_can_name_the_formats_that_its_server_leaves_in_the_text(
    tmp_path: Path,
) -> None:
    plain = read(tmp_path)
    model = read(tmp_path, reasoning="think-tags", tools="qwen3-xml", starts_inside=True)
    assert (plain.reasoning, plain.tools, plain.backend.model) == (None, None, "theirs")
    assert not plain.images
    assert plain.metrics == ""
    assert read(tmp_path, metrics="http://127.0.0.1:1/m").metrics == "http://127.0.0.1:1/m"
    assert read(tmp_path, images=True).images
    assert (plain.takes_priority, read(tmp_path, priority=True).takes_priority) == (False, True)
    assert (plain.task, read(tmp_path, task="embed").task) == ("generate", "embed")
    several = {"url": "http://127.0.0.1:1,http://127.0.0.1:2", "task": "rerank"}
    assert read(tmp_path, **several).task == "rerank"
    assert (model.reasoning, model.tools, model.starts_inside) == ("think-tags", "qwen3-xml", True)


async def test_adapters_are_models_that_share_all_but_what_is_their_own(tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    adapters = [
        {"name": "law", "path": "/law", "upstream": "law"},
        {"name": "art", "fields": {"lora": [{"id": 1}]}},
    ]
    row = {**ROW, "aliases": ["us"], "metrics": "http://127.0.0.1:1/m", "adapters": adapters}
    file.write_text(json.dumps({"models": [row]}))
    ours, law, art = read_models(file, no_triton)[0].open()
    assert [each.name for each in (ours, law, art)] == ["ours", "law", "art"]
    assert [each.served_by for each in (ours, law, art)] == ["ours"] * 3
    assert (ours.parent, law.parent, art.parent) == (None, "ours", "ours")
    assert (law.aliases, law.metrics, law.path, law.root) == ((), "", "/law", "law")
    assert isinstance(art, PassthroughModel)
    assert (art.root, art.fields) == ("theirs", {"lora": [{"id": 1}]})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"adapters": [{"path": "/a"}]}, r"models\[0\].adapters: expected objects of fields, name"),
        ({"adapters": {"a": "/a"}}, r"models\[0\].adapters: expected objects of"),
        ({"adapters": [{"name": "ours"}]}, "2 models have the name 'ours'"),
        ({"fields": 1}, r"models\[0\].fields: expected an object, got 1"),
        ({"reasoning": "smoke"}, r"models\[0\].reasoning: 'smoke' is none of think-brackets"),
        ({"tools": "think-tags"}, r"models\[0\].tools: 'think-tags' is none of hermes-json"),
        (
            {"task": "chat"},
            r"models\[0\].task: expected one of generate, embed, rerank, got 'chat'",
        ),
        ({"task": ["embed"]}, r"models\[0\].task: expected one of generate, embed, rerank"),
        ({"starts_inside": 1}, "expected true or false, got 1"),
        ({"images": "yes"}, r"models\[0\].images: expected true or false, got 'yes'"),
        ({"priority": 1}, r"models\[0\].priority: expected true or false, got 1"),
        ({"tool": "hermes-json"}, "unknown keys"),
        ({"url": "nowhere"}, "not a server's address"),
        ({"url": "http://[::1"}, "not a server's address"),
        ({"url": "http://[::1]:99999"}, "not a server's address"),
        ({"metrics": "x:1"}, r"models\[0\].metrics: expected http://HOST:PORT/metrics, got 'x:1'"),
        ({"metrics": 8002}, r"models\[0\].metrics: expected http://HOST:PORT/metrics, got 8002"),
    ],
)
def test_an_error_in_a_row_is_named(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, **more)


def test_a_file_without_models_is_for_gateways_with_a_supervisor(tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    file.write_text('{"models": []}')
    assert read_models(file, no_triton, may_be_empty=True) == []
    with pytest.raises(UsageError, match="at least one"):
        read_models(file, no_triton)
