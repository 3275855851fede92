"""Chooses a profile's free ports, and checks that none of its ports is taken."""

from __future__ import annotations

import socket
from dataclasses import replace

from enginix.ports import require_port_free
from enginix.serve.model_entry import LOOPBACK, ModelEntry
from enginix.serve.profile import Profile
from enginix.serve.servers import ports_of


def with_free_ports(entry: ModelEntry) -> ModelEntry:
    """The entry with a free port in place of every 0."""
    unset = [name for name, port in ports_of(entry).items() if port == 0]
    listeners = [socket.create_server((LOOPBACK, 0)) for _ in unset]
    try:
        ports = {
            name: listener.getsockname()[1] for name, listener in zip(unset, listeners, strict=True)
        }
    finally:
        for listener in listeners:
            listener.close()
    return replace(entry, **ports)


def require_ports_free(profile: Profile) -> None:
    """Raise PortTaken, which names the flag to choose another; call it before slow work."""
    for number, entry in enumerate(profile.models):
        for name, port in ports_of(entry).items():
            flag = f"--set {entry.name}.{name}=N" if number else f"--{name.replace('_', '-')}"
            require_port_free(LOOPBACK, port, flag)
    require_port_free(profile.gateway.host, profile.gateway.port, "--port")
