"""Checks whether a port is free, and finds the process that holds it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from enginix.errors import PortTaken, ProcessError, UsageError
from enginix.process import process_ids

logger = logging.getLogger(__name__)

POLL = 0.1


def bracketed(host: str) -> str:
    """A host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def local_url(host: str, port: int) -> str:
    """The URL that reaches a listener from this machine, also for 0.0.0.0 and ::."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://{bracketed(reached)}:{port}"


def network_url(host: str, port: int) -> str | None:
    """The URL for other machines if a server listens on all addresses; None if unknown."""
    far = {"": "192.0.2.1", "0.0.0.0": "192.0.2.1", "::": "2001:db8::1"}.get(host)
    if far is None:
        return None
    family = socket.AF_INET6 if ":" in far else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        # This sends nothing: it only asks for the address that the default route starts from.
        probe.connect((far, 9))
        return local_url(probe.getsockname()[0], port)
    return None


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_port_free(host: str, port: int, flag: str) -> None:
    """Raise PortTaken if `port` cannot be bound, naming the holder if /proc shows it.

    Raise UsageError if it is no port, or `host` no address of this machine.
    """
    if not port:
        # The kernel would take it for any free one, which no client could know.
        raise UsageError(f"{flag} is 0; expected a port from 1 to 65535")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise ProcessError(
                f"port {port} needs more rights than this user has; choose one above 1023 "
                f"with {flag}"
            ) from None
        except OverflowError:
            raise UsageError(f"{flag} is {port}; expected a port from 1 to 65535") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UsageError(
                    f"--host {host} cannot be listened on: {error.strerror}; expected an address "
                    "of this machine, such as 127.0.0.1, or 0.0.0.0 for all"
                ) from None
            raise PortTaken(port, flag, port_holder(port)) from None


def port_holder(port: int) -> str | None:
    """'name (pid N)' of the process that listens on `port`, if this user may see it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                # st 0A is LISTEN; the local address ends in the port, in hexadecimal.
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for pid in process_ids():
        with contextlib.suppress(OSError):
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                if os.readlink(fd) in inodes:
                    name = Path(f"/proc/{pid}/comm").read_text().strip()
                    return f"{name} (pid {pid})"
    return None


async def until_free(host: str, ports: Iterable[int], patience: float) -> None:
    """Wait for the ports of a server that has just ended; ProcessError after `patience` seconds.

    Its last process may still be exiting: the kernel and a driver have much memory to release.
    """
    until = time.monotonic() + patience
    for port in ports:
        if _is_free(host, port):
            continue
        logger.warning("port %d is taken%s; waiting up to %g s for it", port, _by(port), patience)
        while not _is_free(host, port):
            if time.monotonic() >= until:
                raise ProcessError(
                    f"port {port} is still in use{_by(port)} after {patience:g} s; end that, or "
                    "give the server another port"
                )
            await asyncio.sleep(POLL)


def _by(port: int) -> str:
    return f" by {holder}" if (holder := port_holder(port)) else ""


def _is_free(host: str, port: int) -> bool:
    try:
        require_port_free(host, port, "")
    except PortTaken:
        return False
    return True
