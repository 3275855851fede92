"""`enginix up` with llama-servers that draft tokens ahead, and with one that has LoRA adapters."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from fakes.gguf_files import adapter, in_f32, shallow

from enginix.runtimes.runtime import Runtime
from tests.conftest import free_ports
from tests.end_to_end.up_process import Running, environment, serving
from tests.waiting import until

pytestmark = pytest.mark.triton

QUESTIONS = [
    "What is the capital of France?",
    "What is the capital of Spain?",
    "Say: one two three one two three one two three",
]


@pytest.fixture(scope="module")
def running(
    runtime: Runtime, demo_engine: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("models")
    model = demo_engine / "model.gguf"
    shallow(model, directory / "draft.gguf", layers=3)
    base = in_f32(model, directory / "base.gguf")
    for n, name in enumerate(("ffn_down", "attn_output")):
        adapter(base, directory / f"{name}.gguf", name, seed=n)
    plain = {"engine": "llamacpp", "model_path": str(model)}
    drafts = {
        "drafted": {"method": "draft", "model": "draft.gguf", "tokens": 4},
        "repeating": {"method": "ngram"},
    }
    adapters = {"loud": "ffn_down.gguf", "quiet": "attn_output.gguf"}
    models = {
        "plain": plain,
        **{name: {**plain, "speculative": one} for name, one in drafts.items()},
        "base": {"engine": "llamacpp", "model_path": "base.gguf", "adapters": adapters},
    }
    file = directory / "models.json"
    file.write_text(json.dumps({"models": models}))
    # A socket's path must be short.
    with TemporaryDirectory(prefix="h") as home:
        env = environment(Path(home), runtime)
        with serving(env, *free_ports(1), "up", f"--models={file}") as found:
            yield found


def answers(running: Running, model: str) -> list[Any]:
    found = []
    for question in QUESTIONS:
        answer = running.ask(model, question, max_tokens=60)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["choices"][0]["message"])
    return found


def status(running: Running, model: str) -> Any:
    rows = httpx.get(f"{running.url}/v1/status").json()["models"]
    return next(row for row in rows if row["id"] == model)


def samples(running: Running, name: str, model: str) -> list[float]:
    page = httpx.get(f"{running.url}/metrics").text
    lines = [line for line in page.splitlines() if line.startswith(f"{name}{{")]
    return [float(line.split()[-1]) for line in lines if f'model="{model}"' in line]


@pytest.mark.parametrize("model", ["drafted", "repeating"])
def test_drafting_changes_no_answer_and_says_how_much_was_accepted(
    running: Running, model: str, tmp_path: Path
) -> None:
    assert answers(running, model) == answers(running, "plain")
    file = tmp_path / "bench.json"
    bench = [sys.executable, "-m", "enginix", "bench", running.url, f"--model={model}"]
    bench += ["--concurrency=2", "--requests=4", "--max-tokens=40", f"--json={file}"]
    subprocess.run(bench, check=True, capture_output=True)
    (level,) = json.loads(file.read_text())["levels"]
    assert 0 < level["acceptance"] <= 1

    def says_the_same_everywhere() -> bool:
        """The gateway repeats for a second what it has read of the server's page."""
        counts = status(running, model).get("speculative")
        drafted = samples(running, "enginix_drafted_tokens_total", model)
        accepted = samples(running, "enginix_accepted_tokens_total", model)
        # Of two looks: the page may have changed between them.
        if not (counts and any(drafted) and any(accepted)):
            return False
        rate = round(accepted[0] / drafted[0], 4)
        return bool(counts == {"drafted": drafted[0], "accepted": accepted[0], "rate": rate})

    asyncio.run(until(says_the_same_everywhere))


def test_a_model_that_drafts_nothing_has_no_acceptance(running: Running) -> None:
    assert "speculative" not in status(running, "plain")
    assert not samples(running, "enginix_drafted_tokens_total", "plain")


def test_adapters_are_models_of_their_own_on_their_models_server(running: Running) -> None:
    listed = {row["id"]: row for row in httpx.get(f"{running.url}/v1/models").json()["data"]}
    assert listed["base"]["parent"] is None
    assert listed["loud"]["parent"] == listed["quiet"]["parent"] == "base"
    assert status(running, "loud")["pid"] == status(running, "base")["pid"]
    models = ["base", "loud", "quiet"]
    first = {name: answers(running, name) for name in models}
    assert first["base"] == answers(running, "plain")
    assert not any(first["loud"][n] == first["quiet"][n] for n in range(len(QUESTIONS)))
    assert first["base"] != first["loud"]
    # None of them gets what another one has read of the same prompt, in turns or at once.
    for name in reversed(models):
        assert answers(running, name) == first[name]
    with ThreadPoolExecutor(len(models)) as pool:
        again = dict(zip(models, pool.map(partial(answers, running), models), strict=True))
    assert again == first


def test_an_adapter_answers_in_every_dialect(running: Running) -> None:
    question = {"role": "user", "content": QUESTIONS[0]}
    asked = {"model": "loud", "messages": [question], "temperature": 0, "max_tokens": 60}
    chat = running.ask("loud", max_tokens=60).json()["choices"][0]["message"]
    message = httpx.post(f"{running.url}/v1/messages", json=asked, timeout=20).json()
    assert message["model"] == "loud"
    text = "".join(part.get("text", "") for part in message["content"])
    assert text.strip() == (chat["content"] or "").strip()
    asked = {"model": "loud", "input": QUESTIONS[0], "temperature": 0, "max_output_tokens": 60}
    response = httpx.post(f"{running.url}/v1/responses", json=asked, timeout=20).json()
    parts = [part["text"] for item in response["output"] for part in item.get("content") or ()]
    assert text.strip() in parts[-1]
    own = {"model": "loud", "prompt": "The capital of", "temperature": 0, "max_tokens": 8}
    completions = [
        httpx.post(f"{running.url}/v1/completions", json=body, timeout=20).json()["choices"][0]
        # A client does not get another model by the field that chooses one.
        for body in (own, {**own, "lora": []}, {**own, "model": "base"})
    ]
    assert completions[0] == completions[1] != completions[2]
