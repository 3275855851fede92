"""A backend client's timeouts and buffer sizes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times are in seconds; the defaults suit a Triton on the same machine or network."""

    # Until the first token: the wait for a connection, the queue in the model, the prompt.
    first_token: float = 120.0
    next_token: float = 30.0
    connect: float = 5.0
    first_backoff: float = 0.1
    last_backoff: float = 2.0
    # After `silence` seconds without a byte on open streams, the server is probed; after `patience`
    # more, the connection is closed.
    silence: float = 3.0
    patience: float = 3.0
    # A prompt's log probabilities are one message: 164 bytes for a token with its 20 likeliest.
    max_message_bytes: int = 32 << 20
    # How many unread bytes one stream may hold before the server has to stop sending.
    window_bytes: int = 64 << 10
