"""Several hosts on one machine: network namespaces on a switch of their own.

Their names hold the process that made them: a later run removes what a killed one left.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# A link's name has 15 characters at most: this, a process of seven digits, a dash, a digit.
PREFIX = "enxbed"
NAME = re.compile(rf"{PREFIX}(\d+)(?:-\d)?\b")
# Reserved for tests of networks (RFC 2544): no real host has such an address.
NETWORK = "198.18"


@dataclass(frozen=True)
class Host:
    name: str
    """Of its namespace, and of the switch's port that its cable is in."""
    address: str

    def command(self, words: Sequence[str]) -> list[str]:
        """A command line that becomes `words` on this host, as the same process."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *words]

    def cut_off(self) -> None:
        """Pull its cable at the switch: packets vanish, and no end is told."""
        _run("ip", "link", "set", self.name, "down")

    def connect(self) -> None:
        _run("ip", "link", "set", self.name, "up")


def why_none() -> str | None:
    """Why this machine cannot be several hosts; None if it can."""
    for program in ("ip", "nsenter"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        with hosts(1) as (host,):
            _run(*host.command(["true"]))
            return None
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {' '.join(error.cmd)}: {error.stderr.strip()}"


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Hosts on one switch, which is also connected to this machine; at most nine."""
    _remove_leftovers()
    switch = f"{PREFIX}{os.getpid()}"
    network = f"{NETWORK}.{_free_network()}"
    with ExitStack() as stack:
        _run("ip", "link", "add", switch, "type", "bridge")
        stack.callback(_remove, switch)
        _run("ip", "address", "add", f"{network}.254/24", "dev", switch)
        _run("ip", "link", "set", switch, "up")
        made = []
        for number in range(1, count + 1):
            host = Host(f"{switch}-{number}", f"{network}.{number}")
            _run("ip", "netns", "add", host.name)
            stack.callback(_remove, host.name)
            _plug_in(host, switch)
            made.append(host)
        yield made


def _plug_in(host: Host, switch: str) -> None:
    cable = ("type", "veth", "peer", "name", "eth0", "netns", host.name)
    _run("ip", "link", "add", host.name, *cable)
    _run("ip", "link", "set", host.name, "master", switch, "up")
    inside = ("ip", "-n", host.name)
    _run(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
    for link in ("lo", "eth0"):
        _run(*inside, "link", "set", link, "up")


def _free_network() -> int:
    """Two runs at the same time have different networks."""
    taken = _run("ip", "-4", "-oneline", "address")
    numbers = (number % 256 for number in range(os.getpid(), os.getpid() + 256))
    return next(number for number in numbers if f" {NETWORK}.{number}." not in taken)


def _remove_leftovers() -> None:
    """Of processes that have ended without removing their hosts."""
    for command in (("netns", "list"), ("-oneline", "link", "show", "type", "bridge")):
        for found in NAME.finditer(_run("ip", *command)):
            if not Path(f"/proc/{found[1]}").exists():
                _remove(found[0])


def _remove(name: str) -> None:
    """A host with all that runs on it, or a switch."""
    # First: the kernel also removes it, later, with the namespace at its other end.
    if Path(f"/sys/class/net/{name}").exists():
        _run("ip", "link", "delete", name)
    if Path(f"/run/netns/{name}").exists():
        for pid in _run("ip", "netns", "pids", name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _run("ip", "netns", "delete", name)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
