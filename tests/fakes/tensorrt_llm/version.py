"""The version this stand-in claims to be."""

import os
import re

__version__ = os.environ.get("TRTLLM_STANDIN_VERSION", "1.2.1")


def has_engine_path() -> bool:
    """1.3.0rc20 was the last release with engines."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", __version__))
    return numbers <= (1, 3, 0, 20) and numbers != (1, 3, 0)


def takes_rope_tables() -> bool:
    """Do engines build from rank files that hold the rotary tables? Users report these do not."""
    return not re.match(r"0\.16\.|1\.\d\.0rc1$", __version__)
