"""`enginix start` leaves a model serving in the background; `enginix stop` leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT

import httpx
import pytest

from enginix.errors import ProcessError
from enginix.owned import hold
from enginix.ports import port_holder
from enginix.process import birth_of, descendants
from enginix.serve.profile import GatewayEntry
from enginix.serve.run_directory import written_files
from tests.conftest import free_ports

WEDGED = Path(__file__).parent.parent / "fakes" / "wedged_server.py"
# Stands in for vLLM: it serves on the given port, or fails on request.
VLLM = f"""#!{sys.executable}
import os, sys, time
if os.environ.get("FAKE_FAILS"):
    sys.exit("no kernel image is available for execution on the device")
if os.environ.get("FAKE_LOADS"):
    print("loading", flush=True)
    time.sleep(60)
(port,) = [word[7:] for word in sys.argv if word.startswith("--port=")]
os.execv(sys.executable, [sys.executable, {str(WEDGED)!r}, port])
"""


class Machine:
    """A home with a models.json and a stand-in for vLLM."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "h"
        checkpoint = directory / "checkpoint"
        checkpoint.mkdir()
        (checkpoint / "config.json").touch()
        row = {"engine": "vllm", "model_path": str(checkpoint), "max_batch_size": 4}
        models = {"models": {"first": row, "second": row}}
        (directory / "models.json").write_text(json.dumps(models))
        program = directory / "vllm" / "bin" / "vllm"
        program.parent.mkdir(parents=True)
        program.write_text(VLLM)
        program.chmod(0o755)
        self.ports = free_ports(2)
        self.env = {
            **os.environ,
            "ENGINIX_HOME": str(self.home),
            "ENGINIX_RUNTIME_VLLM": str(program.parent.parent),
        }

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "enginix", *arguments],
            env=self.env,
            cwd=self.directory,
            stdout=PIPE,
            stderr=STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> str:
        process = self.begin(*arguments)
        output, _ = process.communicate(timeout=120)
        return f"{output}status {process.returncode}"

    def start(self, model: str, place: int = 0) -> str:
        return self.run("start", "--engine=vllm", f"--model={model}", f"--port={self.ports[place]}")

    def pids(self) -> set[int]:
        """All processes that were started."""
        roots = [
            json.loads(path.read_text())["pid"] for path in (self.home / "started").glob("*.json")
        ]
        return {pid for root in roots for pid in (root, *descendants(root))}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.run("stop")


def answers(port: int) -> bool:
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=20)
    return answer.status_code == 200


def gone(pids: set[int]) -> bool:
    return all(birth_of(pid) is None for pid in pids)


def test_a_started_model_serves_until_it_is_stopped(machine: Machine) -> None:
    output = machine.start("first")
    assert f"first is served at http://127.0.0.1:{machine.ports[0]}/v1" in output
    assert output.endswith("status 0")
    assert answers(machine.ports[0])
    pids = machine.pids()
    assert len(pids) >= 3
    assert "first is stopped" in machine.run("stop")
    assert gone(pids)
    assert machine.run("stop") == "nothing that `enginix start` started is running\nstatus 0"


def test_two_models_run_side_by_side_and_each_can_be_stopped(machine: Machine) -> None:
    assert machine.start("first").endswith("status 0")
    assert machine.start("second", 1).endswith("status 0")
    for place, model in enumerate(("first", "second")):
        status = machine.run("status", f"--url=http://127.0.0.1:{machine.ports[place]}")
        assert f"{model}  vllm" in status
    refused = machine.run("unload", "first")
    assert f"models-first at http://127.0.0.1:{machine.ports[0]}, models-second at" in refused
    assert refused.endswith("status 2")
    assert "vllm-second | " in machine.run("logs", "second", "-n", "3")
    running = machine.run("ps").splitlines()
    assert [line.split()[:3] for line in running[1:3]] == [
        ["first", "vllm", "loaded"],
        ["second", "vllm", "loaded"],
    ]
    assert f"models-first: http://127.0.0.1:{machine.ports[0]}" in running
    assert "`enginix stop first` ends it" in machine.start("first", 1)
    assert "second is stopped" in machine.run("stop", "second")
    assert answers(machine.ports[0])
    output = machine.run("stop", "second")
    assert "has ended; running: first" in output
    assert output.endswith("status 2")


def test_a_model_that_cannot_be_served_prints_the_reason_and_leaves_nothing(
    machine: Machine,
) -> None:
    machine.env["FAKE_FAILS"] = "1"
    output = machine.start("first")
    assert "no kernel image is available" in output
    assert "first does not serve: `enginix up` exited with status 1" in output
    assert output.endswith("status 1")
    assert machine.pids() == set()


def test_ctrl_c_during_loading_leaves_nothing(machine: Machine) -> None:
    machine.env["FAKE_LOADS"] = "1"
    process = machine.begin("start", "--engine=vllm", "--model=first", f"--port={machine.ports[0]}")
    logs = machine.home / "logs" / "models-first"
    wait_until(lambda: any("loading" in log.read_text() for log in logs.glob("*/vllm-first.log")))
    # Its gateway does not answer yet: the supervisor says what is known.
    assert machine.run("ps").splitlines()[1].split()[:3] == ["first", "vllm", "loading"]
    pids = machine.pids()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert gone(pids)
    assert machine.pids() == set()


def test_a_killed_process_is_not_reported_as_running(machine: Machine) -> None:
    machine.start("first")
    pids = machine.pids()
    (record,) = (machine.home / "started").glob("*.json")
    os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: gone(pids))
    assert machine.run("stop").startswith("nothing that `enginix start` started is running")
    assert machine.start("first").endswith("status 0")


def test_a_process_in_another_pid_namespace_is_reported_as_running(machine: Machine) -> None:
    machine.start("first")
    (record,) = (machine.home / "started").glob("*.json")
    there = json.loads(record.read_text())
    # In another PID namespace this id belongs to no process, or to another one.
    record.write_text(json.dumps({**there, "pid": os.getpid()}))
    status, output = machine.run("status"), machine.run("stop")
    record.write_text(json.dumps(there))
    assert "first  vllm" in status
    assert "runs where this command does not see its processes" in output
    assert output.endswith("status 1")
    assert answers(machine.ports[0])


def test_a_running_profile_keeps_its_files_from_a_second_one(machine: Machine) -> None:
    machine.start("first")
    (directory,) = (path for path in (machine.home / "run").iterdir() if path.is_dir())
    before = sorted(directory.iterdir())
    lock = hold(directory.with_name(f"{directory.name}.lock"))
    assert lock is None
    refused = pytest.raises(ProcessError, match="another `enginix up` works in")
    with refused, written_files(directory, [], GatewayEntry()):
        pass
    assert sorted(directory.iterdir()) == before
    machine.run("stop")
    assert list((machine.home / "run").iterdir()) == []


def environment_of(port: int) -> dict[str, str]:
    """The environment of the process that listens on a port."""
    holder = port_holder(port) or ""
    variables = Path(f"/proc/{holder.split()[-1].rstrip(')')}/environ").read_text().split("\0")
    return dict(word.split("=", 1) for word in variables if word)


def test_servers_are_given_no_secrets_and_the_gateway_its_own(machine: Machine) -> None:
    machine.env |= {"HF_TOKEN": "hf_x", "OPENAI_API_KEY": "sk-x", "ENGINIX_API_KEYS": "key"}
    machine.env |= {"MY_TOKEN": "named", "NCCL_DEBUG": "INFO", "HTTPS_PROXY": "http://127.0.0.1:1"}
    http, port = free_ports(1)[0], machine.ports[0]
    process = machine.begin(
        *("up", "--models=models.json", "--model=first", f"--port={port}", f"--http-port={http}"),
        '--set=first.secrets=["MY_TOKEN"]',
    )
    try:
        wait_until(lambda: port_holder(port) is not None)
        server, gateway = environment_of(http), environment_of(port)
    finally:
        process.terminate()
        process.communicate(timeout=60)
    secrets = {"HF_TOKEN", "OPENAI_API_KEY", "ENGINIX_API_KEYS", "MY_TOKEN"}
    assert secrets & server.keys() == {"MY_TOKEN"}
    assert secrets & gateway.keys() == {"ENGINIX_API_KEYS"}
    for variables in (server, gateway):
        assert variables["NCCL_DEBUG"] == "INFO"
        assert variables["HTTPS_PROXY"] == "http://127.0.0.1:1"
        assert variables["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--engine=triton", "--model=first"), "has first for vllm, not for triton"),
        (("--engine=tgi", "--model=first"), "--engine: expected one of triton, tensorrt-llm"),
        (("--engine=vllm", "--model=third"), "has no model 'third'; it has first, second"),
        (("--engine=vllm", "--model=first", "--models=x.json"), "x.json cannot be read: No such"),
    ],
)
def test_a_wrong_command_line_starts_nothing(
    machine: Machine, arguments: tuple[str, ...], complaint: str
) -> None:
    output = machine.run("start", *arguments)
    assert complaint in output
    assert output.endswith("status 2")
    assert machine.pids() == set()


def test_without_a_models_file_an_unknown_model_is_told_where_one_was_expected(
    machine: Machine,
) -> None:
    (machine.directory / "models.json").unlink()
    output = machine.run("start", "--engine=vllm", "--model=coder")
    assert f"there is no models.json in {machine.directory}, and no model named 'coder'" in output
    assert "name a file of models with --models" in output
    assert output.endswith("status 2")


def test_a_model_is_served_by_the_environment_that_is_named(machine: Machine) -> None:
    words = ("--engine=cuda-vllm", "--model=first", "--env=vllm-old")
    output = machine.run("start", *words, f"--port={machine.ports[0]}")
    assert "no environment named 'vllm-old' is set up here" in output
    assert output.endswith("status 1")


def test_of_two_simultaneous_starts_one_wins(machine: Machine) -> None:
    arguments = ("start", "--engine=vllm", f"--port={machine.ports[0]}")
    both = [machine.begin(*arguments, "--model=first") for _ in range(2)]
    output = [process.communicate(timeout=120)[0] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], output
    assert answers(machine.ports[0])
    taken = machine.run(*arguments, "--model=second")
    assert "is taken by first, which `enginix start` started" in taken


def test_a_port_in_use_is_reported_before_anything_starts(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", machine.ports[0])):
        assert f"port {machine.ports[0]} is taken by" in machine.start("first")


def wait_until(true: object, seconds: float = 30.0) -> None:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
