"""Reads server addresses: `host:port`, or several of them separated by commas."""

from __future__ import annotations

from dataclasses import dataclass

from enginix.errors import UsageError


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_addresses(text: str, of: str = "Triton's gRPC port") -> tuple[Address, ...]:
    """`a:8001,[::1]:8001` -> addresses; a host name may resolve to several servers."""
    return tuple(_parse(one.strip(), text, of) for one in text.split(","))


def _parse(one: str, whole: str, of: str) -> Address:
    host, colon, port = one.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    number = int(port) if port.isascii() and port.isdigit() else 0
    if not (colon and host and 0 < number < 65536) or (":" in host and not bracketed):
        raise UsageError(
            f"{whole!r} is not an address of {of}; expected host:port, [IPv6]:port, "
            "or several of them separated by commas"
        )
    return Address(host, number)
