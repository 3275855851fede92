"""Chooses a profile's free ports, and checks that none of its ports is taken."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from enginix.ports import require_port_free
from enginix.serve.model_entry import LOOPBACK, ModelEntry
from enginix.serve.profile import Profile
from enginix.serve.servers import ports_of


def with_free_ports(entries: Sequence[ModelEntry]) -> list[ModelEntry]:
    """The entries with a free port, each time another, in place of every 0."""
    with ExitStack() as stack:

        def free_port() -> int:
            # All are bound until the end: a port must not be found twice.
            listener = stack.enter_context(socket.create_server((LOOPBACK, 0)))
            return int(listener.getsockname()[1])

        found = []
        for entry in entries:
            ports: dict[str, Any] = {
                name: port or free_port() for name, port in ports_of(entry).items()
            }
            found.append(replace(entry, **ports))
        return found


def require_ports_free(profile: Profile) -> None:
    """Raise PortTaken, which names the flag to choose another; call it before slow work."""
    for number, entry in enumerate(profile.models):
        for name, port in ports_of(entry).items():
            flag = f"--set {entry.name}.{name}=N" if number else f"--{name.replace('_', '-')}"
            require_port_free(LOOPBACK, port, flag)
    require_port_free(profile.gateway.host, profile.gateway.port, "--port")
