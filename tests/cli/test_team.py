"""`enginix up --host 0.0.0.0`: what a team is told, and what a key protects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from enginix.process import descendants
from tests.cli.test_start import Machine

KEY = "sk-only-for-us"


@contextmanager
def serving(machine: Machine, *options: str) -> Iterator[tuple[str, int]]:
    """What `enginix up` says until it serves, and its process."""
    gateway, model = machine.ports
    own = (f"--port={gateway}", f"--http-port={model}", *options)
    process = machine.begin("up", "--models=models.json", "--model=first", *own)
    assert process.stdout is not None
    try:
        said = ""
        while "Ctrl-C" not in said and (line := process.stdout.readline()):
            said += line
        yield said, process.pid
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.env.pop("ENGINIX_API_KEYS", None)
    (tmp_path / "keys").write_text(f"{KEY}\n")
    return made


@pytest.mark.parametrize(("host", "local"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
def test_an_open_gateway_is_warned_of_and_shown_by_addresses_that_open(
    machine: Machine, host: str, local: str
) -> None:
    with serving(machine, f"--host={host}") as (said, _):
        url = f"http://{local}:{machine.ports[0]}"
        assert f"page     {url}/\nopenai   {url}/v1  (model 'first', any API key)\n" in said
        assert f"//{host}" not in said
        assert f"//[{host}]" not in said
        warning = "WARNING  Anyone who can reach port"
        assert warning in said
        assert httpx.get(f"{url}/v1/models").status_code == 200


def test_with_keys_there_is_no_warning_and_the_key_is_nowhere_to_be_read(machine: Machine) -> None:
    keys = machine.directory / "keys"
    options = (
        "--host=0.0.0.0",
        "--api-keys=keys",
        "--cors-origin=https://chat.example",
        "--set=hello=Hi",
    )
    with serving(machine, *options) as (said, pid):
        url = f"http://127.0.0.1:{machine.ports[0]}"
        assert f"(model 'first', an API key of {keys})" in said
        assert "WARNING" not in said
        # The sample question was asked with a key.
        assert "you      Hi\n" in said
        assert "has not answered" not in said
        assert httpx.get(f"{url}/v1/models").status_code == 401
        allowed = {"Authorization": f"Bearer {KEY}", "Origin": "https://chat.example"}
        answer = httpx.get(f"{url}/v1/models", headers=allowed)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://chat.example"
        # The user who may read the file needs to say nothing more.
        assert "first  vllm    loaded" in machine.run("status")
        lines = [Path(f"/proc/{each}/cmdline").read_text() for each in (pid, *descendants(pid))]
        files = [path for path in machine.home.rglob("*") if path.is_file()]
        assert len(files) > 4
        assert not any(
            KEY in text for text in (said, *lines, *(each.read_text() for each in files))
        )


def test_a_file_without_keys_is_refused_before_anything_starts(machine: Machine) -> None:
    (machine.directory / "keys").write_text("")
    output = machine.run("up", "--models=models.json", "--model=first", "--api-keys=keys")
    assert f"--api-keys {machine.directory / 'keys'} holds no key" in output
    assert output.endswith("status 2")
