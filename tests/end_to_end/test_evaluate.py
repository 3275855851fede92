"""An engine evaluated in its runtime, and behind Triton and a gateway, gives the same answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from enginix.cli.main import main
from tests.end_to_end.gateway_process import RunningGateway

pytestmark = pytest.mark.triton


def test_a_gateway_agrees_with_the_engine_that_it_serves(
    gateway: RunningGateway,
    demo_engine: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    baseline = tmp_path / "engine.json"
    # Its manifest will record the result.
    engine = shutil.copytree(demo_engine, tmp_path / "demo")
    assert main(["evaluate", str(engine), "--json"]) == 0
    baseline.write_text(capsys.readouterr().out)

    words = ["evaluate", gateway.url, f"--baseline={baseline}", "--min-agreement=100", "--json"]
    assert main(words) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["comparison"]["agreement"] == 1
    assert [one["equal"] for one in found["comparison"]["answers"]] == [
        len(one["ids"]) for one in found["answers"]
    ]
    of_engine = json.loads(baseline.read_text())["accuracy"]["perplexity"]
    assert found["accuracy"] is not None, found["reason"]
    assert found["accuracy"]["perplexity"] == pytest.approx(of_engine, rel=1e-3)
