"""How long a client waits and how much it holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and bytes; the defaults suit a Triton on the same machine or network."""

    # Until the first token: the wait for a connection, the queue in the model, the prompt.
    first_token: float = 120.0
    next_token: float = 30.0
    connect: float = 5.0
    first_backoff: float = 0.1
    last_backoff: float = 2.0
    # A silent server with open streams is asked for a sign after `silence`, and given up
    # `patience` later.
    silence: float = 3.0
    patience: float = 3.0
    max_message_bytes: int = 4 << 20
    # What one stream may hold unread before the server has to stop sending.
    window_bytes: int = 64 << 10
