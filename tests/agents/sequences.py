"""The recorded requests of real agents, the model's reply to each, and the expected outcome."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes.scripted_triton import Rule

from tests.agents.spoken import call_text, thinks

RECORDINGS = Path(__file__).parent.parent / "recordings" / "agents"
LIST, WEATHER, EDIT = "list the files", "weather in Paris", "change the greeting"
ANSWERS = {LIST: "The project has one file, README.", WEATHER: "It has 10 degrees in Paris."}
EDITED = "README\n```\n<<<<<<< SEARCH\nhello\n=======\ngoodbye\n>>>>>>> REPLACE\n```\n"


@dataclass(frozen=True)
class Sequence:
    """One agent's session: a question, the call in reply, and the answer after the result."""

    recording: str
    question: str
    tool: str
    """The model's name for it."""
    arguments: dict[str, Any]
    called: str = ""
    """The client's name for it, if different."""
    namespace: str | None = None
    answer: str = ""

    def script(self, format: str) -> list[Rule]:
        """The model's reply: a call until there is a result, then the answer."""
        call = thinks(format) + call_text(format, self.tool, self.arguments)
        known = {"prompt": self.question, "tools": f'"{self.tool}"'}
        return [
            {**known, "results": 0, "say": call},
            {**known, "results": 1, "say": thinks(format) + self.last_words},
            {"prompt": "title", "say": "A title"},
        ]

    @property
    def last_words(self) -> str:
        return self.answer or ANSWERS[self.question]

    def requests(self) -> list[dict[str, Any]]:
        """Path, headers and body of each; CALL_ID stands for the id that the call had."""
        file = RECORDINGS / f"{self.recording}.json"
        found = json.loads(file.read_text(encoding="utf-8"))["requests"]
        assert isinstance(found, list)
        return found


SEQUENCES = (
    Sequence("claude-code", LIST, "Bash", {"command": "ls", "description": "List files"}),
    Sequence("codex", LIST, "exec_command", {"cmd": "ls"}),
    Sequence(
        "codex-mcp",
        WEATHER,
        "mcp__weather__get_weather",
        {"city": "Paris"},
        called="get_weather",
        namespace="mcp__weather",
    ),
    Sequence("codex-schema", LIST, "exec_command", {"cmd": "ls"}, answer='{"files": ["README"]}'),
    Sequence("opencode", LIST, "bash", {"command": "ls", "description": "List files"}),
    Sequence("open-webui", WEATHER, "get_weather", {"city": "Paris"}),
)
