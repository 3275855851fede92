"""Every command that starts a gateway takes all of its options, as does a profile's [gateway]."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import pytest

from enginix.cli.gateway_options import (
    accepted_keys,
    add_gateway_arguments,
    address_for_others,
    gateway_entry,
    limits_of,
    open_to_others,
    settings_of,
)
from enginix.cli.openai import address
from enginix.errors import UsageError
from enginix.gateway.settings import Settings
from enginix.generation.limits import Limits
from enginix.serve.gateway import gateway_command
from enginix.serve.profile import GatewayEntry

EVERYTHING = GatewayEntry(
    port=9400,
    host="192.0.2.7",
    workers=2,
    allowed_hosts=["ai.lan", "ai"],
    cors_origins=["https://chat.example"],
    allow_image_urls=True,
    api_keys="/etc/keys",
    transport="grpc-aio",
    max_running=8,
    max_waiting=9,
    max_tokens=100,
    max_body_mb=2.5,
    first_token_seconds=60,
    next_token_seconds=5,
    stalled_seconds=7,
    shutdown_delay_seconds=4,
    drain_seconds=3,
    access_log=False,
    log_prompts=True,
    otlp_traces_endpoint="http://collector:4318/v1/traces",
    otlp_traces_sample_ratio=0.5,
    otlp_traces_prompts=True,
)


def parsed(words: list[str], base: GatewayEntry) -> GatewayEntry:
    parser = argparse.ArgumentParser()
    add_gateway_arguments(parser)
    return gateway_entry(parser.parse_args(words), base)


def words_for(entry: GatewayEntry) -> list[str]:
    """The options that `up` starts its gateway with."""
    argv = gateway_command([], entry, Path("/models"), [], Path("/control")).argv
    return [word for word in argv[1:] if word not in ("--models=/models", "--supervisor=/control")]


def test_every_setting_of_a_profile_reaches_the_gateway() -> None:
    unusual = [
        each.name
        for each in fields(GatewayEntry)
        if getattr(EVERYTHING, each.name) == getattr(GatewayEntry(), each.name)
    ]
    assert unusual == []
    assert parsed(words_for(EVERYTHING), GatewayEntry()) == EVERYTHING


def test_what_is_not_given_stays_as_the_profile_has_it() -> None:
    assert parsed([], EVERYTHING) == EVERYTHING
    assert words_for(GatewayEntry()) == ["--host=127.0.0.1", "--port=9000"]


def test_without_options_the_gateways_own_settings_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENGINIX_API_KEYS", raising=False)
    found, usual = settings_of(GatewayEntry()), Settings()
    assert (found.request, found.load, found.api_keys) == (usual.request, usual.load, frozenset())
    assert limits_of(GatewayEntry()) == Limits()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (GatewayEntry(max_running=0), "--max-running is 0; expected more than 0"),
        (GatewayEntry(max_waiting=-1), "--max-waiting is -1; expected 0 or more"),
        (GatewayEntry(drain_seconds=float("nan")), "--drain-seconds is nan; expected 0 or more"),
        (GatewayEntry(shutdown_delay_seconds=-2), "--shutdown-delay is -2; expected 0 or more"),
        (GatewayEntry(max_body_mb=float("nan")), "--max-body-mb is nan; expected more than 0"),
        (GatewayEntry(max_body_mb=float("inf")), "--max-body-mb is inf; expected a number"),
        (GatewayEntry(cors_origins=["chat"]), "--cors-origin chat: expected https://HOST"),
        (GatewayEntry(api_keys="/no/keys"), "--api-keys /no/keys cannot be read"),
    ],
)
def test_a_value_that_no_gateway_takes_is_refused(entry: GatewayEntry, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings_of(entry)


def test_a_file_of_keys_is_named_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parsed(["--api-keys=keys"], GatewayEntry()).api_keys == str(tmp_path / "keys")


@pytest.mark.parametrize(
    ("file", "variable", "said"),
    [
        ("", "", "any API key"),
        ("/k", "", "an API key of /k"),
        ("", "sk-1", "an API key of ENGINIX_API_KEYS"),
        ("/k", "sk-1", "an API key of /k or ENGINIX_API_KEYS"),
    ],
)
def test_the_keys_that_are_accepted_are_named_and_not_shown(
    file: str, variable: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINIX_API_KEYS", variable)
    assert accepted_keys(GatewayEntry(api_keys=file)) == said


@pytest.mark.parametrize(
    ("host", "keys", "is_open"),
    [
        ("127.0.0.1", set(), False),
        ("::1", set(), False),
        ("localhost", set(), False),
        ("0.0.0.0", {"sk-1"}, False),
        ("0.0.0.0", set(), True),
        ("::", set(), True),
        ("192.0.2.7", set(), True),
        ("ai.lan", set(), True),
    ],
)
def test_only_a_gateway_that_others_reach_without_a_key_is_open_to_them(
    host: str, keys: set[str], is_open: bool
) -> None:
    settings = Settings(api_keys=frozenset(keys))
    assert bool(open_to_others(GatewayEntry(host=host), settings)) is is_open


def test_the_warning_says_who_can_do_what_and_how_to_close_it() -> None:
    managed = Settings(supervisor=Path("/control"))
    assert open_to_others(GatewayEntry(9400, "0.0.0.0"), managed) == (
        "anyone who can reach port 9400 of this machine can use, load and unload its models, "
        "because no API key is needed; close it with --api-keys FILE, or with --host 127.0.0.1"
    )
    alone = open_to_others(GatewayEntry(9400, "0.0.0.0"), Settings())
    assert alone is not None
    assert "can use its models, because" in alone


def test_others_are_given_a_name_that_the_gateway_accepts() -> None:
    assert address_for_others(GatewayEntry(9400, "0.0.0.0", allowed_hosts=["ai.lan"])) == (
        "http://ai.lan:9400"
    )
    assert address_for_others(GatewayEntry(9400, allowed_hosts=["ai.lan"])) is None
    assert address_for_others(GatewayEntry(9400, "192.0.2.7")) is None


def test_the_gateway_by_itself_names_no_wildcard_as_an_address() -> None:
    for host, url in (("0.0.0.0", "http://127.0.0.1:9400"), ("::", "http://[::1]:9400")):
        said = address(GatewayEntry(9400, host))
        assert said.startswith(f"The OpenAI API is at {url}/v1, its page at {url}/")
        assert f"//{host}" not in said
        assert f"[{host}]" not in said
