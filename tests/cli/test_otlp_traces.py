"""What the gateway is told of its traces: a wrong option is refused before anything starts."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from enginix.cli.otlp_traces import NEEDED, trace_settings
from enginix.errors import UsageError
from enginix.gateway.settings import TraceSettings
from enginix.serve.profile import GatewayEntry

NONE = GatewayEntry()


def test_traces_are_off_without_an_endpoint() -> None:
    assert trace_settings(NONE) is None


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://[::1]:4318/", "http://[::1]:4318/v1/traces"),
        ("https://collector.example/otlp/v1/traces", "https://collector.example/otlp/v1/traces"),
    ],
)
def test_an_endpoint_without_a_path_gets_that_of_collectors(given: str, url: str) -> None:
    entry = replace(NONE, otlp_traces_endpoint=given, otlp_traces_sample_ratio=0.25)
    assert trace_settings(entry) == TraceSettings(url, 0.25)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:4318", "expected http://HOST:4318/v1/traces"),
        ("grpc://127.0.0.1:4317", "expected http://HOST:4318/v1/traces"),
        ("http://", "expected http://HOST:4318/v1/traces"),
        ("http://host:port/", "expected http://HOST:4318/v1/traces"),
        ("http://host:99999", "expected http://HOST:4318/v1/traces"),
        ("http://[::1", "expected http://HOST:4318/v1/traces"),
        ("http://a host/", "expected http://HOST:4318/v1/traces"),
        ("http://user:secret@host/", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        trace_settings(replace(NONE, otlp_traces_endpoint=url))
    assert words in str(refused.value)


@pytest.mark.parametrize("ratio", [-0.1, 1.5, float("nan")])
def test_a_ratio_is_between_0_and_1(ratio: float) -> None:
    entry = replace(NONE, otlp_traces_endpoint="http://host", otlp_traces_sample_ratio=ratio)
    with pytest.raises(UsageError, match="expected 0 to 1"):
        trace_settings(entry)


@pytest.mark.parametrize("option", ["otlp_traces_sample_ratio", "otlp_traces_prompts"])
def test_options_of_traces_that_go_nowhere_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match="say where they are sent"):
        trace_settings(replace(NONE, **{option: True}))


@pytest.mark.parametrize("missing", NEEDED)
def test_the_extra_is_named_where_it_is_missing(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As for an import statement, this is a module that does not exist.
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=r"pip install 'enginix\[otel\]'"):
        trace_settings(replace(NONE, otlp_traces_endpoint="http://host"))


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", r"OTEL_.*max_queue_size must be a positive"),
        # An error of another type.
        (
            "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
            "none",
            "OTEL_.*'none' not found",
        ),
    ],
)
def test_a_variable_that_opentelemetry_refuses_ends_the_command_before_its_workers(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=words):
        trace_settings(replace(NONE, otlp_traces_endpoint="http://host"))
