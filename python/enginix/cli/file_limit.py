"""Lets this process and its children open as many files as the system allows.

Every client is a file. Shells start with 1024, or 256, where the system's own limit is far higher.
"""

from __future__ import annotations

import resource
from contextlib import suppress

ENOUGH = 65536


def raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # A sandbox may forbid it: then it stays as it is.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
