"""The gateway's options, for `openai`, `up` and every other command that runs a profile.

Their names are those of GatewayEntry, which a profile's [gateway] and `--set gateway.KEY` fill too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from enginix.cli import environment
from enginix.cli.api_keys import check_named_keys, has_names, read_keys
from enginix.cli.otlp_traces import trace_settings
from enginix.errors import UsageError
from enginix.gateway.http.origin import LOOPBACK_NAMES, host_name
from enginix.gateway.keys.usage import usage_directory
from enginix.gateway.settings import LoadLimits, RequestLimits, Settings
from enginix.generation.limits import Limits
from enginix.ports import is_loopback, local_url, network_url
from enginix.serve.gateway import flag_of
from enginix.serve.profile import GatewayEntry
from enginix.triton.client.client import DEFAULT_TRANSPORT, TRANSPORTS

REQUEST, LOAD, WAIT = RequestLimits(), LoadLimits(), Limits()
BODY_MB = REQUEST.body_bytes / 2**20

ABOVE_ZERO = (
    "workers",
    "max_running",
    "max_tokens",
    "max_body_mb",
    "first_token_seconds",
    "next_token_seconds",
    "stalled_seconds",
)
NOT_BELOW_ZERO = ("max_waiting", "shutdown_delay_seconds", "drain_seconds")

Value = TypeVar("Value")


class _Group(Protocol):
    """An argparse parser, or a group of its options."""

    def add_argument(self, *flags: str, **options: Any) -> argparse.Action: ...


def add_gateway_arguments(parser: argparse.ArgumentParser) -> None:
    """All of them; `gateway_entry` reads what was given."""
    own = GatewayEntry()
    add = partial(_add, parser.add_argument_group("gateway"))
    add("host", f"address to listen on ({own.host})")
    add("port", f"its port ({own.port})", type=int, metavar="N")
    add("workers", f"processes that share the port ({own.workers})", type=int, metavar="N")
    add("transport", f"to Triton ({DEFAULT_TRANSPORT})", choices=sorted(TRANSPORTS))
    _add_access(parser)
    _add_limits(parser)
    add = partial(_add, parser.add_argument_group("log of the gateway"))
    add("access_log", "do not log requests as JSON", action="store_false")
    add("log_prompts", "log the requests' texts as well", action="store_true")
    add = partial(_add, parser.add_argument_group("traces of the gateway"))
    add(
        "otlp_traces_endpoint",
        "send OpenTelemetry's traces of requests here, such as http://127.0.0.1:4318/v1/traces; "
        "needs enginix[otel]",
        metavar="URL",
    )
    add(
        "otlp_traces_sample_ratio",
        "of the requests whose client has not decided, from 0 to 1 (1)",
        type=float,
        metavar="N",
    )
    add("otlp_traces_prompts", "put the requests' texts into them as well", action="store_true")


def _add_access(parser: argparse.ArgumentParser) -> None:
    add = partial(_add, parser.add_argument_group("access to the gateway"))
    add(
        "api_keys",
        "one key per line, or a .toml file of named keys with limits, as `enginix keys` writes; "
        "also ENGINIX_API_KEYS. Without keys, no authorization is needed",
        type=_absolute,
        metavar="FILE",
    )
    add(
        "cors_origins",
        "allow web pages of this origin, such as https://chat.example; repeatable; * for all",
        action="append",
        metavar="ORIGIN",
    )
    add(
        "allowed_hosts",
        "accept this name in Host headers, besides localhost; repeatable. Other names are refused "
        "if this option is given, or on a loopback address without keys",
        action="append",
        metavar="NAME",
    )
    add(
        "allow_image_urls",
        "pass http and https image URLs on to servers, which fetch them from their own network; "
        "otherwise only images inside the request are accepted",
        action="store_true",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits of the gateway")
    count = partial(_add, group, type=int, metavar="N")
    count("max_running", f"concurrent answers ({LOAD.running})")
    count("max_waiting", f"queued requests ({LOAD.waiting})")
    count("max_tokens", "tokens of an answer (the context)")
    _add(group, "max_body_mb", f"size of a request ({BODY_MB:g})", type=float, metavar="MB")
    seconds = partial(_add, group, type=float, metavar="SECONDS")
    seconds("first_token_seconds", f"for the first token, with the queue ({WAIT.first_token:g})")
    seconds("next_token_seconds", f"for each further token ({WAIT.next_token:g})")
    seconds(
        "stalled_seconds",
        f"disconnect a client that reads nothing for this long ({LOAD.stalled_reader:g})",
    )
    seconds(
        "shutdown_delay_seconds",
        "accept requests after SIGTERM, while /readyz is 503, so that load balancers notice "
        f"({LOAD.shutdown_delay:g})",
    )
    seconds("drain_seconds", f"for running answers to finish after that ({LOAD.drain:g})")


def _add(group: _Group, name: str, text: str, **options: Any) -> None:
    group.add_argument(flag_of(name), dest=name, default=None, help=text, **options)


def gateway_entry(args: argparse.Namespace, base: GatewayEntry) -> GatewayEntry:
    """`base` with the given options."""
    given = {name: value for name in base.__slots__ if (value := getattr(args, name)) is not None}
    return replace(base, **given)


def _check_numbers(entry: GatewayEntry) -> None:
    for name in ABOVE_ZERO:
        value = getattr(entry, name)
        # NaN is neither more nor less.
        if value is not None and not value > 0:
            raise UsageError(f"{flag_of(name)} is {value:g}; expected more than 0")
    for name in NOT_BELOW_ZERO:
        value = getattr(entry, name)
        if value is not None and not value >= 0:
            raise UsageError(f"{flag_of(name)} is {value:g}; expected 0 or more")
    if entry.max_body_mb == float("inf"):
        raise UsageError(f"{flag_of('max_body_mb')} is inf; expected a number of megabytes")


def settings_of(entry: GatewayEntry, supervisor: Path | None = None) -> Settings:
    """Raise UsageError for a value that no gateway accepts."""
    _check_numbers(entry)
    keys, key_file = environment.api_keys(), None
    if entry.api_keys and has_names(entry.api_keys):
        key_file = Path(entry.api_keys)
        check_named_keys(key_file, entry.workers)
    elif entry.api_keys:
        keys |= read_keys(entry.api_keys)
    return Settings(
        request=RequestLimits(
            body_bytes=int(_or(entry.max_body_mb, BODY_MB) * 2**20),
            image_urls=entry.allow_image_urls,
            max_tokens=entry.max_tokens,
        ),
        load=LoadLimits(
            running=_or(entry.max_running, LOAD.running),
            waiting=max(0, _or(entry.max_waiting, LOAD.waiting)),
            shutdown_delay=_or(entry.shutdown_delay_seconds, LOAD.shutdown_delay),
            drain=_or(entry.drain_seconds, LOAD.drain),
            stalled_reader=_or(entry.stalled_seconds, LOAD.stalled_reader),
        ),
        api_keys=keys,
        key_file=key_file,
        home=environment.cache_home(),
        usage_directory=usage_directory(environment.cache_home()) if key_file else None,
        cors_origins=frozenset(map(origin, entry.cors_origins)),
        allowed_hosts=allowed_hosts(
            entry.host, entry.allowed_hosts, keyless=not (keys or key_file)
        ),
        log_prompts=entry.log_prompts,
        traces=trace_settings(entry),
        supervisor=supervisor,
    )


def limits_of(entry: GatewayEntry) -> Limits:
    return Limits(
        first_token=_or(entry.first_token_seconds, WAIT.first_token),
        next_token=_or(entry.next_token_seconds, WAIT.next_token),
    )


def origin(text: str) -> str:
    """An origin as browsers send it: a scheme, a host and an optional port, nothing else."""
    scheme, _, host = text.rstrip("/").partition("://")
    if text != "*" and (scheme not in ("http", "https") or not host or "/" in host):
        raise UsageError(f"--cors-origin {text}: expected https://HOST, http://HOST:PORT or *")
    return text.rstrip("/")


def allowed_hosts(host: str, named: Sequence[str], *, keyless: bool) -> frozenset[str]:
    """The names a Host header may hold; empty allows any.

    Without this, a web page could reach a keyless loopback server by DNS rebinding. On other
    addresses we cannot know the names that clients use.
    """
    for name in named:
        if not name or "/" in name or host_name(name) != name.lower():
            raise UsageError(f"--allowed-host {name}: expected a host's name, without a port")
    if not named and not (keyless and is_loopback(host)):
        return frozenset()
    own = f"[{host}]" if ":" in host else host.lower()
    return LOOPBACK_NAMES | {own, *(name.lower() for name in named)}


def accepted_keys(entry: GatewayEntry) -> str:
    """Which API key a client sends, in words."""
    sources = [
        *([entry.api_keys] if entry.api_keys else []),
        *(["ENGINIX_API_KEYS"] if environment.api_keys() else []),
    ]
    return f"an API key of {' or '.join(sources)}" if sources else "any API key"


def open_to_others(entry: GatewayEntry, settings: Settings) -> str | None:
    """What others can do with the gateway, and how to stop them; None if they cannot."""
    if not settings.keyless or is_loopback(entry.host):
        return None
    can = "use, load and unload its models" if settings.supervisor else "use its models"
    return (
        f"anyone who can reach port {entry.port} of this machine can {can}, because no API key is "
        "needed; close it with --api-keys FILE, or with --host 127.0.0.1"
    )


def address_for_others(entry: GatewayEntry) -> str | None:
    """The URL for other machines; None if they cannot reach it, or the address is unknown."""
    if entry.allowed_hosts and not is_loopback(entry.host):
        # It refuses requests under any other name.
        return local_url(entry.allowed_hosts[0], entry.port)
    return network_url(entry.host, entry.port)


def _absolute(text: str) -> str:
    return str(Path(text).expanduser().absolute())


def _or(value: Value | None, default: Value) -> Value:
    return default if value is None else value
