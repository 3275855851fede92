"""The gateway is told where every model is, and which formats its server leaves in the text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enginix.gateway.settings import LoadLimits
from enginix.manifest import Chat
from enginix.serve.environment import Environment
from enginix.serve.gateway import (
    STOP_SECONDS,
    gateway_command,
    gateway_row,
    gateway_server,
    left_in_text,
)
from enginix.serve.model_entry import ModelEntry, Option
from enginix.serve.profile import GatewayEntry, Profile
from enginix.serve.server_process import GRACE_SECONDS
from enginix.serve.servers.program import Command


def test_the_gateway_is_told_where_every_model_is() -> None:
    triton = ModelEntry("a", grpc_port=2, metrics_port=5)
    vllm = ModelEntry("b", engine="vllm", http_port=3, aliases=["bee"], contains=["qwen"])
    trtllm = ModelEntry("c", engine="trtllm", http_port=4)
    rows = [
        gateway_row(triton, "/e", Chat()),
        gateway_row(vllm, "Org/B-30B", Chat()),
        gateway_row(trtllm, "Org/C-30B", Chat()),
    ]
    command = gateway_command(["enginix"], GatewayEntry(9), Path("/run/g"), rows, Path("/run/s"))
    assert command.argv == [
        *("enginix", "openai", "--models=/run/g", "--host=127.0.0.1", "--port=9"),
        "--supervisor=/run/s",
    ]
    open_to = GatewayEntry(
        9,
        allowed_hosts=["ai.lan"],
        cors_origins=["https://chat.example"],
        allow_image_urls=True,
    )
    *_, host, origin, images = gateway_command(
        ["enginix"], open_to, Path("/g"), [], Path("/s")
    ).argv
    assert (host, origin) == ("--allowed-host=ai.lan", "--cors-origin=https://chat.example")
    assert images == "--allow-image-urls"
    first, second, third = json.loads(command.files[Path("/run/g")])["models"]
    assert (first["directory"], first["address"]) == ("/e", "127.0.0.1:2")
    assert (second["url"], second["upstream"]) == ("http://127.0.0.1:3", "b")
    assert (third["url"], third["upstream"]) == ("http://127.0.0.1:4", "Org/C-30B")
    pages = [row.get("metrics") for row in (first, second, third)]
    assert pages == [
        "http://127.0.0.1:5/metrics",
        "http://127.0.0.1:3/metrics",
        "http://127.0.0.1:4/prometheus/metrics",
    ]
    assert "metrics" not in gateway_row(ModelEntry("d", engine="llamacpp"), "/m.gguf", Chat())
    assert (second["aliases"], second["contains"]) == (["bee"], ["qwen"])


@pytest.mark.parametrize(
    ("entry", "is_named"),
    [
        (ModelEntry("a"), True),
        (ModelEntry("a", replicas=2), False),
        (ModelEntry("a", endpoints=["10.0.0.1:8001"]), False),
        (ModelEntry("a", replicas=1, endpoints=["10.0.0.1:8001"]), False),
    ],
)
def test_only_the_page_of_the_models_only_server_is_named(
    entry: ModelEntry, is_named: bool
) -> None:
    assert ("metrics" in gateway_row(entry, "/e", Chat())) is is_named


@pytest.mark.parametrize(
    ("engine", "options", "is_told"),
    [
        ("vllm", {"scheduling_policy": "priority"}, True),
        ("vllm", {"scheduling_policy": "fcfs"}, False),
        ("vllm", {}, False),
        ("trtllm", {"scheduling_policy": "priority"}, False),
    ],
)
def test_the_gateway_is_told_which_servers_take_a_priority(
    engine: str, options: dict[str, Option], is_told: bool
) -> None:
    row = gateway_row(ModelEntry("m", engine=engine, options=options), "Org/M", Chat())
    assert row.get("priority", False) is is_told


def test_the_gateway_is_told_what_a_model_does_that_generates_no_text() -> None:
    rows = [
        gateway_row(ModelEntry("e", engine="llamacpp", task=task), "/m.gguf", Chat())
        for task in ("generate", "embed", "rerank")
    ]
    assert [row.get("task") for row in rows] == [None, "embed", "rerank"]


def test_the_gateway_is_told_of_a_model_that_reads_images(tmp_path: Path) -> None:
    entry = ModelEntry("q", engine="vllm")
    config = tmp_path / "config.json"
    found = []
    for text in ('{"vision_config": {}}', "{}", "not JSON"):
        config.write_text(text)
        found.append(gateway_row(entry, str(tmp_path), Chat()).get("images"))
    assert found == [True, None, None]
    assert "images" not in gateway_row(entry, "org/name", Chat())


@pytest.mark.parametrize(
    ("engine", "options", "left"),
    [
        ("trtllm", {}, {"reasoning": "think-tags", "starts_inside": False, "tools": "hermes-json"}),
        ("trtllm", {"reasoning_parser": "qwen3"}, {"tools": "hermes-json"}),
        ("trtllm", {"reasoning_parser": "qwen3", "tool_parser": "qwen3"}, {}),
        ("vllm", {}, {"reasoning": "think-tags", "starts_inside": False}),
        ("vllm", {"reasoning_parser": "qwen3"}, {}),
        ("llamacpp", {}, {}),
    ],
)
def test_what_no_server_was_told_to_read_is_left_to_our_parsers(
    engine: str, options: dict[str, Option], left: dict[str, object]
) -> None:
    entry = ModelEntry("q", engine=engine, options=options)
    chat = Chat("think-tags", "hermes-json", "enable_thinking")
    assert left_in_text(entry, chat) == left


async def test_the_gateway_gets_the_time_that_its_shutdown_may_take(tmp_path: Path) -> None:
    here = Environment(
        tmp_path, tmp_path, [], lambda _: None, no_engine, no_engine, {}, lambda *_: {}
    )
    graces = [
        gateway_server(Profile("p", "P", [], entry), Command([]), here).process.spec.grace
        for entry in (
            GatewayEntry(),
            GatewayEntry(shutdown_delay_seconds=7),
            GatewayEntry(shutdown_delay_seconds=7, drain_seconds=60),
            GatewayEntry(drain_seconds=0),
        )
    ]
    undisturbed = LoadLimits().drain + STOP_SECONDS
    assert graces == [undisturbed, undisturbed + 7, 7 + 60 + STOP_SECONDS, GRACE_SECONDS]


def no_engine(_: object) -> Path:
    raise AssertionError("nobody looks for one")
