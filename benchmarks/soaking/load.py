"""Mixed load at bounded concurrency, and beside it the eyes: samples, health, load and unload."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from benchmarks.soaking.client import CHAT, HEAVY, KINDS, Asker, Kind, is_about
from benchmarks.soaking.judgement import Ended, Health
from benchmarks.soaking.processes import Sample, sample
from benchmarks.soaking.profile import Profile
from benchmarks.soaking.questions import MODELS, Question, questions, user

PATIENCE = 90.0
HEALTH_SECONDS = 0.5
GUEST = "guest"
GUEST_ROLE = f"llama-server of {GUEST}"
HEAVY_PAUSE = 5.0
# A run of so many seconds is worth filling what may be full.
LONG = 120.0
STORED = 1000


@dataclass
class Record:
    """All that was seen, in the order in which it was."""

    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    requests: list[Ended] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    health: list[Health] = field(default_factory=list)
    restarts: dict[str, int] = field(default_factory=dict)


async def soak(profile: Profile, seconds: float, at_once: int, seed: int) -> Record:
    limits = httpx.Limits(max_connections=at_once + 8)
    async with httpx.AsyncClient(
        base_url=profile.url, timeout=PATIENCE, limits=limits, trust_env=False
    ) as client:
        asked = {name: questions(name) for name in MODELS}
        if seconds >= LONG:
            await fill_store(client)
        record = Record()
        until = record.began + seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(watch_processes(profile, record, until, max(0.5, seconds / 600)))
            group.create_task(watch_health(profile.url, record, until))
            if profile.home is not None:
                group.create_task(come_and_go(client, profile, record, until))
            group.create_task(heavy_guides(client, record, until, seed))
            for number in range(at_once):
                asker = Asker(client, random.Random(seed * 1000 + number))
                group.create_task(ask_on(asker, asked, record, until))
        record.ended = time.monotonic()
        status = (await client.get("/v1/status")).json()
        record.restarts = {each["id"]: each.get("restarts", 0) for each in status["models"]}
    return record


async def fill_store(client: httpx.AsyncClient) -> None:
    """/v1/responses keeps its newest thousand: until it is full, the gateway grows rightly."""
    body = {"model": "demo", "input": "What is 2 + 3?", "max_output_tokens": 16}

    async def ask() -> None:
        for _ in range(STORED // 10):
            (await client.post("/v1/responses", json=body)).raise_for_status()

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(ask())


async def ask_on(
    asker: Asker, asked: Mapping[str, Sequence[Question]], record: Record, until: float
) -> None:
    names = list(KINDS)
    weights = [KINDS[name][1] for name in names]
    while time.monotonic() < until:
        (kind,) = asker.chance.choices(names, weights)
        run, _, only = KINDS[kind]
        question = asker.chance.choice(asked[only or asker.chance.choice(list(asked))])
        await note(record, kind, run, asker, question)


async def note(record: Record, kind: str, run: Kind, asker: Asker, question: Question) -> None:
    began = time.monotonic()
    try:
        wrong = await run(asker, question)
    except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
        wrong = f"{type(error).__name__}: {error}"
    model = question.model if is_about(kind) else None
    record.requests.append(Ended(kind, model, began, time.monotonic(), wrong))


async def heavy_guides(client: httpx.AsyncClient, record: Record, until: float, seed: int) -> None:
    kind, run = HEAVY
    asker = Asker(client, random.Random(seed))
    anything = Question("demo", {}, questions("demo")[0].answer)
    while time.monotonic() + HEAVY_PAUSE < until:
        await note(record, kind, run, asker, anything)
        await asyncio.sleep(HEAVY_PAUSE)


async def watch_processes(profile: Profile, record: Record, until: float, pause: float) -> None:
    while time.monotonic() < until:
        record.samples += await asyncio.to_thread(_look, profile)
        await asyncio.sleep(pause)


def _look(profile: Profile) -> list[Sample]:
    return sample(profile.processes(), time.monotonic())


async def watch_health(url: str, record: Record, until: float) -> None:
    """On connections of its own: a health check behind a load balancer knows no others."""
    while time.monotonic() < until:
        async with httpx.AsyncClient(base_url=url, timeout=5, trust_env=False) as client:
            record.health.append(await health(client))
        await asyncio.sleep(HEALTH_SECONDS)


async def health(client: httpx.AsyncClient) -> Health:
    try:
        models = (await client.get("/health")).json()["models"]
    except (httpx.HTTPError, ValueError, KeyError):
        return Health(time.monotonic(), None)
    well = frozenset(name for name, each in models.items() if each["ok"])
    return Health(time.monotonic(), well, frozenset(models))


async def come_and_go(
    client: httpx.AsyncClient, profile: Profile, record: Record, until: float
) -> None:
    """A third model is loaded, asked, unloaded and asked again, until the time is over."""
    assert profile.home is not None
    guest = {"model": GUEST, "model_path": f"{profile.home}/engines/demo-llama"}
    question = {"model": GUEST, "messages": user("Who are you?"), "temperature": 0}
    steps = (
        ("load", "/v1/models/load", {**guest, "engine": "llamacpp"}, 200, '"loaded"'),
        ("ask a guest", CHAT, question, 200, "a tiny Llama"),
        ("unload", "/v1/models/unload", {"model": GUEST}, 200, '"idle"'),
        ("ask the absent", CHAT, question, 503, "not loaded"),
    )
    while time.monotonic() < until:
        for kind, path, body, status, words in steps:
            began = time.monotonic()
            try:
                answer = await client.post(path, json=body)
                right = answer.status_code == status and words in answer.text
                wrong = None if right else f"status {answer.status_code}: {answer.text[:300]}"
            except httpx.HTTPError as error:
                wrong = f"{type(error).__name__}: {error}"
            record.requests.append(Ended(kind, None, began, time.monotonic(), wrong))
        await asyncio.sleep(2)
