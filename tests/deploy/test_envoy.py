"""Envoy's configuration: what the command refuses, and what Envoy accepts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from enginix.cli.main import main
from tests.deploy.real_envoy import ENVOY, needs_envoy


@needs_envoy
@pytest.mark.parametrize(
    "gateways", [["demo"], ["10.0.0.1:9000", "[fd00::2]:9000"], ["node-a:9000,node-b:9000"]]
)
def test_envoy_accepts_the_configuration(gateways: list[str], tmp_path: Path) -> None:
    out = tmp_path / "envoy.yaml"
    assert main(["envoy", "render", *gateways, f"--out={out}"]) == 0
    assert ENVOY is not None
    command = [ENVOY, "--mode", "validate", "-c", str(out)]
    validated = subprocess.run(command, capture_output=True, text=True)
    assert validated.returncode == 0, validated.stderr


def test_a_profile_names_its_gateway_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envoy", "render", "demo", "10.0.0.2:9000"]) == 0
    (cluster,) = yaml.safe_load(capsys.readouterr().out)["static_resources"]["clusters"]
    (group,) = cluster["load_assignment"]["endpoints"]
    addresses = [each["endpoint"]["address"]["socket_address"] for each in group["lb_endpoints"]]
    assert addresses == [
        {"address": "127.0.0.1", "port_value": 9000},
        {"address": "10.0.0.2", "port_value": 9000},
    ]
    assert cluster["type"] == "STATIC"


def test_host_names_are_resolved_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    main(["envoy", "render", "node-a:9000", "10.0.0.2:9000"])
    (cluster,) = yaml.safe_load(capsys.readouterr().out)["static_resources"]["clusters"]
    assert cluster["type"] == "STRICT_DNS"


def test_all_threads_of_envoy_learn_at_once_which_gateways_are_ready(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # By default they learn it up to a second after the main thread: in a rolling restart they then
    # know only the gateway that has just been stopped.
    main(["envoy", "render", "demo"])
    (cluster,) = yaml.safe_load(capsys.readouterr().out)["static_resources"]["clusters"]
    assert cluster["common_lb_config"]["update_merge_window"] == "0s"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dmeo"], "'dmeo' is neither an address nor a profile; expected HOST:PORT of a gateway"),
        (["node-a:gateway"], "'node-a:gateway' is not an address of a gateway; expected host:port"),
        (["https://node-a:9000"], "'https://node-a:9000' is not an address of a gateway"),
        (["demo", "127.0.0.1:9000"], "127.0.0.1:9000: the gateway at port 9000 is named twice"),
        (["demo", "--port=9000"], "port 9000 is a gateway's on this machine; give Envoy another"),
        (["a:1", "--port=9901"], "--port and --admin-port are both 9901; expected two ports"),
        (["a:1", "--port=0"], "--port is 0; expected a number from 1 to 65535"),
        (["a:1", "--out=/nowhere/envoy.yaml"], "--out /nowhere/envoy.yaml cannot be written"),
    ],
)
def test_what_cannot_work_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["envoy", "render", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert not captured.out
