"""Ranks of one engine on several machines, under the real Open MPI; here all are this one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from enginix.process import find_program
from tests.conftest import free_ports
from tests.end_to_end.ranks import Machine, Running
from tests.end_to_end.test_triton_killed import wait_until_gone
from tests.triton.engines import write_engine

pytestmark = pytest.mark.skipif(
    find_program("mpirun") is None, reason="mpirun is not installed (Debian: openmpi-bin)"
)


@contextmanager
def two_nodes(machine: Machine) -> Iterator[tuple[Running, Running]]:
    (port,) = free_ports(1)
    with (
        machine.started("--nodes=2", f"--join=localhost:{port}") as node,
        machine.started("--nodes=2", f"--nodes-port={port}") as leader,
    ):
        yield leader, node


def ended(running: Running) -> str:
    running.process.wait(60)
    running.log.close()
    return running.log.text()


def test_the_ranks_are_shared_by_the_machines(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 4)
    with two_nodes(machine) as (leader, node):
        assert leader.log.says("Triton serves qwen3-32b from"), leader.log.text()
        assert node.log.says("this node runs its ranks now"), node.log.text()
        reports = [machine.report(rank) for rank in range(4)]
    (here,), (there,) = [
        {report["options"]["model-repository"][0] for report in some}
        for some in (reports[:2], reports[2:])
    ]
    assert here != there
    assert "[rank 3] I rank 3 starts" in leader.log.text()
    assert [report["environment"]["OMPI_COMM_WORLD_LOCAL_RANK"] for report in reports] == list(
        "0101"
    )
    # Each sees as many GPUs as its machine has ranks.
    assert {report["environment"]["CUDA_VISIBLE_DEVICES"] for report in reports} == {
        "GPU-0000,GPU-1000"
    }


def test_sigterm_ends_the_ranks_everywhere(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 2)
    with two_nodes(machine) as (leader, node):
        assert leader.log.says("Triton serves"), leader.log.text()
        ranks = [machine.report(rank)["pid"] for rank in range(2)]
        leader.process.terminate()
        assert leader.process.wait(30) == 0
        ended(node)
        wait_until_gone(ranks)


@pytest.mark.parametrize("which", ["leader", "node"])
def test_a_machine_that_is_killed_ends_the_others(tmp_path: Path, which: str) -> None:
    machine = Machine(tmp_path / "m", 2)
    with two_nodes(machine) as (leader, node):
        assert leader.log.says("Triton serves"), leader.log.text()
        ranks = [machine.report(rank)["pid"] for rank in range(2)]
        killed, other = (leader, node) if which == "leader" else (node, leader)
        killed.process.kill()
        # Open MPI's daemon may notice first.
        said = {
            "leader": "enginix: the ",
            "node": "enginix: node 127.0.0.1 has left",
        }
        assert said[which] in ended(other)
        assert other.process.returncode == 1
        wait_until_gone(ranks)


def test_a_rank_that_fails_elsewhere_is_explained(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", 2)
    machine.behave(1, "fail")
    with two_nodes(machine) as (leader, node):
        text = ended(leader)
        ended(node)
    assert "rank 1 ended first and ended the others" in text
    assert "no CUDA device is free" in text


def test_a_machine_with_another_engine_is_refused(tmp_path: Path) -> None:
    one, other = Machine(tmp_path / "one", 2), Machine(tmp_path / "other", 2)
    other.engine = tmp_path / "another"
    write_engine(other.engine, 2, extra=b"another")
    (port,) = free_ports(1)
    with one.started("--nodes=2", f"--nodes-port={port}", "--start-timeout=60") as leader:
        assert leader.log.says("waiting for 1 nodes"), leader.log.text()
        refused = other.run("--nodes=2", f"--join=localhost:{port}")
        assert refused.returncode == 1
        assert "it has another engine" in refused.stdout
        assert "give all machines the same engine" in refused.stdout
        with socket.create_connection(("localhost", port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert b"refused" in stranger.recv(1000)
        with one.started("--nodes=2", f"--join=localhost:{port}"):
            assert leader.log.says("Triton serves"), leader.log.text()


def test_a_machine_that_does_not_come_is_named(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    machine = Machine(tmp_path / "m", 2)
    late = machine.run("--nodes=2", f"--nodes-port={port}", "--start-timeout=0.5")
    assert late.returncode == 1
    assert "1 of 2 nodes have not joined within 0.5 s" in late.stdout
    alone = machine.run("--nodes=2", f"--join=localhost:{port}", "--start-timeout=0.5")
    assert alone.returncode == 1
    assert f"nothing listens on localhost:{port}" in alone.stdout
    assert not machine.was_started()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--nodes=3"], "use --nodes 2 or 4"),
        (["--nodes=0"], "--nodes is 0"),
        (["--join=localhost"], "--nodes is 1"),
        (["--nodes=2", "--join=localhost:x"], "expected HOST, HOST:PORT, an IPv6 address, or"),
        (["--nodes=2", "--join=:8003"], "expected HOST, HOST:PORT, an IPv6 address, or"),
        (["--nodes=2", "--nodes-port=65536"], "--nodes-port is 65536"),
        (["--exit-timeout=-1"], "--exit-timeout is -1; expected 0 to"),
        (["--start-timeout=nan"], "--start-timeout is nan; expected more than 0"),
    ],
)
def test_machines_that_cannot_share_the_ranks_are_refused(
    tmp_path: Path, options: list[str], why: str
) -> None:
    refused = Machine(tmp_path / "m", 4).run(*options)
    assert refused.returncode == 2
    assert why in refused.stdout


def test_each_machine_needs_its_share_of_gpus_only(tmp_path: Path) -> None:
    few = Machine(tmp_path / "m", 4, gpus=1).run("--nodes=2")
    assert few.returncode == 1
    assert "4 ranks" not in few.stdout
    assert "2 ranks on each of 2 machines, one GPU each, and 1 GPUs are visible" in few.stdout
