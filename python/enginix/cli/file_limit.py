"""Raises the limit of open files for this process and its children.

Every connection is an open file. Shells set 1024 or 256, far below the system's own limit.
"""

from __future__ import annotations

import resource
from contextlib import suppress

ENOUGH = 65536


def raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # A sandbox may forbid it; then the limit stays.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
