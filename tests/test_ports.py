"""Addresses are printed as they can be opened; a port is tried on the address it is for."""

from __future__ import annotations

import socket

import pytest

from enginix.errors import PortTaken, UsageError
from enginix.ports import local_url, network_url, require_port_free


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("0.0.0.0", "http://127.0.0.1:9000"),
        ("", "http://127.0.0.1:9000"),
        ("::", "http://[::1]:9000"),
        ("::1", "http://[::1]:9000"),
        ("fd00::2", "http://[fd00::2]:9000"),
        ("ai.lan", "http://ai.lan:9000"),
    ],
)
def test_this_machine_opens_an_address_and_not_a_wildcard(host: str, url: str) -> None:
    assert local_url(host, 9000) == url


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_get_the_address_of_the_default_route_if_there_is_one(host: str) -> None:
    url = network_url(host, 9000)
    assert url is None or (url.endswith(":9000") and url != local_url(host, 9000))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "192.0.2.7", "ai.lan"])
def test_a_server_on_one_address_has_no_other(host: str) -> None:
    assert network_url(host, 9000) is None


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_port_of_ipv6_is_free_or_taken_as_one_of_ipv4_is() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken):
            require_port_free("::", port, "--port")
    require_port_free("::", port, "--port")


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_number_that_is_no_port_is_refused_with_its_option(port: int) -> None:
    with pytest.raises(UsageError, match=f"--port is {port}; expected a port from 1 to 65535"):
        require_port_free("127.0.0.1", port, "--port")


@pytest.mark.parametrize("host", ["192.0.2.7", "no-such-host.invalid"])
def test_an_address_of_no_machine_here_is_not_called_a_taken_port(host: str) -> None:
    with pytest.raises(UsageError, match=rf"--host {host} cannot be listened on: .*0\.0\.0\.0"):
        require_port_free(host, 9000, "--port")
