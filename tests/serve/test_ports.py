"""Ports that no profile has chosen are free ones, and a taken one is named by its flag."""

from __future__ import annotations

import socket

import pytest

from enginix.errors import PortTaken
from enginix.serve.model_entry import LOOPBACK, ModelEntry
from enginix.serve.ports import require_ports_free, with_free_ports
from enginix.serve.profile import GatewayEntry, Profile
from tests.conftest import free_ports


def test_only_what_the_server_listens_on_gets_a_port() -> None:
    unset = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    triton, vllm = with_free_ports(
        [ModelEntry("a", **unset), ModelEntry("b", engine="vllm", **unset)]
    )
    assert 0 not in (triton.http_port, triton.grpc_port, triton.metrics_port)
    assert (vllm.http_port > 0, vllm.grpc_port, vllm.metrics_port) == (True, 0, 0)


def test_a_port_that_is_chosen_stays() -> None:
    entry = ModelEntry("a", engine="vllm", http_port=8123)
    assert with_free_ports([entry]) == [entry]


@pytest.mark.parametrize(
    ("taken", "flag"),
    [
        ("gateway", "--port"),
        ("first", "--http-port"),
        ("second", r"--set second\.http_port=N"),
    ],
)
def test_a_taken_port_is_named_by_the_flag_that_chooses_another(taken: str, flag: str) -> None:
    ports = dict(zip(("gateway", "first", "second"), free_ports(3), strict=True))
    models = [ModelEntry(n, engine="vllm", http_port=ports[n]) for n in ("first", "second")]
    profile = Profile("p", "P", models, GatewayEntry(ports["gateway"]))
    require_ports_free(profile)
    with (
        socket.create_server((LOOPBACK, ports[taken])),
        pytest.raises(PortTaken, match=f"{ports[taken]}.*{flag}"),
    ):
        require_ports_free(profile)
