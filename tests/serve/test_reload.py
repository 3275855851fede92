"""A running profile takes up changed files: real processes, a real gateway, stand-in servers."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve.servers.test_another_server import CHAT, MADE_UP, STAND_IN, checkpoint, here
from serve.servers.test_another_server import home as home  # a fixture

from enginix.errors import EngineDamaged
from enginix.serve.files import WatchedFiles, stamp
from enginix.serve.gateway import gateway_url
from enginix.serve.models_file import read_models_file
from enginix.serve.overrides import overridden
from enginix.serve.ports import with_free_ports
from enginix.serve.profile import GatewayEntry, Profile
from enginix.serve.reload import Sources
from enginix.serve.servers import SERVERS
from enginix.serve.up import running_profile
from enginix.supervision import FOLLOW, Report, decode_news, encode
from tests.conftest import free_ports

SECONDS = 60
# A server that is started so does not start.
BROKEN = 666


def install(home: Path) -> None:
    program = home / "runtimes" / "madeup" / "bin" / "madeup-serve"
    program.parent.mkdir(parents=True)
    program.write_text(
        f'#!/bin/sh\nshift\ncase "$*" in *--at-once={BROKEN}*) echo broken; exit 3;; esac\n'
        f'exec {sys.executable} {STAND_IN} "$@"\n'
    )
    program.chmod(0o755)
    (program.parent / "python").touch()


@dataclass
class Place:
    home: Path
    file: Path
    client: httpx.AsyncClient
    files: WatchedFiles
    settings: list[str]
    """`--set` of the command line."""

    def write(self, **models: dict[str, Any]) -> None:
        """The file, as editors replace one."""
        rows = {
            name: {"engine": "madeup", "model_path": str(self.home / "models" / "one"), **row}
            for name, row in models.items()
        }
        new = self.file.with_name("new.json")
        new.write_text(json.dumps({"models": rows}))
        new.replace(self.file)

    async def reload(self, **models: dict[str, Any]) -> dict[str, Any]:
        if models:
            self.write(**models)
        before = (await self.status())["configuration"]
        self.files.asked.set()
        return await self.until(
            lambda status: (
                status["configuration"] != before and status["configuration"]["changing"] is None
            )
        )

    async def status(self) -> dict[str, Any]:
        """With what the supervisor knows, which may not answer in time."""
        async with asyncio.timeout(SECONDS):
            while not (status := (await self.client.get("/v1/status")).json())["configuration"]:
                pass
        return dict(status)

    async def until(self, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        status: dict[str, Any] = {}
        try:
            async with asyncio.timeout(SECONDS):
                while not seen(status := await self.status()):
                    pass
        except TimeoutError:
            pytest.fail(f"it stayed as it is: {status}")
        return status

    async def ask(self, model: str, **more: Any) -> httpx.Response:
        return await self.client.post("/v1/chat/completions", json={"model": model, **CHAT, **more})


@pytest.fixture
async def place(
    home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Place]:
    """Two models, `a` and `b`; the parameter is whether their file is watched."""
    monkeypatch.setitem(SERVERS, MADE_UP.name, MADE_UP)
    install(home)
    for name in ("one", "two"):
        checkpoint(home, name)
    (port,) = free_ports(1)
    file, settings = home / "models.json", ["drain_seconds=1"]

    def read() -> Profile:
        profile = replace(read_models_file(file), gateway=GatewayEntry(port))
        return overridden(profile, settings)

    def check_row(row: Mapping[str, Any]) -> None:
        if row["aliases"] == ["damaged"]:
            raise EngineDamaged("its tokenizer is damaged")

    watched = getattr(request, "param", False)
    files = WatchedFiles([file], stamp([file]), watched=watched)
    url = gateway_url(GatewayEntry(port))
    async with httpx.AsyncClient(base_url=url, timeout=SECONDS) as client:
        place = Place(home, file, client, files, settings)
        place.write(a={}, b={})
        profile = read()
        profile = replace(profile, models=with_free_ports(profile.models))
        async with running_profile(
            profile, here(home), lambda *_: None, Sources(files, read, check_row)
        ):
            yield place


def pids(status: dict[str, Any]) -> dict[str, int]:
    return {one["id"]: one["pid"] for one in status["models"]}


def row(status: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in status["models"] if one["id"] == name)


async def test_models_come_go_and_change_while_another_streams_on(place: Place) -> None:
    before = pids(await place.status())
    body = {"model": "a", "stream": True, "max_tokens": 100_000, **CHAT}
    async with place.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("data: ")
        added = await place.reload(a={}, c={"max_batch_size": 2})
        assert list(pids(added)) == ["a", "c"]
        changed = await place.reload(a={}, c={"max_batch_size": 3})
        assert pids(changed)["c"] != pids(added)["c"]
        assert changed["configuration"]["failed"] == {}
        for _ in range(100):
            assert "error" not in await anext(lines)
    assert (await place.ask("b")).status_code == 404
    assert (await place.ask("c")).status_code == 200
    assert pids(await place.status())["a"] == before["a"]


async def test_a_reload_is_over_once_every_gateway_serves_what_it_brought(place: Place) -> None:
    (control,) = place.home.glob("run/*/control")
    reader, writer = await asyncio.open_unix_connection(control)
    writer.write(FOLLOW)
    # Another gateway, which has not opened the new model yet.
    before = decode_news(await reader.readline()).generation
    writer.write(encode(Report(before, {})))
    place.write(a={}, b={}, c={})
    place.files.asked.set()
    here = await place.until(
        lambda status: any(one["id"] == "c" and one["healthy"] for one in status["models"])
    )
    assert here["configuration"]["changing"]
    writer.write(encode(Report(before + 1_000, {})))
    await place.until(lambda status: status["configuration"]["changing"] is None)
    writer.close()


async def test_a_broken_file_changes_nothing_and_says_so_until_a_good_one_replaces_it(
    place: Place,
) -> None:
    before = await place.status()
    assert before["configuration"]["files"] == [str(place.file)]
    place.file.write_text('{"models": {"a": {"engine": "madeup",')
    status = await place.reload()
    assert "line 1, column" in status["configuration"]["error"]
    assert pids(status) == pids(before)
    place.file.unlink()
    os.mkfifo(place.file)
    assert "is no file" in (await place.reload())["configuration"]["error"]
    place.file.unlink()
    assert "No such file" in (await place.reload())["configuration"]["error"]
    status = await place.reload(a={}, b={"model_path": "/nowhere"})
    assert "/nowhere is not there; expected a directory" in status["configuration"]["error"]
    status = await place.reload(a={}, b={"model_path": "/" + "x" * 5000})
    assert status["configuration"]["error"].endswith("x: File name too long")
    place.settings.append("gateway.workers=2")
    status = await place.reload(a={}, b={}, c={})
    refusal = status["configuration"]["error"]
    assert "gateway.workers (--workers): found 2, expected 1" in refusal
    assert pids(status) == pids(before)
    place.settings.pop()
    place.settings.append('a.aliases=["damaged"]')
    assert "tokenizer is damaged" in (await place.reload())["configuration"]["error"]
    place.settings.pop()
    place.settings.append('a.aliases=["mine"]')
    status = await place.reload(a={}, b={})
    assert status["configuration"]["error"] is None
    # Its servers know nothing of the name that clients use.
    assert pids(status) == pids(before)
    assert (await place.ask("mine")).status_code == 200


async def test_a_full_disk_does_not_keep_a_changed_model_from_its_start(place: Place) -> None:
    (rows,) = place.home.glob("run/*/gateway.json")
    # Nothing can be written there.
    rows.with_name(".gateway.json.partial").mkdir()
    before = pids(await place.status())
    status = await place.reload(a={"max_batch_size": 2}, b={})
    assert pids(status)["a"] not in (None, before["a"])
    assert (await place.ask("a")).status_code == 200


async def test_a_new_model_that_does_not_start_leaves_the_others_alone(place: Place) -> None:
    broken = {"max_batch_size": BROKEN}
    before = pids(await place.status())
    status = await place.reload(a={}, broken=broken, b={"max_batch_size": 2}, c={})
    assert "broken" in status["configuration"]["failed"]["broken"]
    assert {row(status, name)["status"] for name in "abc"} == {"loaded"}
    assert "broken" in row(status, "broken")["last_error"]
    assert pids(status)["a"] == before["a"]
    mended = await place.reload(a={}, broken={}, b={"max_batch_size": 2}, c={})
    assert mended["configuration"]["failed"] == {}
    assert (await place.ask("broken")).status_code == 200
    assert {pids(mended)[name] == pids(status)[name] for name in "abc"} == {True}


async def test_why_a_model_failed_is_told_until_it_serves_after_all(place: Place) -> None:
    broken = {"max_batch_size": BROKEN}
    failed = await place.reload(a={}, broken=broken, b={}, c={})
    assert "broken" in failed["configuration"]["failed"]["broken"]
    # Another one changes.
    later = await place.reload(a={}, broken=broken, b={"max_batch_size": 2}, c={})
    assert later["configuration"]["failed"] == failed["configuration"]["failed"]
    # What it needs is there now, and the next try finds it.
    program = place.home / "runtimes" / "madeup" / "bin" / "madeup-serve"
    program.write_text(program.read_text().replace(str(BROKEN), "nothing"))
    mended = await place.until(lambda status: row(status, "broken")["status"] == "loaded")
    assert mended["configuration"]["failed"] == {}


async def test_a_model_that_failed_and_was_unloaded_by_hand_is_no_longer_told_of(
    place: Place,
) -> None:
    status = await place.reload(a={}, broken={"max_batch_size": BROKEN}, b={}, c={})
    assert "broken" in status["configuration"]["failed"]
    unloaded = await place.client.post("/v1/models/unload", json={"model": "broken"})
    assert unloaded.status_code == 200
    assert (await place.status())["configuration"]["failed"] == {}


async def test_two_models_swap_their_engines_and_their_ports(place: Place) -> None:
    two = {"model_path": str(place.home / "models" / "two")}
    await place.reload(a={}, b=two)
    ports = free_ports(2)
    for swapped in (ports, ports[::-1]):
        place.settings[1:] = [
            f"{name}.http_port={port}" for name, port in zip("ab", swapped, strict=True)
        ]
        models = {"a": {}, "b": two} if swapped is ports else {"a": two, "b": {}}
        status = await place.reload(**models)
        assert status["configuration"]["failed"] == {}
        assert {(await place.ask(name)).status_code for name in "ab"} == {200}
    # A gateway process that starts from now on reads what is there now.
    (rows,) = place.home.glob("run/*/gateway.json")
    paths = {one["name"]: one["path"] for one in json.loads(rows.read_text())["models"]}
    assert paths == {"a": two["model_path"], "b": str(place.home / "models" / "one")}


async def test_a_model_that_is_removed_while_it_streams_gets_drain_seconds(place: Place) -> None:
    body = {"model": "b", "stream": True, "max_tokens": 100_000, **CHAT}
    async with place.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("data: ")
        reloading = asyncio.create_task(place.reload(a={}))
        async with asyncio.timeout(SECONDS):
            rest = [line async for line in lines if line]
    assert "error" in rest[-1] or "error" in rest[-2]
    assert list(pids(await reloading)) == ["a"]


async def test_reloads_in_a_row_and_in_the_middle_of_a_load_end_with_the_last_file(
    place: Place,
) -> None:
    unloaded = await place.client.post("/v1/models/unload", json={"model": "b"})
    assert unloaded.status_code == 200
    loading = asyncio.create_task(place.client.post("/v1/models/load", json={"model": "b"}))
    place.write(a={}, b={"max_batch_size": 2})
    place.files.asked.set()
    place.write(a={"max_batch_size": 4}, c={})
    place.files.asked.set()
    status = await place.until(
        lambda status: list(pids(status)) == ["a", "c"] and not status["configuration"]["changing"]
    )
    await loading
    assert status["configuration"]["failed"] == {}
    assert {(await place.ask(name)).status_code for name in "ac"} == {200}
    # A model that was unloaded on purpose stays so.
    await place.client.post("/v1/models/unload", json={"model": "c"})
    status = await place.reload(a={"max_batch_size": 4}, c={"max_batch_size": 4})
    assert row(status, "c")["status"] == "idle"


@pytest.mark.parametrize("place", [True], indirect=True)
async def test_a_watched_file_is_taken_up_when_it_was_replaced(place: Place) -> None:
    place.write(a={}, c={})
    status = await place.until(lambda status: list(pids(status)) == ["a", "c"])
    assert status["configuration"]["watched"]
    # As a Kubernetes ConfigMap does it.
    place.write(a={})
    place.file.rename(real := place.file.with_name("data.json"))
    place.file.symlink_to(real)
    await place.until(lambda status: list(pids(status)) == ["a"])


async def test_replicas_are_changed_one_after_the_other(place: Place) -> None:
    status = await place.reload(a={"replicas": 2}, b={})
    before = {one["address"]: one["pid"] for one in row(status, "a")["replicas"]}
    assert len(before) == 2
    status = await place.reload(a={"replicas": 2, "max_batch_size": 2}, b={})
    after = {one["address"]: one["pid"] for one in row(status, "a")["replicas"]}
    assert after.keys() == before.keys()
    assert not {*after.values()} & {*before.values()}
