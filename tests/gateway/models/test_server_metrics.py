"""The gateway's /metrics has what pickers read: from a model's server, or counted here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from fakes.backend import FakeBackend
from fakes.clock import Clock
from gateway.harness import ids, served, server, user
from prometheus_client.parser import text_string_to_metric_families

from enginix.gateway.models.metrics import Metrics
from enginix.gateway.models.server_metrics import (
    KV_CACHE,
    REQUESTS,
    ServerMetrics,
    acceptance,
    picker_samples,
)
from tests.gateway.models.pages import (
    DRAFTING_PAGES,
    GGUF_PAGE,
    TENSORRT_LLM_PAGE,
    TRTLLM_SERVE_PAGE,
    VLLM_PAGE,
)

LABELS = {REQUESTS: "request_type", KV_CACHE: "kv_cache_block_type"}
Series = dict[tuple[str, str], float]


class Page:
    """A server of one page; it answers nothing while `silent`."""

    def __init__(self, text: str, status: int = 200) -> None:
        self.text = text
        self.status = status
        self.silent = False
        self.asked = 0
        self._answers: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = asyncio.current_task()
        assert answer is not None
        self._answers.add(answer)
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        if self.silent:
            await reader.read()
        else:
            body = self.text.encode()
            head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
        writer.close()
        await writer.wait_closed()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        listener = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        async with listener:
            yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/metrics"
            await asyncio.gather(*self._answers)


def series_of(exposition: str, model: str = "demo") -> Series:
    """(family, kind) -> value, of what pickers read of one model; fails for a second series."""
    found: Series = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples if family.name in LABELS else ():
            if sample.labels["model"] == model:
                key = (family.name, sample.labels[LABELS[family.name]])
                assert key not in found
                found[key] = sample.value
    return found


def requests(**counts: float) -> Series:
    return {(REQUESTS, kind): count for kind, count in counts.items()}


def cache(**counts: float) -> Series:
    return {(KV_CACHE, kind): count for kind, count in counts.items()}


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (
            TENSORRT_LLM_PAGE,
            requests(waiting=2, scheduled=8, active=9)
            | cache(fraction=0.4875, tokens_per=32, max=4096),
        ),
        (GGUF_PAGE, requests(waiting=3, scheduled=16, active=16, max=16)),
        (
            VLLM_PAGE,
            requests(waiting=1, scheduled=5) | cache(fraction=0.25, tokens_per=16, max=27000),
        ),
        (TRTLLM_SERVE_PAGE, requests(waiting=0, scheduled=4) | cache(fraction=0.5)),
        ("", requests(waiting=0, scheduled=0)),
    ],
    ids=["tensorrt-llm", "gguf", "vllm", "trtllm-serve", "none"],
)
def test_every_servers_page_is_read_under_the_names_that_pickers_know(
    page: str, expected: Series
) -> None:
    exposition = Metrics(["demo"]).exposition(picker_samples(page, "demo")).decode()
    assert series_of(exposition) == expected


@pytest.mark.parametrize("page", DRAFTING_PAGES.values(), ids=DRAFTING_PAGES)
def test_what_a_server_says_of_drafted_tokens_is_passed_on(page: str) -> None:
    samples = picker_samples(page, "demo")
    assert acceptance(samples) == {"drafted": 40, "accepted": 30, "rate": 0.75}
    exposition = Metrics(["demo"]).exposition(samples).decode()
    assert exposition.count("# TYPE enginix_drafted_tokens_total counter") == 1
    found = [line for line in exposition.splitlines() if line.startswith("enginix_accepted_tok")]
    assert all('model="demo"' in line for line in found)
    assert sum(float(line.split()[-1]) for line in found) == 30


def test_a_server_that_drafted_nothing_yet_has_no_rate_and_others_no_acceptance() -> None:
    nothing = DRAFTING_PAGES["llama-server"].replace(" 40", " 0").replace(" 30", " 0")
    assert acceptance(picker_samples(nothing, "demo")) == {
        "drafted": 0,
        "accepted": 0,
        "rate": None,
    }
    assert acceptance(picker_samples(VLLM_PAGE, "demo")) is None
    assert "drafted" not in Metrics(["demo"]).exposition(picker_samples(VLLM_PAGE, "demo")).decode()


def test_models_of_one_name_in_their_tritons_are_told_apart_by_their_name_here() -> None:
    samples = [
        *picker_samples(TENSORRT_LLM_PAGE, "large"),
        *picker_samples(GGUF_PAGE, "small"),
    ]
    exposition = Metrics(["large", "small", "other"]).exposition(samples).decode()
    assert exposition.count(f"# TYPE {REQUESTS} gauge") == 1
    assert series_of(exposition, "large")[REQUESTS, "waiting"] == 2
    assert series_of(exposition, "small")[REQUESTS, "waiting"] == 3
    assert (KV_CACHE, "fraction") not in series_of(exposition, "small")
    assert series_of(exposition, "other") == requests(waiting=0, scheduled=0)


def test_two_models_in_one_triton_do_not_make_a_series_twice() -> None:
    other = GGUF_PAGE.replace('model="tensorrt_llm"', 'model="draft"')
    lines = [line for line in other.splitlines() if not line.startswith("#")]
    samples = picker_samples(GGUF_PAGE + "\n".join(lines), "demo")
    assert len(samples) == 4


def test_a_count_that_a_server_lacks_is_our_own() -> None:
    metrics = Metrics(["demo"])
    metrics.load("demo").running.set(7)
    page = "\n".join(line for line in GGUF_PAGE.splitlines() if "scheduled" not in line)
    found = series_of(metrics.exposition(picker_samples(page, "demo")).decode())
    assert found == requests(scheduled=7, waiting=3, active=16, max=16)


async def test_a_page_is_asked_for_at_most_once_a_second_however_many_want_it() -> None:
    page, clock = Page(GGUF_PAGE), Clock()
    async with page.listening() as url:
        metrics = ServerMetrics("demo", url, patience=30, clock=clock)
        first = await asyncio.gather(*(metrics.samples() for _ in range(5)))
        assert (page.asked, {len(samples) for samples in first}) == (1, {4})
        clock.now += 0.99
        await metrics.samples()
        assert page.asked == 1
        clock.now += 0.01
        await metrics.samples()
        assert page.asked == 2


@pytest.mark.parametrize("fault", ["gone", "silent", "refused", "nonsense"])
async def test_a_server_that_cannot_be_asked_has_no_numbers_rather_than_old_ones(
    fault: str,
) -> None:
    page, clock = Page(GGUF_PAGE), Clock()
    async with page.listening() as url:
        metrics = ServerMetrics("demo", url, patience=30, clock=clock)
        assert await metrics.samples()
        if fault == "silent":
            page.silent, metrics._patience = True, 0.05
        page.status = 404 if fault == "refused" else 200
        page.text = f"{REQUESTS}{{" if fault == "nonsense" else page.text
        if fault != "gone":
            clock.now += 1
            assert await metrics.samples() == []
    if fault == "gone":
        clock.now += 1
        assert await metrics.samples() == []


async def test_the_gateway_shows_what_the_models_server_says() -> None:
    page = Page(TENSORRT_LLM_PAGE)
    async with page.listening() as url:
        model = replace(served(FakeBackend(ids("Hello"))), metrics=url)
        async with server(model) as client:
            text = ""
            async with asyncio.timeout(30):
                # On a busy machine the page may not come in time at first.
                while f'{KV_CACHE}{{kv_cache_block_type="fraction"' not in text:
                    text = (await client.get("/metrics")).text
    assert series_of(text)[KV_CACHE, "fraction"] == 0.4875
    assert 'enginix_running_requests{model="demo"} 0.0' in text


async def test_without_a_page_the_gateway_counts_its_own_requests() -> None:
    backend = FakeBackend(ids("Hello"), stops_at=1)
    async with server(served(backend)) as client:
        body = {"messages": user("Hi")}
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        await backend.stuck.wait()
        text = (await client.get("/metrics")).text
        backend.go.set()
        await asking
    assert series_of(text) == requests(waiting=0, scheduled=1)
