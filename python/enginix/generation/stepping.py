"""Runs the reader of a stream where its data arrives, without waking its task for every token.

Waking a task costs a future's callback, a turn of the event loop and a step of the task: together
more than all that is done to a token.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Arrival(asyncio.Future[None]):
    """What a reader awaits between two arrivals, in any task."""

    resume: Callable[[], None] | None = None
    """Set by `stepped`: continues the reader at once."""

    def arrive(self) -> None:
        if not self.done():
            self.set_result(None)
            if self.resume is not None:
                self.resume()


@coroutine
def stepped(work: Coroutine[Any, Any, Result]) -> Generator[Any, Any, Result]:
    """Run `work` in this task, but continue it where an Arrival arrives.

    Whatever else it waits for, such as a client that does not read, its task waits for.
    """
    steps = _Steps(work)
    steps.take()
    while not steps.over:
        try:
            if steps.at_arrival:
                yield from steps.parked()
                continue
            yield steps.waits_for
        except BaseException as error:
            steps.leave()
            if steps.over:
                # It ended in the moment in which its task was cancelled.
                raise
            steps.take(error)
        else:
            steps.take()
    return steps.result()


class _Steps(Generic[Result]):
    __slots__ = (
        "_due",
        "_failure",
        "_loop",
        "_parked",
        "_result",
        "_task",
        "_work",
        "over",
        "waits_for",
    )

    def __init__(self, work: Coroutine[Any, Any, Result]) -> None:
        task = asyncio.current_task()
        assert task is not None, "it runs in a coroutine"
        self._task = task
        self._loop = task.get_loop()
        self._work = work
        self._parked: asyncio.Future[None] | None = None
        self._result: list[Result] = []
        self._failure: BaseException | None = None
        self._due = False
        """It is for the task to continue the work."""
        self.waits_for: Any = None
        self.over = False

    @property
    def at_arrival(self) -> bool:
        return self.waits_for.__class__ is Arrival

    def take(self, error: BaseException | None = None) -> None:
        """Continue the work until it waits again, or ends."""
        try:
            self.waits_for = self._work.send(None) if error is None else self._work.throw(error)
        except StopIteration as end:
            self._result.append(end.value)
            self._end()
        except BaseException as failure:
            self._failure = failure
            self._end()
        finally:
            # Its traceback refers to this call.
            del error

    def _end(self) -> None:
        # The last Arrival refers to this object.
        self.over, self.waits_for = True, None

    def parked(self) -> Generator[Any, None, None]:
        """Return when the work waits for something else than an Arrival, or is over."""
        self._parked = self._loop.create_future()
        self._await_arrival()
        yield from self._parked
        if self._due:
            self._due = False
            self.take()

    def leave(self) -> None:
        """Let an Arrival no longer continue the work."""
        self._due = False
        if self.at_arrival:
            self.waits_for.resume = None

    def result(self) -> Result:
        failure, self._failure = self._failure, None
        if failure is None:
            return self._result[0]
        try:
            raise failure
        finally:
            # Its traceback refers to this call, and all that a stream had would wait for the
            # collector.
            del failure

    def _await_arrival(self) -> None:
        # As a task does with a future that it waits for.
        self.waits_for._asyncio_future_blocking = False
        self.waits_for.resume = self._resume

    def _resume(self) -> None:
        if asyncio.current_task(self._loop) is None:
            # Time limits and the like belong to the task, although it does not run.
            _enter_task(self._loop, self._task)
            try:
                self.take()
            finally:
                _leave_task(self._loop, self._task)
            if self.at_arrival and not self.over:
                self._await_arrival()
                return
        else:
            # Something else than a read of data, such as the end of a connection.
            self._due = True
        if self._parked is not None and not self._parked.done():
            self._parked.set_result(None)
