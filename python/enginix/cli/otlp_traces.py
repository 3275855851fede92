"""Reads the options of the gateway's traces."""

from __future__ import annotations

from importlib.util import find_spec
from urllib.parse import urlsplit

from enginix.errors import UsageError
from enginix.gateway.settings import TraceSettings
from enginix.serve.profile import GatewayEntry

ENDPOINT, RATIO = "--otlp-traces-endpoint", "--otlp-traces-sample-ratio"
PATH = "/v1/traces"
NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def trace_settings(entry: GatewayEntry) -> TraceSettings | None:
    """None without an endpoint. Raise UsageError for what cannot work."""
    ratio = entry.otlp_traces_sample_ratio
    if not entry.otlp_traces_endpoint:
        if ratio is not None or entry.otlp_traces_prompts:
            raise UsageError(f"traces have options and no {ENDPOINT}; say where they are sent")
        return None
    if ratio is not None and not 0 <= ratio <= 1:
        raise UsageError(f"{RATIO} is {ratio:g}; expected 0 to 1")
    endpoint = collector_url(entry.otlp_traces_endpoint)
    if not all(map(_is_installed, NEEDED)):
        raise UsageError(
            f"{ENDPOINT} needs opentelemetry, which is not installed; "
            "`pip install 'enginix[otel]'` brings it"
        )
    settings = TraceSettings(endpoint, 1.0 if ratio is None else ratio, entry.otlp_traces_prompts)
    _require_usable(settings)
    return settings


def _require_usable(settings: TraceSettings) -> None:
    """Try it once, before any server or worker process starts and fails."""
    try:
        # Some variables are read by the import.
        from enginix.gateway.traces.otlp import OtlpTracing

        OtlpTracing(settings).close()
    except Exception as error:
        raise UsageError(
            f"OpenTelemetry refuses a variable whose name begins with OTEL_: {error}"
        ) from None


def collector_url(text: str) -> str:
    """`text` with the path that collectors have, if it has none."""
    expected = f"{ENDPOINT} {text}: expected http://HOST:4318{PATH} or https://..."
    try:
        parts = urlsplit(text)
        # Reading the port checks it.
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or " " in text:
        raise UsageError(expected)
    if parts.username is not None:
        raise UsageError(
            f"{ENDPOINT} has a user name, which everybody on this machine could see; put its "
            "authorization into the variable OTEL_EXPORTER_OTLP_TRACES_HEADERS"
        )
    return text if parts.path.strip("/") else parts._replace(path=PATH).geturl()


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
