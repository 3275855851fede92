"""What a model generates, as a stream: the vocabulary between chat formats and API dialects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from enginix.chat.arguments import is_whole


@dataclass(frozen=True, slots=True)
class Reasoning:
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """Sent once per call, before its arguments; `id` and `name` are never empty."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """A chunk of the call's arguments. All chunks of one `index` join to a JSON object, or to an
    unclosed one if the model stopped or was cut off."""

    index: int
    fragment: str


@dataclass(frozen=True, slots=True)
class Plain:
    """Text without `triggers` becomes one event of `kind`, and leads to nothing else."""

    kind: type[Answer] | type[Reasoning]
    triggers: frozenset[str]

    def passes(self, text: str) -> bool:
        # White space after a thought may be before the tag that ends it.
        held = self.kind is Reasoning and text[-1].isspace()
        return not held and self.triggers.isdisjoint(text)


Event = Reasoning | Answer | ToolCallStart | ToolCallArguments


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str

    @property
    def whole(self) -> bool:
        return is_whole(self.arguments)


@dataclass(frozen=True, slots=True)
class Message:
    content: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]


def collect(events: Iterable[Event]) -> Message:
    """The complete message that the events form, as a non-streaming reply returns it."""
    content: list[str] = []
    reasoning: list[str] = []
    starts: dict[int, ToolCallStart] = {}
    arguments: dict[int, list[str]] = {}
    for event in events:
        match event:
            case Answer(text):
                content.append(text)
            case Reasoning(text):
                reasoning.append(text)
            case ToolCallStart(index):
                starts[index], arguments[index] = event, []
            case ToolCallArguments(index, fragment):
                arguments[index].append(fragment)
    calls = (
        ToolCall(start.id, start.name, "".join(arguments[index]))
        for index, start in sorted(starts.items())
    )
    return Message("".join(content), "".join(reasoning), tuple(calls))
