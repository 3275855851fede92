"""The agents themselves, from npm and PyPI, against the scripted model: `make test-agents`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fakes.scripted_triton import FORMATS

from tests.agents.conftest import Scripted
from tests.agents.real import CLAUDE, CODEX, NOWHERE, OPENCODE, PATIENCE, Agent, Place, Step
from tests.agents.sequences import EDITED
from tests.agents.spoken import call_text, thinks

AGENTS = os.environ.get("ENGINIX_AGENTS", "")
pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(not AGENTS, reason="make test-agents installs and runs the real agents"),
]

every_agent = pytest.mark.parametrize("agent", [CODEX, CLAUDE, OPENCODE], ids=lambda one: one.name)
every_model = pytest.mark.parametrize("model", FORMATS)
SCHEMA = {
    "type": "object",
    "properties": {"files": {"type": "array", "items": {"type": "string"}}},
    "required": ["files"],
    "additionalProperties": False,
}


@pytest.fixture
def place(tmp_path: Path, scripted: Scripted) -> Place:
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    (project / "README").write_text("hello\n", encoding="utf-8")
    return Place(Path(AGENTS), home, project, scripted.gateway.url, "hermes")


def with_model(place: Place, model: str) -> Place:
    return Place(place.agents, place.home, place.project, place.url, model)


def arguments(agent: Agent, command: str) -> dict[str, Any]:
    """The arguments that the agent's own schema requires."""
    return {agent.argument: command, **({"description": "Work"} if agent is OPENCODE else {})}


def follow(scripted: Scripted, tool: str, call: str, answer: str, **call_rule: Any) -> None:
    known = {"prompt": "the task", "tools": f'"{tool}"'}
    scripted.triton.follow(
        [{**known, "results": 0, "say": call, **call_rule}, {"prompt": "the task", "say": answer}]
    )


def kinds(steps: list[Step]) -> list[str]:
    """Without repetitions: some print their last answer twice."""
    found = [step.kind for step in steps]
    return [kind for n, kind in enumerate(found) if n == 0 or found[n - 1] != kind]


@every_model
@every_agent
def test_one_call_one_result_one_answer(
    agent: Agent, model: str, place: Place, scripted: Scripted
) -> None:
    format = FORMATS[model]
    call = thinks(format) + call_text(format, agent.tool, arguments(agent, "cat README"))
    follow(scripted, agent.tool, call, thinks(format) + "It says hello.")
    steps = agent.run(with_model(place, model), "the task")
    assert kinds(steps) == ["call", "result", "answer"]
    assert "cat README" in steps[0].text
    assert steps[1].text.strip() == "hello"
    assert steps[-1].text.strip() == "It says hello."


@every_model
@every_agent
def test_a_call_that_the_limit_cut_is_never_run(
    agent: Agent, model: str, place: Place, scripted: Scripted
) -> None:
    whole = call_text(FORMATS[model], agent.tool, {agent.argument: "touch ran build/old"})
    cut = whole[: whole.index("ld/old")]
    follow(scripted, agent.tool, cut, "I give up.", end="length")
    steps = agent.run(with_model(place, model), "the task")
    assert "result" not in kinds(steps), steps
    assert [file.name for file in place.project.iterdir()] == ["README"]


@every_agent
def test_a_call_whose_model_gave_up_is_never_run(
    agent: Agent, place: Place, scripted: Scripted
) -> None:
    whole = call_text("hermes-json", agent.tool, {agent.argument: "touch ran build/old"})
    follow(scripted, agent.tool, whole[: whole.index("ld/old")], "I give up.")
    steps = agent.run(place, "the task")
    assert "result" not in kinds(steps), steps
    assert [file.name for file in place.project.iterdir()] == ["README"]


def test_codex_calls_an_mcp_servers_tool(place: Place, scripted: Scripted) -> None:
    tool = "mcp__weather__get_weather"
    call = thinks("hermes-json") + call_text("hermes-json", tool, {"city": "Paris"})
    follow(scripted, tool, call, "It has 10 degrees in Paris.")
    steps = CODEX.run(place, "the task")
    assert steps == [
        Step("call", 'weather.get_weather {"city": "Paris"}'),
        Step("result", "10 degrees in Paris"),
        Step("answer", "It has 10 degrees in Paris."),
    ]


def test_codex_calls_a_tool_and_answers_in_a_schema(place: Place, scripted: Scripted) -> None:
    schema, last = place.home / "schema.json", place.home / "last.txt"
    schema.write_text(json.dumps(SCHEMA), encoding="utf-8")
    call = thinks("hermes-json") + call_text("hermes-json", "exec_command", {"cmd": "ls"})
    follow(scripted, "exec_command", call, '{"files": ["README"]}')
    flags = (f"--output-schema={schema}", f"--output-last-message={last}")
    steps = CODEX.run(place, "the task", *flags)
    assert kinds(steps) == ["call", "result", "answer"]
    assert json.loads(last.read_text(encoding="utf-8")) == {"files": ["README"]}


def test_aider_edits_a_file(place: Place, scripted: Scripted) -> None:
    scripted.triton.follow([{"prompt": "the task", "say": thinks("hermes-json") + EDITED}])
    command = [
        *(str(place.agents / "aider" / "bin" / "aider"), "--model=openai/hermes", "--no-git"),
        *("--yes-always", "--no-show-model-warnings", "--no-analytics", "--no-check-update"),
        *("--no-gitignore", "--no-show-release-notes", "--no-detect-urls", "--no-pretty"),
        *("--edit-format=diff", "--map-tokens=0", "--message=the task", "README"),
    ]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(place.home),
        "LANG": "C.UTF-8",
        "HTTP_PROXY": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
        "NO_PROXY": "127.0.0.1,localhost",
        "OPENAI_API_BASE": f"{place.url}/v1",
        "OPENAI_API_KEY": "none",
        # LiteLLM would ask the web for prices.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    done = subprocess.run(
        command,
        cwd=place.project,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    print(f"aider: answer: {EDITED[:40]!r}...")
    print("aider: result:", next((x for x in done.stdout.splitlines() if "Applied" in x), "none"))
    assert "Applied edit to README" in done.stdout, done.stdout[-2000:]
    assert (place.project / "README").read_text(encoding="utf-8") == "goodbye\n"
