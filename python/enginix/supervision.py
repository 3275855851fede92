"""What a gateway and the supervisor of its servers say to each other: lines of JSON on a socket.

A gateway calls with Load, Unload, Status or Log, and gets one line back. After FOLLOW the
connection stays: the supervisor sends News whenever it changes, the gateway a Report whenever that
does.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from enginix import records
from enginix.errors import BackendUnavailable, EnginixError, RequestError, ResourceNotFound
from enginix.speculative import Speculative

Message = TypeVar("Message")


class Availability(StrEnum):
    """What a gateway does with a request for a model."""

    OPEN = "open"
    """Pass it on, whatever the server's state: it may be about to be back."""
    ON_DEMAND = "on_demand"
    """Have the model loaded first; the client waits."""
    CLOSED = "closed"
    """Refuse it."""


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """The body of /v1/models/load; None is what was left out."""

    model: str | None = None
    model_path: str | None = None
    engine: str | None = None
    dtype: str | None = None
    gpu_memory_utilization: float | None = None
    max_model_len: int | None = None
    speculative: Speculative | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Asks for the status of all servers."""

    do: str = "status"


@dataclass(frozen=True, slots=True)
class Load:
    """`name` is a model the supervisor knows; `request` may be for another, or a changed one."""

    name: str | None = None
    request: LoadRequest | None = None
    by_request: bool = False
    """A client's inference request is the cause."""
    wait: bool = True
    """Answer when it serves, not at once."""
    do: str = "load"


@dataclass(frozen=True, slots=True)
class Unload:
    name: str
    drain: float
    """Seconds that its running requests get to finish."""
    do: str = "unload"


@dataclass(frozen=True, slots=True)
class Log:
    """Asks for the last lines of a server's log."""

    name: str
    lines: int
    do: str = "log"


@dataclass(frozen=True, slots=True)
class Restart:
    """Asks for its servers to be replaced, one after the other."""

    name: str
    drain: float
    """Seconds that each one's running requests get to finish."""
    do: str = "restart"


Call = Status | Load | Unload | Log | Restart
CALLS: dict[str, type[Call]] = {
    "status": Status,
    "load": Load,
    "unload": Unload,
    "log": Log,
    "restart": Restart,
}

FOLLOW = b'{"do":"follow"}\n'
"""Asks for News from now on."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What /v1/status shows of a server's process."""

    status: str
    """idle, loading, loaded or error; external for a server that is not run here."""
    process_alive: bool
    pid: int | None
    since: float
    """When it came into this state, in seconds since 1970."""
    progress: str | None
    """The last line of its log while it loads."""
    restarts: int
    last_error: str | None
    log: str
    context: int | None = None
    """Tokens that prompt and answer may have, if the profile limits them."""
    memory_bytes: int | None = None
    """Resident memory of all its processes."""
    gpu_memory_bytes: int | None = None
    """As nvidia-smi shows it; None if it shows nothing of these processes."""
    replicas: dict[str, ServerStatus] = field(default_factory=dict)
    """Of a model with several servers, by address. Its own status is that of the best one, with
    the sums of all and the first one's error."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The files that a supervisor was started with, and whether what runs is what they say."""

    files: list[str]
    watched: bool
    """Whether a change is taken up without a signal."""
    since: float
    """When what they said last changed what runs, in seconds since 1970."""
    error: str | None = None
    """Why what they say now is not in force."""
    changing: str | None = None
    """What is being changed right now."""
    failed: dict[str, str] = field(default_factory=dict)
    """By model, why the last change of it did not succeed, until it is as the files say after all.
    """


@dataclass(frozen=True, slots=True)
class Statuses:
    """The answer to Status, by model."""

    servers: dict[str, ServerStatus]
    configuration: Configuration | None = None


@dataclass(frozen=True, slots=True)
class LogTail:
    """The answer to Log."""

    path: str
    lines: list[str]


@dataclass(frozen=True, slots=True)
class Changed:
    """The answer to Load, Unload and Restart."""

    name: str
    generation: int
    """Of the News that tell of the change."""
    servers: dict[str, ServerStatus]


@dataclass(frozen=True, slots=True)
class ModelNews:
    row: dict[str, Any]
    """The model as the gateway's models file has it."""
    availability: Availability
    reason: str
    """Why it is not open."""
    resting: list[str] = field(default_factory=list)
    """Addresses of its replicas that get no new requests."""
    revision: int = 0
    """Differs for each row; 0: the row in the gateway's models file."""

    @property
    def name(self) -> str:
        return str(self.row["name"])


@dataclass(frozen=True, slots=True)
class News:
    generation: int
    models: list[ModelNews]


@dataclass(frozen=True, slots=True)
class Report:
    """What a gateway process has of each model: requests that run or wait, and all ever started."""

    seen: int
    """The generation of the last News it acts on."""
    requests: dict[str, tuple[int, int]]
    """By model, and by `replica_key` for each replica of a model that has several."""


def replica_key(model: str, address: str) -> str:
    return f"{model}@{address}"


def encode(message: Call | Statuses | LogTail | Changed | Report) -> bytes:
    fields = asdict(message)
    if isinstance(message, Load):
        fields["wish"] = fields.pop("request")
    return _line(fields)


def decode(kind: type[Message], line: bytes) -> Message:
    """ValueError for a line that is no `kind`; if it holds an error, that is raised."""
    fields = json.loads(line)
    if isinstance(fields, dict) and "error" in fields:
        raise _error(fields)
    return records.decode(kind, fields, f"a {kind.__name__}", ValueError)


def decode_call(line: bytes) -> Call:
    """ValueError for a line that is none."""
    try:
        fields = json.loads(line)
        if "wish" in fields:
            fields["request"] = fields.pop("wish")
        return records.decode(CALLS[fields["do"]], fields, "a call", ValueError)
    except (KeyError, TypeError, ValueError):
        raise ValueError('expected a line of JSON like {"do": "load", "name": "demo"}') from None


def encode_error(error: Exception) -> bytes:
    """A RequestError keeps its fields: it is the client's mistake, not a fault of a server."""
    if isinstance(error, RequestError):
        return _line(
            {"error": str(error), "param": error.param, "code": error.code, "mistake": True}
        )
    return _line({"error": str(error)})


def encode_news(news: News) -> bytes:
    models = [
        {
            **model.row,
            "presence": model.availability,
            "reason": model.reason,
            **({"resting": model.resting} if model.resting else {}),
            **({"revision": model.revision} if model.revision else {}),
        }
        for model in news.models
    ]
    return _line({"generation": news.generation, "models": models})


def decode_news(line: bytes) -> News:
    """ValueError for a line that is none."""
    try:
        fields = json.loads(line)
        models = [
            ModelNews(
                row,
                Availability(row.pop("presence")),
                row.pop("reason"),
                row.pop("resting", []),
                row.pop("revision", 0),
            )
            for row in fields["models"]
        ]
        return News(fields["generation"], models)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"the supervisor sent something else than news: {error}") from None


def _error(fields: dict[str, Any]) -> EnginixError:
    if not fields.get("mistake"):
        return BackendUnavailable(fields["error"])
    kind = ResourceNotFound if fields["code"] == "model_not_found" else RequestError
    return kind(fields["error"], param=fields["param"], code=fields["code"])


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"
