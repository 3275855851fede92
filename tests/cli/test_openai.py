"""How `enginix openai` reads its command line, before it serves anything."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from enginix.cli.api_keys import read_keys
from enginix.cli.gateway_options import allowed_hosts, origin
from enginix.cli.main import build_parser
from enginix.cli.openai import models_of
from enginix.errors import UsageError
from enginix.ports import is_loopback
from enginix.serve.profile import GatewayEntry


def enginix(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "enginix", "openai", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_shows_every_default() -> None:
    done = enginix("--help")
    assert done.returncode == 0
    assert "9000" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected either an engine or --models"),
        (("demo", "--workers=0"), "--workers is 0"),
        (("demo", "--first-token-seconds=0"), "--first-token-seconds is 0"),
        (("demo", "--triton=nowhere"), "'nowhere' is not an address"),
        (("demo", "--triton-metrics=a:8002"), "--triton-metrics: expected http://HOST:PORT/met"),
        (("/no/such/engine",), "/no/such/engine is not an enginix engine"),
        (("dmo",), "no model named 'dmo'"),
        (("demo", "--api-keys=/no/such/file"), "/no/such/file cannot be read"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(
    arguments: tuple[str, ...], message: str, demo_engine: Path
) -> None:
    arguments = tuple(str(demo_engine) if word == "demo" else word for word in arguments)
    done = enginix(*arguments)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ([], "http://127.0.0.1:8002/metrics"),
        (["--triton=10.0.0.1:8001"], ""),
        (
            ["--triton=10.0.0.1:8001", "--triton-metrics=http://10.0.0.1:8002/m"],
            "http://10.0.0.1:8002/m",
        ),
        (["--triton-metrics="], ""),
        (["--triton=10.0.0.1:8001,10.0.0.2:8001", "--triton-metrics=http://10.0.0.1:8002/m"], ""),
    ],
)
async def test_the_metrics_page_is_that_of_the_only_triton(
    words: list[str], page: str, demo_engine: Path
) -> None:
    args = build_parser(["openai"]).parse_args(["openai", str(demo_engine), *words])
    (model,) = models_of(args, GatewayEntry()).open()
    assert model.metrics == page
    await model.backend.close()


def test_a_port_in_use_names_the_process_that_holds_it(demo_engine: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        done = enginix(str(demo_engine), f"--port={port}")
    assert f"port {port} is taken" in done.stderr
    assert "--port" in done.stderr


def test_a_manifest_with_an_unknown_chat_format_is_refused_before_anything_is_served(
    demo_engine: Path, tmp_path: Path
) -> None:
    engine = tmp_path / "engine"
    shutil.copytree(demo_engine, engine)
    manifest = json.loads((demo_engine / "manifest.json").read_text())
    manifest["chat"]["tools"] = "smoke-signals"
    (engine / "manifest.json").write_text(json.dumps(manifest))
    done = enginix(str(engine))
    assert done.returncode == 1
    assert "smoke-signals" in done.stderr


def test_api_keys_are_lines_and_comments_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\nsk-one\n\n sk-two \n")
    assert read_keys(file) == {"sk-one", "sk-two"}


def test_a_key_file_without_keys_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# none yet\n")
    with pytest.raises(UsageError, match="holds no key"):
        read_keys(file)


def test_only_this_machine_is_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::")] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("text", ["*", "https://chat.example", "http://127.0.0.1:3000/"])
def test_an_origin_is_as_browsers_send_it(text: str) -> None:
    assert origin(text) == text.rstrip("/")


@pytest.mark.parametrize("text", ["chat.example", "https://", "https://a/b", "file:///x"])
def test_an_origin_that_no_browser_sends_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--cors-origin"):
        origin(text)


LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}


@pytest.mark.parametrize(
    ("host", "named", "keyless", "allowed"),
    [
        ("127.0.0.1", [], True, LOOPBACK),
        ("::1", [], True, LOOPBACK),
        ("127.0.0.2", [], True, LOOPBACK | {"127.0.0.2"}),
        ("127.0.0.1", ["Host.docker.internal"], True, LOOPBACK | {"host.docker.internal"}),
        ("127.0.0.1", [], False, set()),
        ("0.0.0.0", [], True, set()),
        ("0.0.0.0", ["ai.lan"], True, LOOPBACK | {"0.0.0.0", "ai.lan"}),
        ("::", ["ai.lan"], False, LOOPBACK | {"[::]", "ai.lan"}),
    ],
)
def test_on_loopback_without_keys_only_known_host_names_are_allowed(
    host: str, named: list[str], keyless: bool, allowed: set[str]
) -> None:
    assert allowed_hosts(host, named, keyless=keyless) == allowed


@pytest.mark.parametrize("name", ["", "http://ai.lan", "ai.lan:9000", "a/b"])
def test_an_invalid_host_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="without a port"):
        allowed_hosts("127.0.0.1", [name], keyless=True)
