"""Holds named keys to their limits, across all worker processes of a gateway.

A request is counted when it is admitted, whatever becomes of it. Its prompt's tokens are charged
then, where this gateway knows them; its answer's, and a prompt that only its server counts, when it
ends. That may overdraw the key's tokens, and the key's next requests wait for as long as that takes
to be made up.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from enginix.errors import RateLimited, RequestError
from enginix.gateway.keys import bucket
from enginix.gateway.keys.key import Key, Standing
from enginix.gateway.keys.ledger import Ledger, Row
from enginix.gateway.models.record import RequestRecord

# When one of a key's requests ends is not known.
RUNNING_SECONDS = 1.0

Result = TypeVar("Result")


class KeyLimits:
    def __init__(self, directory: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`directory`: the workers'. `clock`: the same for all of them."""
        self._directory = directory
        self._clock = clock
        self._ledger: Ledger | None = None

    @asynccontextmanager
    async def around(
        self, work: AbstractAsyncContextManager[Result], record: RequestRecord, key: Key
    ) -> AsyncIterator[Result]:
        """`work`, admitted first and counted while it runs. Raises RateLimited."""
        with self.held(record, key):
            async with work as result:
                yield result

    @contextmanager
    def held(self, record: RequestRecord, key: Key) -> Iterator[None]:
        """Admit the request, and count it while the block runs. Raises RateLimited."""
        if not key.limited:
            yield
            return
        if self._ledger is None:
            self._ledger = Ledger(self._directory)
        ledger = self._ledger
        with ledger.row(key.digest) as row:
            self._admit(row, record, key)
        try:
            yield
        finally:
            # A request may outlast the gateway that is told to end at once.
            if not ledger.closed:
                with ledger.row(key.digest) as row:
                    if key.max_running is not None:
                        row.count(-1)
                    _charge_tokens(row, record, key, self._clock())

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()

    def _admit(self, row: Row, record: RequestRecord, key: Key) -> None:
        now = self._clock()
        first = record.charged is None
        record.standing = _standing(row, key, now)
        _refuse_above_limit(row, record, key, now, requests=int(first))
        if key.max_running is not None:
            row.count(1)
        if key.requests_per_minute is not None and first:
            row.requests = bucket.taken(row.requests, now, 1, key.requests_per_minute)
        record.charged = record.charged or 0
        _charge_tokens(row, record, key, now)
        record.standing = _standing(row, key, now)


def _refuse_above_limit(
    row: Row, record: RequestRecord, key: Key, now: float, *, requests: int
) -> None:
    if key.max_running is not None and row.all_running >= key.max_running:
        raise RateLimited(
            f"rate limit reached for key {key.name!r}: it has {row.all_running} requests running, "
            f"which is its limit",
            retry_after=RUNNING_SECONDS,
        )
    if key.requests_per_minute is not None:
        seconds = bucket.wait(row.requests, now, requests, key.requests_per_minute)
        if seconds:
            raise _above("requests", key.requests_per_minute, key, seconds)
    if key.tokens_per_minute is not None:
        prompt = record.prompt_tokens
        if prompt > key.tokens_per_minute:
            # Not a 429, which clients would try again for ever.
            raise RequestError(
                f"the prompt has {prompt} tokens, and key {key.name!r} may use "
                f"{key.tokens_per_minute} per minute; send a shorter prompt",
                code="tokens_per_minute_exceeded",
            )
        due = max(1, prompt - (record.charged or 0))
        if seconds := bucket.wait(row.tokens, now, due, key.tokens_per_minute):
            raise _above("tokens", key.tokens_per_minute, key, seconds)


def _above(what: str, limit: int, key: Key, seconds: float) -> RateLimited:
    return RateLimited(
        f"rate limit reached for key {key.name!r}: {limit} {what} per minute",
        retry_after=max(0.001, round(seconds, 3)),
    )


def _charge_tokens(row: Row, record: RequestRecord, key: Key, now: float) -> None:
    """Charge what is known by now and was not charged before."""
    total = record.prompt_tokens + record.completion_tokens
    due, record.charged = total - (record.charged or 0), total
    if key.tokens_per_minute is not None and due:
        row.tokens = bucket.taken(row.tokens, now, due, key.tokens_per_minute)


def _standing(row: Row, key: Key, now: float) -> dict[str, Standing]:
    limits = {
        "requests": (row.requests, key.requests_per_minute),
        "tokens": (row.tokens, key.tokens_per_minute),
    }
    return {
        what: Standing(limit, bucket.left(full_at, now, limit), max(0.0, full_at - now))
        for what, (full_at, limit) in limits.items()
        if limit is not None
    }


def limit_headers(standings: Mapping[str, Standing], *, anthropic: bool) -> dict[str, str]:
    """As OpenAI's clients read them, or Anthropic's."""
    headers = {}
    for what, standing in standings.items():
        if anthropic:
            reset = datetime.now(UTC) + timedelta(seconds=standing.reset)
            name = f"anthropic-ratelimit-{what}"
            headers[f"{name}-limit"] = str(standing.limit)
            headers[f"{name}-remaining"] = str(standing.left)
            headers[f"{name}-reset"] = reset.strftime("%Y-%m-%dT%H:%M:%SZ")
        else:
            headers[f"x-ratelimit-limit-{what}"] = str(standing.limit)
            headers[f"x-ratelimit-remaining-{what}"] = str(standing.left)
            headers[f"x-ratelimit-reset-{what}"] = duration(standing.reset)
    return headers


def duration(seconds: float) -> str:
    """As OpenAI writes it: 0s, 120ms, 1.5s, 6m0s, 1h0m0s."""
    if 0 < seconds < 1:
        return f"{max(1, round(seconds * 1000))}ms"
    seconds = round(seconds, 2)
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.2f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
