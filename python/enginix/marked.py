"""Finds all processes that a server or a build has started, by their environment.

MPI daemons and process pool workers leave their parent's session and outlive it. The variable
they inherited still identifies their owner.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from pathlib import Path

from enginix.process import kill, process_ids

logger = logging.getLogger(__name__)

UNKILLABLE = 10.0
"""Seconds after which a process counts as unkillable."""


def marked(variable: str, value: str) -> set[int]:
    """Process ids of everything whose environment has the variable, except ourselves."""
    word = f"{variable}={value}".encode()
    found = set()
    for pid in process_ids():
        # The process has ended, or belongs to another user.
        with suppress(OSError):
            if word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found - {os.getpid()}


async def end_marked(variable: str, value: str) -> None:
    """SIGKILL every marked process until no new one appears; wait until they are gone."""
    while found := marked(variable, value):
        try:
            async with asyncio.timeout(UNKILLABLE):
                await asyncio.gather(*(kill(pid) for pid in found))
        except TimeoutError:
            # In an uninterruptible driver call: nothing can end it, so do not wait.
            logger.warning("processes %s survive SIGKILL and keep running", sorted(found))
            return
