"""A token bucket: it holds a minute's amount, and fills at that amount per minute.

Its whole state is the time at which it is full. In any t seconds at most (1 + t/60) times the
amount per minute gets through. It may be overdrawn by what is known only afterwards.
"""

from __future__ import annotations

MINUTE = 60.0
# Sums of fractions of a minute are inexact.
EXACT = 1e-6


def wait(full_at: float, now: float, amount: float, per_minute: int) -> float:
    """Seconds until `amount` is there; 0 if it is."""
    excess = taken(full_at, now, amount, per_minute) - now - MINUTE
    return excess if excess > EXACT else 0.0


def taken(full_at: float, now: float, amount: float, per_minute: int) -> float:
    """When the bucket is full, once `amount` has been taken; a negative amount is given back."""
    return max(full_at, now) + amount * MINUTE / per_minute


def left(full_at: float, now: float, per_minute: int) -> int:
    return max(0, int((MINUTE + EXACT - max(0.0, full_at - now)) * per_minute / MINUTE))
