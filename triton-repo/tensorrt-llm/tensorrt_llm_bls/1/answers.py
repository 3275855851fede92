"""Keeps the answers of the models behind this one until Triton's stub has released them.

The stub of release 24.10 drops its own reference to an answer some time after the last response
has been read, in a thread that does not hold Python's lock. When that is the last reference, the
answer's tensors are freed there, while Python runs elsewhere: Python 3.12 and 3.13 crash, 3.11
may. From 24.12 on its source takes the lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Refused(Exception):
    """A model behind this one answered with an error."""


class Answers:
    def __init__(self) -> None:
        self._kept: set[Any] = set()

    def of(self, question: Any) -> Iterator[Any]:
        """All responses; raises Refused after the last one if one was an error."""
        answer = question.exec(decoupled=True)
        refused = None
        # Read to the end, error or not: the stub never drops an unread answer.
        for response in answer:
            try:
                yield checked(response)
            except Refused as error:
                refused = refused or error
        self._kept.add(answer)
        if refused:
            raise refused

    def is_cancelled(self, sender: Any) -> bool:
        """Whether the client has left; also lets go of every answer that ended before.

        The thread of the stub that drops answers replies to this question too, in the order of
        asking. After a True do not ask again: that reply is remembered, and proves nothing.
        """
        ended = frozenset(self._kept)
        is_cancelled: bool = sender.is_cancelled()
        self._kept -= ended
        return is_cancelled


def checked(response: Any) -> Any:
    if response.has_error():
        raise Refused(response.error().message())
    return response
