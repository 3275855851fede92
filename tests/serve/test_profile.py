"""Profiles load strictly, and their command lines are plain values."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginix.catalog.load import find_model
from enginix.errors import UsageError
from enginix.serve.model_entry import ModelEntry
from enginix.serve.overrides import overridden
from enginix.serve.profile import Profile, check, load_profile, memory_by_gpu, profile_names

ONE = 'title = "x"\n[[model]]\nname = "a"\n'
TWO = '[[model]]\nname = "b"\nengine = "vllm"\nhttp_port = 1\n'


def written(directory: Path, text: str) -> Path:
    (directory / "mine.toml").write_text(text)
    return directory


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_names_models_of_the_catalogue(name: str) -> None:
    for entry in load_profile(name).models:
        assert find_model(entry.model)


@pytest.mark.parametrize("name", ["nope", "../demo", "", "demo.toml"])
def test_an_unknown_profile_names_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match=r"there is .*demo"):
        load_profile(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "mine.toml"),
        ("", "title"),
        ('title = "x"\ncolor = 1', r"unknown keys \['color'\]"),
        ('title = "x"\n[[model]]\nname = "a"\nport = 1', r"models\[0\]: unknown keys \['port'\]"),
        ('title = "x"\n[[model]]\nname = "a"\n[[model]]\nname = "a"', "two models have one name"),
        ('title = "x"', r"no \[\[model\]\]"),
        (ONE + "http_port = '1'", "http_port: expected a whole number, got '1'"),
        (ONE + "aliases = [1]", r"aliases\[0\]: expected a string, got 1"),
        (ONE + 'engine = "tgi"', "one of triton, trtllm, vllm, llamacpp, edge-llm, got 'tgi'"),
        (ONE + 'task = "embed"', "a: task: Triton can generate, got 'embed'"),
        (
            ONE + 'engine = "vllm"\ntask = "embeddings"',
            "a: task: vLLM can generate, embed, rerank, got 'embeddings'",
        ),
        (ONE + "memory = 1.5", "memory is 1.5; expected a share from 0 to 1"),
        (ONE + "http_port = 9000", "port 9000 is used by the gateway and by a"),
        (
            ONE + f"memory = 0.6\n{TWO}memory = 0.5",
            r"0\.6 \(a\) \+ 0\.5 \(b\) = 1\.1 of each GPU's memory",
        ),
        (
            ONE + f'memory = 0.6\n{TWO}memory = 0.5\ngpus = ["1"]',
            r"= 1\.1 of GPU 1's memory",
        ),
        (ONE + "replicas = 0", "a: replicas is 0 and endpoints is empty; expected at least one"),
        (ONE + "replicas = -1", "a: replicas is -1 and endpoints is empty; expected at least"),
        (ONE + "replicas = '2'", "replicas: expected a whole number, got '2'"),
        (
            ONE + 'endpoints = ["x"]',
            "a: endpoints: 'x' is no address of Triton; expected HOST:PORT",
        ),
        (ONE + 'endpoints = ["x:1", "x:1"]', "endpoints: x:1 is there twice"),
        (
            ONE + 'replicas = 2\ngpus = ["0"]',
            r"replicas is 2 and gpus names 1 \(0\); expected as many for each replica: 2, 4",
        ),
        (ONE + 'replicas = 2\ngpus = ["0", "1", "2"]', r"gpus names 3 \(0, 1, 2\); expected"),
        (ONE + "replicas = 2\non_demand = true", "on_demand and ttl_seconds are for a model with"),
        (ONE + 'endpoints = ["x:1"]\nttl_seconds = 9', "on_demand and ttl_seconds are for a"),
    ],
)
def test_a_mistake_in_a_profile_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_profile("mine", written(tmp_path, text))


def test_shares_that_just_fit_pass(tmp_path: Path) -> None:
    profile = written(tmp_path, ONE + f"memory = 0.7\n{TWO}memory = 0.3")
    assert len(load_profile("mine", profile).models) == 2


def test_models_on_different_gpus_do_not_share_memory(tmp_path: Path) -> None:
    text = ONE + f'memory = 0.9\ngpus = ["0"]\n{TWO}memory = 0.9\ngpus = ["1"]'
    assert len(load_profile("mine", written(tmp_path, text)).models) == 2


@pytest.mark.parametrize(
    ("text", "here", "elsewhere"),
    [
        ("", 1, []),
        ("replicas = 2", 2, []),
        ('endpoints = ["x:1"]', 0, ["x:1"]),
        ('replicas = 1\nendpoints = ["x:1"]', 1, ["x:1"]),
        ('replicas = 0\nendpoints = ["x:1"]', 0, ["x:1"]),
    ],
)
def test_endpoints_take_the_place_of_an_own_server_unless_both_are_named(
    tmp_path: Path, text: str, here: int, elsewhere: list[str]
) -> None:
    (entry,) = load_profile("mine", written(tmp_path, ONE + text)).models
    assert (entry.replicas_here, entry.endpoints) == (here, elsewhere)


def test_servers_elsewhere_take_no_port_and_no_memory_here(tmp_path: Path) -> None:
    first = ONE + 'memory = 0.9\nhttp_port = 1\nendpoints = ["x:1"]\n'
    text = f"{first}{TWO}memory = 0.9"
    assert len(load_profile("mine", written(tmp_path, text)).models) == 2


def test_replicas_and_endpoints_can_be_set() -> None:
    settings = ["demo.replicas=2", "demo.endpoints=a:1,b:2"]
    demo, _ = overridden(load_profile("demo-multi"), settings).models
    assert (demo.replicas, demo.endpoints) == (2, ["a:1", "b:2"])


def test_every_value_of_a_profile_can_be_set() -> None:
    settings = ["demo.http_port=1", "demo-llama.options.parallel=2", "demo-llama.contains=['x']"]
    demo, llama = overridden(load_profile("demo-multi"), settings).models
    assert (demo.http_port, llama.options["parallel"], llama.contains) == (1, 2, ["x"])


def test_the_profile_and_its_gateway_have_values_of_their_own() -> None:
    settings = ["min_residency_seconds=1", "gateway.workers=2", "hello=Hi"]
    profile = overridden(load_profile("demo-multi"), settings)
    assert (profile.min_residency_seconds, profile.gateway.workers, profile.hello) == (1, 2, "Hi")


@pytest.mark.parametrize(
    ("entries", "allowed"),
    [
        ([("a", 0.5, False), ("b", 0.5, False)], True),
        ([("a", 0.6, False), ("b", 0.5, False)], False),
        ([("a", 0.4, False), ("b", 0.6, True), ("c", 0.6, True)], True),
        ([("a", 0.5, False), ("b", 0.6, True)], False),
    ],
)
def test_models_on_demand_need_room_one_at_a_time(
    entries: list[tuple[str, float, bool]], allowed: bool
) -> None:
    models = [
        ModelEntry(
            name,
            memory=share,
            on_demand=on_demand,
            http_port=3 * n,
            grpc_port=3 * n + 1,
            metrics_port=3 * n + 2,
        )
        for n, (name, share, on_demand) in enumerate(entries, start=1)
    ]
    profile = Profile("p", "P", models)
    if allowed:
        check(profile, "p")
    else:
        with pytest.raises(UsageError, match="of each GPU's memory; expected at most 1"):
            check(profile, "p")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("demo", "expected NAME.KEY=VALUE with NAME one of demo, demo-llama"),
        ("nope.http_port=1", "NAME one of demo, demo-llama"),
        ("demo.colour=1", "there is no setting 'colour'; there is name, engine"),
        ("demo.http_port=many", "expected a whole number, got 'many'"),
        ("demo.http_port.x=1", "http_port has no keys of its own"),
        ("demo.memory=2", "expected a share from 0 to 1"),
        ("demo.http_port=8080", "port 8080 is used by"),
    ],
)
def test_a_mistake_in_a_setting_is_named(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        overridden(load_profile("demo-multi"), [setting])


@pytest.mark.parametrize("value", ["0", "[0]", '["0"]'])
def test_gpus_may_be_set_as_numbers(value: str) -> None:
    profile = overridden(load_profile("vllm-multi"), [f"qwen3-coder-30b.gpus={value}"])
    assert profile.models[0].gpus == ["0"]


@pytest.mark.parametrize("value", ["0,1", "[0, 1]", '["0", "1"]'])
def test_several_gpus_may_be_set_as_a_list(value: str) -> None:
    profile = overridden(load_profile("vllm-qwen3-coder"), [f"qwen3-coder-30b.gpus={value}"])
    assert profile.models[0].gpus == ["0", "1"]


def test_two_models_in_vllm_share_one_gpu() -> None:
    shared = load_profile("vllm-multi-one-gpu")
    assert memory_by_gpu(shared.models) == {
        "0": {"qwen3-coder-30b": 0.55, "nemotron-3-nano-30b-a3b": 0.35}
    }
    assert [entry.name for entry in shared.models] == [
        entry.name for entry in load_profile("vllm-multi").models
    ]
