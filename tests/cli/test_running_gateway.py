"""Every command that talks to a gateway finds the same one, and names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from enginix.cli.api_keys import key_for_server
from enginix.cli.ask_gateway import authorization
from enginix.cli.main import main
from enginix.cli.running_gateway import DEFAULT, find_gateway, find_run, listed
from enginix.errors import UsageError
from enginix.inventory.running import supervisors
from enginix.serve.profile import GatewayEntry
from enginix.serve.run_directory import written_files
from tests.conftest import free_ports


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGINIX_HOME", str(tmp_path))
    monkeypatch.delenv("ENGINIX_URL", raising=False)
    return tmp_path


def at(url: str) -> GatewayEntry:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return GatewayEntry(int(port), host.strip("[]"))


@contextmanager
def running(home: Path, *urls: str) -> Iterator[None]:
    with ExitStack() as stack:
        for url in urls:
            entry = at(url)
            files = written_files(home / "run" / f"demo-{entry.port}", [], entry)
            stack.enter_context(files)
        yield


def test_the_only_gateway_that_runs_is_found(home: Path) -> None:
    with running(home, "http://[::1]:9100"):
        assert find_gateway(None) == "http://[::1]:9100"
    assert find_gateway(None) == DEFAULT == "http://127.0.0.1:9000"


def test_of_several_none_is_chosen_for_the_user(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(home, "http://127.0.0.1:1", "http://127.0.0.1:2"):
        expected = "several gateways run: demo at http://127.0.0.1:1, demo at http://127.0.0.1:2; "
        with pytest.raises(UsageError, match=expected + "choose one with --url or ENGINIX_URL"):
            find_gateway(None)
        with pytest.raises(UsageError, match=expected):
            find_run(None)
        assert find_gateway("http://127.0.0.1:2") == "http://127.0.0.1:2"
        monkeypatch.setenv("ENGINIX_URL", "http://127.0.0.1:1")
        assert find_gateway(None) == "http://127.0.0.1:1"
        assert find_gateway("http://elsewhere:7") == "http://elsewhere:7"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:1", "http://127.0.0.1:1/", "http://127.0.0.1:1/v1", "localhost:1/v1/"]
)
def test_an_address_may_be_written_as_people_write_it(home: Path, url: str) -> None:
    assert find_gateway(url) == f"http://{url.split('/')[2 if '//' in url else 0]}"
    with running(home, "http://127.0.0.1:1"):
        run = find_run(url)
        assert run is not None
        assert run.profile == "demo"


def test_a_run_that_is_not_here_is_refused_with_those_that_are(home: Path) -> None:
    with (
        running(home, "http://127.0.0.1:1"),
        pytest.raises(UsageError, match="no gateway here is at h:2; running: demo at http://127"),
    ):
        find_run("h:2")


@pytest.mark.parametrize(
    "command",
    [["status"], ["load", "demo"], ["unload", "demo"], ["restart"], ["bench", "--model=demo"]],
)
def test_commands_name_the_gateway_on_standard_error(
    home: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with running(home, "http://127.0.0.1:9"):
        assert main(command) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == "gateway: http://127.0.0.1:9"
    assert "http://127.0.0.1:9" in said.err.splitlines()[1]


def test_the_logs_of_the_run_are_shown_and_not_those_of_another_one_of_its_profile(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    urls, logs = ["http://127.0.0.1:1", "http://127.0.0.1:2"], []
    with ExitStack() as stack:
        for number, url in enumerate(urls, start=1):
            logs.append(home / "logs" / "demo" / f"2026010{number}-000000-{number}")
            logs[-1].mkdir(parents=True)
            (logs[-1] / "gateway.log").write_text(f"of {number}\n")
            files = written_files(home / "run" / f"demo-{number}", [], at(url), logs[-1])
            stack.enter_context(files)
        assert main(["logs", "demo"]) == 2
        assert "several gateways run: demo at http://127.0.0.1:1, demo" in capsys.readouterr().err
        assert main(["logs", "demo", "--url", urls[0]]) == 0
        monkeypatch.setenv("ENGINIX_URL", urls[1])
        assert main(["logs"]) == 0
        said = capsys.readouterr()
        assert said.out == "gateway | of 1\ngateway | of 2\n"
        # The user has just typed the other one's address.
        assert said.err == f"gateway: {urls[1]}\n"
        monkeypatch.delenv("ENGINIX_URL")
    assert main(["logs", "demo"]) == 0
    said = capsys.readouterr()
    assert said.out == "gateway | of 2\n"
    assert said.err == f"the last run of demo, which has ended: {logs[1]}\n"
    assert main(["logs", "demo", "--url", urls[1]]) == 2
    assert "no gateway here is at http://127.0.0.1:2; running: none" in capsys.readouterr().err
    assert main(["logs"]) == 0
    assert capsys.readouterr().out == "".join(f"{each}/gateway.log\n" for each in logs)


def test_a_gateway_without_a_profile_has_no_log_file(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(home, "http://127.0.0.1:1"):
        assert main(["logs"]) == 2
    assert "logs to where `enginix openai` was started" in capsys.readouterr().err


def test_a_gateways_key_is_sent_to_that_gateway_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENGINIX_API_KEYS", raising=False)
    keys = home / "keys"
    keys.write_text("sk-b\nsk-a\n")
    entry = GatewayEntry(9100, api_keys=str(keys))
    with written_files(home / "run" / "demo-9100", [], entry):
        assert authorization("http://127.0.0.1:9100/v1") == {"Authorization": "Bearer sk-a"}
        assert authorization("http://127.0.0.1:9200") == {}
        assert authorization("http://elsewhere:9100") == {}
        monkeypatch.setenv("ENGINIX_API_KEYS", "sk-c")
        assert authorization("http://127.0.0.1:9100") == {"Authorization": "Bearer sk-c"}
        monkeypatch.delenv("ENGINIX_API_KEYS")
        keys.unlink()
        assert authorization("http://127.0.0.1:9100") == {}
    keys.write_text("sk-a\n")
    assert authorization("http://127.0.0.1:9100") == {}


def test_a_benchmark_sends_the_key_that_other_commands_send_and_has_one_more_for_other_servers(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("ENGINIX_API_KEYS", "sk-c")
    keys = home / "keys"
    keys.write_text("sk-a\n")
    entry = GatewayEntry(9100, api_keys=str(keys))
    with written_files(home / "run" / "demo-9100", [], entry):
        assert key_for_server("http://127.0.0.1:9100") == "sk-c"
        monkeypatch.delenv("ENGINIX_API_KEYS")
        assert key_for_server("http://127.0.0.1:9100") == "sk-a"
        assert key_for_server("http://elsewhere:9100") == "sk-openai"
        assert authorization("http://elsewhere:9100") == {}


def test_a_gateway_that_cannot_be_listed_is_served_anyway(home: Path) -> None:
    (home / "run").write_text("")
    with listed(GatewayEntry()):
        assert supervisors(home) == []


def test_a_gateway_that_was_started_by_hand_is_found(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = home / "models.json"
    models.write_text(json.dumps({"models": [{"name": "far", "url": "http://127.0.0.1:9"}]}))
    (port,) = free_ports(1)
    with subprocess.Popen(
        [sys.executable, "-m", "enginix", "openai", f"--models={models}", f"--port={port}"],
        env=os.environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as gateway:
        assert gateway.stdout is not None
        assert str(port) in gateway.stdout.readline()
        try:
            assert main(["status", "--json"]) == 0
            said = capsys.readouterr()
            assert [model["id"] for model in json.loads(said.out)["models"]] == ["far"]
            assert said.err == ""
            assert main(["ps"]) == 0
            assert f"openai: http://127.0.0.1:{port}" in capsys.readouterr().out
        finally:
            gateway.terminate()
    assert supervisors(home) == []
    assert list((home / "run").iterdir()) == []
