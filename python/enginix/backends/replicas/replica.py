"""One of several servers of a model: whether it gets requests, and what runs on it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from enginix.errors import BackendError, BackendUnavailable, ReplicaMismatch

logger = logging.getLogger(__name__)

# A dead or wedged replica is out of rotation within the sum of these: how often replicas are looked
# at, how long one may take to answer at all, and how long to generate a token.
LOOK_SECONDS = 0.5
REACH_SECONDS = 1.0
PROBE_SECONDS = 1.5


class ReplicaServer(Protocol):
    async def reach(self) -> None:
        """Return if the server answers at all, however busy it is; raise BackendError otherwise.

        ReplicaMismatch if it serves something else than the others.
        """

    async def probe(self) -> None:
        """Return once a token came out; raise BackendError when none did within the deadline."""


class Stream(Protocol):
    """An answer that is passed on without a look at its tokens."""

    heard: float
    """When its last bytes came, by the monotonic clock."""


class Replica:
    """`out`: why it gets no request while others can; None while it is in rotation.

    Evidence is a token, of a request or of a probe. A server that answers but generates nothing may
    be busy with a long prompt: new requests prefer others, and those that it has stay. One that
    does not even answer is lost: requests it has generated nothing for begin again on another.
    """

    def __init__(
        self, address: str, server: ReplicaServer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.address = address
        self.server = server
        self.resting = False
        """Its supervisor is about to restart it."""
        self.out: str | None = None
        self.lost = False
        self.mismatch = False
        """It serves something else: it gets no request at all."""
        self.running = 0
        self.started = 0
        """Requests ever sent to it."""
        self.changed: Callable[[], None] = lambda: None
        """Called when any of the above changes."""
        self.retried: Callable[[], None] = lambda: None
        """Called when a request begins again on another replica."""
        self.doubted = asyncio.Event()
        """Something failed there: look at it now."""
        self._clock = clock
        self._good = -float("inf")
        self._identified = False
        self._waiting: set[asyncio.Timeout] = set()
        self._streams: set[Stream] = set()

    def seconds_since_token(self) -> float:
        heard = max((stream.heard for stream in self._streams), default=self._good)
        return self._clock() - max(heard, self._good)

    def token_came(self) -> None:
        """A request's or a probe's."""
        self._good = self._clock()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self.running += 1
        self.started += 1
        self.changed()
        try:
            yield
        finally:
            self.running -= 1
            self.changed()

    @asynccontextmanager
    async def beginning(self) -> AsyncIterator[None]:
        """A request waits for its first token inside; BackendUnavailable as soon as it is lost."""
        try:
            async with asyncio.timeout(None) as given_up:
                self._waiting.add(given_up)
                try:
                    if not self._identified:
                        await self._reach()
                    yield
                finally:
                    self._waiting.discard(given_up)
        except TimeoutError:
            if not given_up.expired():
                raise
            raise BackendUnavailable(self.out or f"{self.address} was lost") from None

    @contextmanager
    def streaming(self, stream: Stream) -> Iterator[None]:
        """The rest of an answer: its bytes prove that the replica generates, until it breaks."""
        self._streams.add(stream)
        try:
            yield
        except BackendUnavailable as error:
            self.doubt(error)
            raise
        finally:
            self._streams.discard(stream)

    def doubt(self, error: BackendError) -> None:
        """A request failed: the next ones prefer others until a token comes out again."""
        self._good = -float("inf")
        self._identified = False
        self._leave(str(error))
        self.doubted.set()

    async def examine(self) -> None:
        """Find out whether it generates, and put it into rotation or out of it."""
        try:
            await self._reach()
        except BackendError as error:
            self._lose(str(error))
            return
        self.lost = False
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self.server.probe()
        except TimeoutError:
            # A request's token may have come meanwhile: then the probe only had to wait.
            if self.seconds_since_token() > PROBE_SECONDS:
                self._leave(f"no token of {self.address} within {PROBE_SECONDS:g} s")
        except BackendError as error:
            self._leave(str(error))
        else:
            self.token_came()
            self._return()

    async def _reach(self) -> None:
        """Check that it answers, and serves what it should."""
        try:
            async with asyncio.timeout(REACH_SECONDS):
                await self.server.reach()
        except TimeoutError:
            raise BackendUnavailable(
                f"{self.address} does not answer within {REACH_SECONDS:g} s"
            ) from None
        except ReplicaMismatch:
            self.mismatch = True
            raise
        self._identified, self.mismatch = True, False

    def _lose(self, why: str) -> None:
        self.lost, self._identified = True, False
        self._leave(why)
        now = asyncio.get_running_loop().time()
        waiting, self._waiting = self._waiting, set()
        for given_up in waiting:
            given_up.reschedule(now)

    def _leave(self, why: str) -> None:
        if self.out is None:
            logger.warning("%s is out of rotation: %s", self.address, why)
        self.out = why
        self.changed()

    def _return(self) -> None:
        if self.out is not None:
            logger.warning("%s is back in rotation", self.address)
        self.out = None
        self.changed()
