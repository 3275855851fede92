"""Formats byte counts for people."""

from __future__ import annotations


def human_size(size: int) -> str:
    """With decimal units, as the hub and GPU vendors use them: '19.1 GB'."""
    number = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
