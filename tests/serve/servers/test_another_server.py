"""Another server program is one value and one line in the table: everything else follows."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from enginix.cli import environment
from enginix.cli.main import main
from enginix.errors import NotACheckpoint, NotAnEngine, RuntimeMissing
from enginix.runtimes.runtime import Recipe
from enginix.serve.environment import Environment
from enginix.serve.gateway import gateway_url
from enginix.serve.model_entry import ModelEntry
from enginix.serve.models_file import read_models_file
from enginix.serve.profile import GatewayEntry, Profile, check, load_profile
from enginix.serve.servers import SERVERS
from enginix.serve.servers.program import Command, Reads, ServerProgram, flags
from enginix.serve.up import running_profile
from tests.conftest import free_ports

STAND_IN = Path(__file__).parents[2] / "fakes" / "wedged_server.py"
CHAT = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}


def command(program: Sequence[str], entry: ModelEntry, _model: str, _settings: Path) -> Command:
    return Command([*program, str(entry.http_port), *flags(entry.options)])


MADE_UP = ServerProgram(
    name="madeup",
    title="Made-up",
    aliases=("made-up",),
    reads=Reads.CHECKPOINT,
    command=command,
    recipes=(Recipe("madeup", ("madeup-server",), program="madeup-serve"),),
    arguments=("--serve",),
    slots="at_once",
)


@pytest.fixture(autouse=True)
def one_line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SERVERS, MADE_UP.name, MADE_UP)


@pytest.fixture
def home() -> Iterator[Path]:
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="h") as directory:
        yield Path(directory)


def installed(home: Path) -> Path:
    """Its environment, as `enginix setup madeup` would make it; the program is a stand-in."""
    program = home / "runtimes" / "madeup" / "bin" / "madeup-serve"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} {STAND_IN} "$@"\n')
    program.chmod(0o755)
    (program.parent / "python").touch()
    return program


def checkpoint(home: Path, name: str) -> Path:
    directory = home / "models" / name
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    return directory


def not_here(*_: object) -> Path:
    raise NotAnEngine(Path("none"), "there is none here")


def no_checkpoint(*_: object) -> Path:
    raise NotACheckpoint("there is none here")


def here(home: Path) -> Environment:
    return Environment(
        home=home,
        logs=home / "logs",
        enginix=[sys.executable, "-m", "enginix"],
        runtime=lambda _: None,
        find_engine=not_here,
        find_checkpoint=no_checkpoint,
        gateway_variables=environment.for_child(),
        server_variables=environment.for_server,
    )


@asynccontextmanager
async def serving(home: Path, model: Path) -> AsyncIterator[httpx.AsyncClient]:
    port, http = free_ports(2)
    profile = Profile(
        "made-up",
        "A made-up server",
        [ModelEntry("first", engine="madeup", path=str(model), http_port=http)],
        GatewayEntry(port),
        model_roots=[str(model.parent)],
    )
    check(profile, "here")
    async with (
        running_profile(profile, here(home), lambda *_: None) as scheduler,
        httpx.AsyncClient(base_url=gateway_url(profile.gateway), timeout=30) as client,
    ):
        expiring = asyncio.create_task(scheduler.expire())
        try:
            yield client
        finally:
            expiring.cancel()


async def test_a_model_is_served_shown_unloaded_and_loaded_through_it(home: Path) -> None:
    installed(home)
    async with serving(home, checkpoint(home, "one")) as client:
        answer = await client.post("/v1/chat/completions", json={"model": "first", **CHAT})
        (shown,) = (await client.get("/v1/status")).json()["models"]
        unloaded = await client.post("/v1/models/unload", json={"model": "first"})
        loaded = await client.post("/v1/models/load", json={"model": "first"})
        again = await client.post("/v1/chat/completions", json={"model": "first", **CHAT})
    content = answer.json()["choices"][0]["message"]["content"]
    assert content == "The capital of France is Paris."
    assert (shown["kind"], shown["status"]) == ("madeup", "loaded")
    assert (unloaded.json()["status"], loaded.json()["status"]) == ("idle", "loaded")
    assert again.status_code == 200


async def test_a_model_that_no_profile_names_is_loaded_into_it_by_its_path(home: Path) -> None:
    installed(home)
    second = checkpoint(home, "second")
    async with serving(home, checkpoint(home, "one")) as client:
        body = {"model_path": str(second), "engine": "madeup"}
        loaded = await client.post("/v1/models/load", json=body)
        answer = await client.post("/v1/chat/completions", json={"model": "second", **CHAT})
    assert loaded.json()["status"] == "loaded"
    assert answer.status_code == 200


def test_profiles_and_models_files_name_it(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('title = "x"\n[[model]]\nname = "a"\nengine = "madeup"\n')
    (entry,) = load_profile("mine", tmp_path).models
    assert entry.engine == "madeup"
    model = checkpoint(home, "one")
    file = tmp_path / "models.json"
    file.write_text(
        f'{{"models": {{"a": {{"engine": "made-up", "model_path": "{model}", '
        '"max_batch_size": 3}}}'
    )
    (entry,) = read_models_file(file).models
    assert (entry.engine, entry.options) == ("madeup", {"at_once": 3})


def test_a_dry_run_prints_its_command(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ENGINIX_HOME", str(home))
    model = checkpoint(home, "one")
    file = tmp_path / "models.json"
    row = {"engine": "madeup", "model_path": str(model), "max_batch_size": 3}
    file.write_text(json.dumps({"models": {"a": row}}))
    arguments = ["up", f"--models={file}", "--http-port=8123", "--dry-run"]
    assert main(arguments) == 0
    assert "\nmadeup-serve --serve 8123 --at-once=3\n" in capsys.readouterr().out
    program = installed(home)
    assert main(arguments) == 0
    assert f"\n{program} --serve 8123 --at-once=3\n" in capsys.readouterr().out


def test_where_it_is_missing_the_command_that_installs_it_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(home))
    here = Environment(home, home, [], lambda _: None, not_here, no_checkpoint, {}, lambda *_: {})
    with pytest.raises(RuntimeMissing, match="enginix setup --engine madeup"):
        MADE_UP.find(here, ModelEntry("a", engine="madeup"))
