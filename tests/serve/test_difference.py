"""What is done so that one profile becomes another: values in, steps out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from enginix.errors import UsageError
from enginix.serve.difference import (
    Difference,
    difference,
    require_same_gateway,
    with_kept_ports,
)
from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import GatewayEntry, Profile


def vllm(name: str, port: int, **more: Any) -> ModelEntry:
    return ModelEntry(name, engine="vllm", http_port=port, **more)


def profile(*models: ModelEntry) -> Profile:
    return Profile("p", "P", list(models))


def between(old: list[ModelEntry], new: list[ModelEntry]) -> Difference:
    return difference(profile(*old), profile(*new))


def test_the_same_models_in_another_order_differ_in_nothing() -> None:
    a, b = vllm("a", 1), vllm("b", 2)
    assert not between([a, b], [b, replace(a)])


def test_models_are_removed_changed_and_added_by_their_names() -> None:
    old = [vllm("a", 1), vllm("b", 2), vllm("c", 3)]
    found = between(old, [vllm("d", 4), vllm("b", 2, path="/new"), vllm("c", 3)])
    assert found == Difference(["a"], [], [], ["b"], ["d"])
    assert str(found) == "removed: a, changed: b, added: d"


@pytest.mark.parametrize(
    "outside",
    [
        {"aliases": ["x"]},
        {"contains": ["x"]},
        {"ttl_seconds": 60.0},
        {"on_demand": True},
        {"tools": "mistral", "reasoning": "think-tags", "starts_inside": True},
    ],
)
def test_what_a_server_does_not_see_does_not_restart_it(outside: dict[str, Any]) -> None:
    a = vllm("a", 1)
    assert between([a], [replace(a, **outside)]).redefined == ["a"]
    assert between([a], [replace(a, **outside, dtype="half")]).changed == ["a"]


def test_endpoints_come_and_go_beside_servers_that_stay_but_not_instead_of_them() -> None:
    a = vllm("a", 1, replicas=1)
    assert between([a], [replace(a, endpoints=["host:1"])]).redefined == ["a"]
    assert between([a], [replace(a, replicas=0, endpoints=["host:1"])]).changed == ["a"]


def test_a_model_whose_port_an_earlier_one_takes_ends_before_that_starts() -> None:
    swapped = between([vllm("a", 1), vllm("b", 2)], [vllm("a", 2), vllm("b", 1)])
    assert (swapped.first_ended, swapped.changed) == (["b"], ["a", "b"])
    taken = between([vllm("a", 1)], [vllm("a", 3), vllm("new", 1)])
    assert (taken.first_ended, taken.added) == ([], ["new"])
    moved = between([vllm("a", 1), vllm("b", 2)], [vllm("a", 3), vllm("b", 4)])
    assert moved.first_ended == []


def test_those_that_free_memory_change_first() -> None:
    old = [vllm("grows", 1, memory=0.3), vllm("shrinks", 2, memory=0.6)]
    new = [vllm("grows", 1, memory=0.6), vllm("shrinks", 2, memory=0.3)]
    assert between(old, new).changed == ["shrinks", "grows"]


def test_ports_that_a_file_leaves_open_stay_those_of_the_running_model() -> None:
    running = [vllm("a", 7), vllm("b", 8)]
    new = profile(vllm("a", 0), vllm("b", 9), ModelEntry("c", engine="vllm", http_port=0))
    kept = with_kept_ports(new, running)
    assert [entry.http_port for entry in kept.models] == [7, 9, 0]
    other_server = profile(ModelEntry("a", http_port=0, grpc_port=0, metrics_port=0))
    assert with_kept_ports(other_server, running) == other_server


def test_each_setting_of_the_gateway_that_changed_is_named() -> None:
    old = GatewayEntry()
    require_same_gateway(old, GatewayEntry())
    with pytest.raises(UsageError) as refusal:
        require_same_gateway(old, GatewayEntry(port=9001, host="::"))
    for words in (
        "gateway.port (--port): found 9001, expected 9000",
        "gateway.host (--host): found '::', expected '127.0.0.1'",
        "put them back, or restart `enginix up`",
    ):
        assert words in str(refusal.value)
