"""Maps failures that Triton, gRPC and HTTP/2 report to this package's errors."""

from __future__ import annotations

from enginix.errors import BackendError, BackendTimedOut, BackendUnavailable, GenerationFailed

# Triton reports these in band, without a status. They mean that the model cannot generate at all
# now; a restart or the end of loading fixes that, unlike an error of one generation.
NOT_NOW = (
    "is not healthy",
    "Request for unknown model",
    "has no available versions",
    "is stopping",
    "Exceeds maximum queue size",
)

CANCELLED, UNAVAILABLE = 1, 14
DEADLINE_EXCEEDED = 4
PROXY_STATUS = ("429", "502", "503", "504")
STATUS_NAMES = {
    1: "CANCELLED",
    2: "UNKNOWN",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    10: "ABORTED",
    11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    15: "DATA_LOSS",
    16: "UNAUTHENTICATED",
}


def in_band(text: str) -> BackendError:
    """The error for a message that Triton put in the stream in place of a response."""
    if any(pattern in text for pattern in NOT_NOW):
        return BackendUnavailable(f"Triton cannot run the model now: {text}")
    return GenerationFailed(f"Triton failed to generate: {text}")


def from_status(status: int, message: str, server: str) -> BackendError:
    """The error for a gRPC status other than OK."""
    answered = f"Triton at {server} answered {STATUS_NAMES.get(status, f'status {status}')}"
    text = f"{answered}: {message}" if message else answered
    if status in (CANCELLED, UNAVAILABLE):
        return BackendUnavailable(text)
    if status == DEADLINE_EXCEEDED:
        return BackendTimedOut(text)
    if any(pattern in message for pattern in NOT_NOW):
        return BackendUnavailable(text)
    return GenerationFailed(text)


def from_http_status(status: str, server: str) -> BackendError:
    """The error for an HTTP response that is not gRPC, such as a proxy's."""
    text = f"{server} answered HTTP status {status or 'none'}, expected gRPC"
    if status in PROXY_STATUS:
        return BackendUnavailable(f"{text}; its Triton is not reachable")
    return GenerationFailed(f"{text}; is this Triton's gRPC port?")


def unreachable(server: str, why: str) -> BackendUnavailable:
    return BackendUnavailable(
        f"no Triton at {server}: {why}; start it, or correct the address of its gRPC port"
    )
