"""The real agents: starts each in its own directory, and parses its output."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 120.0
# Whatever does not go to loopback goes to a port where nothing listens.
NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Step:
    """One line of a transcript."""

    kind: str
    """call, result, answer or failure."""
    text: str


@dataclass(frozen=True)
class Place:
    """An agent's working directory and server."""

    agents: Path
    home: Path
    project: Path
    url: str
    model: str


@dataclass(frozen=True)
class Agent:
    name: str
    tool: str
    """The tool that runs commands, and the name of its argument."""
    argument: str
    command: Callable[[Place, str], list[str]]
    settings: Callable[[Place], dict[str, str]]
    read: Callable[[dict[str, Any]], Iterator[Step]]

    def run(self, place: Place, question: str, *flags: str) -> list[Step]:
        """Run it to its end; its output is JSON, one event per line."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(place.home),
            "LANG": "C.UTF-8",
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            "NO_PROXY": "127.0.0.1,localhost",
            **self.settings(place),
        }
        done = subprocess.run(
            [*self.command(place, question), *flags],
            cwd=place.project,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        steps = [step for line in lines for step in self.read(json.loads(line))]
        for step in steps:
            print(f"{self.name}: {step.kind}: {step.text.strip()[:200]!r}")
        assert steps, done.stdout[-2000:] + done.stderr[-2000:]
        return steps


def codex_command(place: Place, question: str) -> list[str]:
    return [
        *("node", str(place.agents / "node_modules/@openai/codex/bin/codex.js"), "exec"),
        *("--skip-git-repo-check", "--sandbox=danger-full-access", "--json", question),
    ]


def codex_settings(place: Place) -> dict[str, str]:
    (place.home / ".codex").mkdir(exist_ok=True)
    server = Path(__file__).parent / "mcp_server.py"
    (place.home / ".codex" / "config.toml").write_text(
        f"""
model = "{place.model}"
model_provider = "local"
check_for_update_on_startup = false
analytics.enabled = false
[model_providers.local]
name = "local"
base_url = "{place.url}/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
[mcp_servers.weather]
command = "{sys.executable}"
args = ["{server}"]
""",
        encoding="utf-8",
    )
    return {}


def codex_read(event: dict[str, Any]) -> Iterator[Step]:
    item = event.get("item", {})
    if event["type"] == "turn.failed":
        yield Step("failure", event["error"]["message"])
    if event["type"] != "item.completed":
        return
    if item["type"] == "command_execution":
        yield Step("call", item["command"])
        yield Step("result", item["aggregated_output"])
    elif item["type"] == "mcp_tool_call":
        yield Step("call", f"{item['server']}.{item['tool']} {json.dumps(item['arguments'])}")
        yield Step("result", text_of((item["result"] or {}).get("content") or str(item["error"])))
    elif item["type"] == "agent_message":
        yield Step("answer", item["text"])


def claude_command(place: Place, question: str) -> list[str]:
    wrapper = place.agents / "node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs"
    return [
        *("node", str(wrapper), "--print", question, "--allowedTools=Bash"),
        *("--output-format=stream-json", "--verbose"),
    ]


def claude_settings(place: Place) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": place.url,
        "ANTHROPIC_AUTH_TOKEN": "none",
        "ANTHROPIC_MODEL": place.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": place.model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
    }


def claude_read(event: dict[str, Any]) -> Iterator[Step]:
    if event["type"] == "result":
        yield Step("failure" if event["is_error"] else "answer", event.get("result", ""))
    if event["type"] not in ("assistant", "user"):
        return
    for block in event["message"]["content"]:
        if block["type"] == "tool_use":
            yield Step("call", f"{block['name']} {json.dumps(block['input'])}")
        elif block["type"] == "tool_result":
            kind = "failure" if block.get("is_error") else "result"
            yield Step(kind, text_of(block["content"]))


def opencode_command(place: Place, question: str) -> list[str]:
    machine = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    binary = place.agents / f"node_modules/opencode-linux-{machine}/bin/opencode"
    return [str(binary), "run", "--format=json", question]


def opencode_settings(place: Place) -> dict[str, str]:
    limit = {"context": 200_000, "output": 4000}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "local",
        "options": {"baseURL": f"{place.url}/v1", "apiKey": "none"},
        "models": {place.model: {"name": place.model, "limit": limit}},
    }
    settings = {
        "autoupdate": False,
        "share": "disabled",
        "model": f"local/{place.model}",
        "small_model": f"local/{place.model}",
        "provider": {"local": provider},
        "permission": {"bash": "allow"},
    }
    (place.home / ".config" / "opencode").mkdir(parents=True, exist_ok=True)
    file = place.home / ".config" / "opencode" / "opencode.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    return {
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    }


def opencode_read(event: dict[str, Any]) -> Iterator[Step]:
    part = event.get("part", {})
    if event["type"] == "tool_use":
        state = part["state"]
        yield Step("call", f"{part['tool']} {json.dumps(state['input'])}")
        ran = state["status"] == "completed" and part["tool"] != "invalid"
        yield Step("result" if ran else "failure", state.get("output") or str(state.get("error")))
    elif event["type"] == "text":
        yield Step("answer", part["text"])
    elif event["type"] == "error":
        yield Step("failure", json.dumps(event["error"]))


def text_of(content: Any) -> str:
    """A result's text, from a string or from parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


CODEX = Agent("codex", "exec_command", "cmd", codex_command, codex_settings, codex_read)
CLAUDE = Agent("claude-code", "Bash", "command", claude_command, claude_settings, claude_read)
OPENCODE = Agent("opencode", "bash", "command", opencode_command, opencode_settings, opencode_read)
