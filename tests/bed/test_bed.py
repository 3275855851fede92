"""Hosts made of network namespaces: separate, disconnected and removed."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed.hosts import Host, hosts, why_none

ROOT = Path(__file__).parents[2]
# Leaves a process on its host, and waits until it is killed.
MAKER = """
import subprocess, sys
from tests.bed.hosts import hosts
with hosts(1) as (host,):
    waiting = subprocess.Popen(host.command(["sleep", "600"]), stdout=subprocess.DEVNULL)
    print(host.name, waiting.pid, flush=True)
    sys.stdin.read()
"""
LISTENER = """
import socket, sys
server = socket.create_server(("0.0.0.0", 9000))
print("listens", flush=True)
while True:
    server.accept()[0].close()
"""


@pytest.fixture
def pair() -> Iterator[list[Host]]:
    if reason := why_none():
        pytest.skip(reason)
    with hosts(2) as made:
        yield made


def reaches(host: Host) -> bool:
    try:
        socket.create_connection((host.address, 9000), timeout=0.5).close()
    except OSError:
        return False
    return True


def test_hosts_listen_on_the_same_port_and_one_is_cut_off_and_connected(pair: list[Host]) -> None:
    listening = []
    try:
        for host in pair:
            command = host.command([sys.executable, "-c", LISTENER])
            listening.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for each in listening:
            assert each.stdout is not None
            assert each.stdout.readline() == "listens\n"
        assert [reaches(host) for host in pair] == [True, True]
        pair[0].cut_off()
        assert [reaches(host) for host in pair] == [False, True]
        pair[0].connect()
        # The first packets may be lost: this machine asks again for the host's hardware address.
        deadline = time.monotonic() + 30
        while not reaches(pair[0]):
            assert time.monotonic() < deadline
    finally:
        for each in listening:
            each.kill()
            each.communicate()


def test_the_hosts_of_a_killed_run_are_removed_by_the_next_with_all_that_runs_on_them() -> None:
    if reason := why_none():
        pytest.skip(reason)
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert maker.stdout is not None
    name, waiting = maker.stdout.readline().split()
    with hosts(1):
        assert is_there(name)
    maker.kill()
    maker.communicate()
    assert is_there(name)
    with os.fdopen(os.pidfd_open(int(waiting))) as left:
        with hosts(1):
            assert not is_there(name)
        assert select.select([left], [], [], 30)[0]
    assert not any(each.startswith(name.partition("-")[0]) for each in links())


def is_there(name: str) -> bool:
    return Path(f"/run/netns/{name}").exists()


def links() -> list[str]:
    return [path.name for path in Path("/sys/class/net").iterdir()]
