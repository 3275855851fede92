"""What the server of a model reports: its load, in the names that endpoint pickers read, and what
became of drafted tokens.

The names of the load are those of TensorRT-LLM in Triton, whose gauges are passed on; the same
gauges of vLLM and trtllm-serve are renamed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from enginix.backends.openai.http import HttpClient
from enginix.errors import BackendError, BackendTimedOut, BackendUnavailable

logger = logging.getLogger(__name__)

# How long an answer counts: pickers ask twenty times a second.
FRESH_SECONDS = 1.0
# How long a server may take to answer: its numbers would be old, and /metrics waits for them.
ANSWER_SECONDS = 0.5
PAGE_BYTES = 4 << 20

REQUESTS = "nv_trt_llm_request_metrics"
KV_CACHE = "nv_trt_llm_kv_cache_block_metrics"
REQUEST_TYPE, BLOCK_TYPE = "request_type", "kv_cache_block_type"

# Another server's gauge -> the family, and the label's value, of the same in Triton.
RENAMED = {
    "vllm:num_requests_waiting": (REQUESTS, "waiting"),
    "vllm:num_requests_running": (REQUESTS, "scheduled"),
    "vllm:kv_cache_usage_perc": (KV_CACHE, "fraction"),
    "trtllm_num_requests_waiting": (REQUESTS, "waiting"),
    "trtllm_num_requests_running": (REQUESTS, "scheduled"),
    "trtllm_kv_cache_utilization": (KV_CACHE, "fraction"),
    "trtllm_kv_cache_tokens_per_block": (KV_CACHE, "tokens_per"),
    "trtllm_kv_cache_max_blocks": (KV_CACHE, "max"),
}
# The tokens that speculative decoding drafted, and those of them that were generated.
DRAFTED, ACCEPTED = "enginix_drafted_tokens_total", "enginix_accepted_tokens_total"
COUNTED = {
    f"{server}spec_decode_num_{kind}_tokens_total": name
    for server in ("vllm:", "llamacpp:", "trtllm_")
    for kind, name in (("draft", DRAFTED), ("accepted", ACCEPTED))
}
# vLLM's numbers that are labels -> the same in Triton.
VLLM_CACHE = "vllm:cache_config_info"
VLLM_CACHE_LABELS = {"block_size": "tokens_per", "num_gpu_blocks": "max"}
READ = (REQUESTS, KV_CACHE, VLLM_CACHE, *RENAMED, *COUNTED)


class ServerMetrics:
    """One model's, from its server's page at `url`. UsageError if that is no address."""

    def __init__(
        self,
        model: str,
        url: str,
        *,
        patience: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._client = HttpClient(url, name=f"the metrics page of {model}, {url},")
        self._patience = patience
        self._clock = clock
        self._lock = asyncio.Lock()
        self._samples: list[Sample] = []
        self._asked = -float("inf")
        self._failing = False

    async def samples(self) -> list[Sample]:
        """At most FRESH_SECONDS old; none if the server does not answer in time."""
        async with self._lock:
            if self._clock() - self._asked >= FRESH_SECONDS:
                self._samples = await self._read()
                self._asked = self._clock()
        return self._samples

    async def _read(self) -> list[Sample]:
        try:
            samples = picker_samples(await self._page(), self._model)
        except (BackendError, ValueError) as error:
            if not self._failing:
                logger.info("/metrics has our own counts only: %s", error)
            self._failing = True
            return []
        self._failing = False
        return samples

    async def _page(self) -> str:
        client = self._client
        try:
            async with asyncio.timeout(self._patience), client.request("GET", "") as response:
                page = await response.read(PAGE_BYTES)
        except TimeoutError:
            raise BackendTimedOut(
                f"{client.name} did not come within {self._patience:g} s"
            ) from None
        finally:
            # Nothing is left open between two scrapes.
            await client.close()
        if response.status != 200:
            raise BackendUnavailable(f"{client.name} answers {response.status}, expected 200")
        return page.decode()


def acceptance(samples: Iterable[Sample]) -> dict[str, float | None] | None:
    """`drafted` and `accepted` tokens and their `rate`; None if the server does not say."""
    sums: dict[str, float] = {}
    for sample in samples:
        sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    if not sums.keys() >= {DRAFTED, ACCEPTED}:
        return None
    drafted, accepted = sums[DRAFTED], sums[ACCEPTED]
    rate = round(accepted / drafted, 4) if drafted else None
    return {"drafted": int(drafted), "accepted": int(accepted), "rate": rate}


def picker_samples(page: str, model: str) -> list[Sample]:
    """What is read here of a metrics page. ValueError if it is none."""
    lines = [line for line in page.splitlines() if line.startswith(READ)]
    found: dict[tuple[str, frozenset[tuple[str, str]]], Sample] = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            for name, labels, value in _renamed(sample):
                labels = {**labels, "model": model}
                found.setdefault((name, frozenset(labels.items())), Sample(name, labels, value))
    return list(found.values())


def _renamed(sample: Sample) -> Iterator[tuple[str, dict[str, str], float]]:
    # vLLM's engines, if one server runs several.
    engine = {name: value for name, value in sample.labels.items() if name == "engine"}
    if sample.name in (REQUESTS, KV_CACHE):
        yield sample.name, sample.labels, sample.value
    elif sample.name == VLLM_CACHE:
        for label, kind in VLLM_CACHE_LABELS.items():
            if (count := sample.labels.get(label, "")).isdecimal():
                yield KV_CACHE, {**engine, BLOCK_TYPE: kind}, float(count)
    elif sample.name in COUNTED:
        yield COUNTED[sample.name], engine, sample.value
    elif sample.name in RENAMED:
        name, kind = RENAMED[sample.name]
        yield (
            name,
            {**engine, (REQUEST_TYPE if name == REQUESTS else BLOCK_TYPE): kind},
            sample.value,
        )
