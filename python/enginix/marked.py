"""Finds what a server or a build has started, wherever it has gone, by its environment.

Daemons of MPI and workers of process pools leave their parent's session, and outlive it. The
variable they inherited still says whose they are.
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
"""Seconds after which a process counts as one that cannot be killed."""


def marked(variable: str, value: str) -> set[int]:
    """Process ids of everything whose environment has the variable, but for ourselves."""
    word = f"{variable}={value}".encode()
    found = set()
    for pid in process_ids():
        # Gone meanwhile, or somebody else's: then it is not ours.
        with suppress(OSError):
            if word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found - {os.getpid()}


async def end_marked(variable: str, value: str) -> None:
    """SIGKILL everything so marked, until nothing new appears; wait until it is gone."""
    while found := marked(variable, value):
        try:
            await asyncio.wait_for(asyncio.gather(*(kill(pid) for pid in found)), UNKILLABLE)
        except TimeoutError:
            # In an uninterruptible call of a driver: nothing can end it, so nothing waits for it.
            logger.warning("processes %s survive SIGKILL and are left behind", sorted(found))
            return
