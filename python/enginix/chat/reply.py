"""Turns the text of a reply into events: reasoning, answer and tool calls in one parser.

Formats are blocks between markers (`chat/blocks.py`); text outside all blocks is the answer.
Any chunking of the same text gives the same message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from enginix.chat.blocks import Block, Opening, ReasoningFormat, partial_marker
from enginix.chat.events import Answer, Event, Plain, Reasoning
from enginix.chat.reasoning.think_brackets import THINK_BRACKETS
from enginix.chat.reasoning.think_tags import THINK_TAGS, ThinkTags
from enginix.chat.thought_calls import ThoughtCalls
from enginix.chat.tools.calls import Calls, ToolFormat
from enginix.chat.tools.hermes_json import HERMES_JSON
from enginix.chat.tools.llama3_json import LLAMA3_JSON
from enginix.chat.tools.mistral import MISTRAL
from enginix.chat.tools.nemotron_json import NEMOTRON_JSON
from enginix.chat.tools.qwen3_xml import QWEN3_XML
from enginix.errors import EngineMismatch

Format = TypeVar("Format")

REASONING = {"think-brackets": THINK_BRACKETS, "think-tags": THINK_TAGS}
TOOLS = {
    "hermes-json": HERMES_JSON,
    "llama3-json": LLAMA3_JSON,
    "mistral": MISTRAL,
    "nemotron-json": NEMOTRON_JSON,
    "qwen3-xml": QWEN3_XML,
}
PARSERS: dict[str, ReasoningFormat | ToolFormat] = {**REASONING, **TOOLS}
# What the tokenizer must keep in the text for any format.
ALL_MARKERS = frozenset(marker for parser in PARSERS.values() for marker in parser.markers)


def reply_parser(
    reasoning: str | None,
    tools: str | None,
    *,
    starts_inside: bool = False,
    tools_wanted: bool = False,
    definitions: Sequence[Mapping[str, Any]] = (),
    new_id: Callable[[], str] | None = None,
) -> ReplyParser:
    """The parser for one reply.

    `starts_inside`: the prompt ended inside the reasoning. `definitions`: the request's `tools`,
    for formats that need types. `new_id`: generates call ids, by default in the format's own style.
    """
    openings: list[Opening] = []
    block: Block | None = None
    thoughts: ThoughtCalls | None = None
    if reasoning:
        opening = _known(reasoning, REASONING).opening
        openings.append(opening)
        block = opening.begin() if starts_inside else None
    if tools and tools_wanted:
        format = _known(tools, TOOLS)
        calls = Calls(new_id or format.new_id, definitions)
        openings += format.openings(calls)
        if calls.names:
            thoughts = _thought_calls(format, calls, definitions)
    return ReplyParser(openings, block, thoughts)


def _thought_calls(
    format: ToolFormat, calls: Calls, definitions: Sequence[Mapping[str, Any]]
) -> ThoughtCalls:
    def new_parser() -> ReplyParser:
        return ReplyParser(format.openings(Calls(definitions=definitions)))

    markers = [opening.marker for opening in format.openings(calls)]
    return ThoughtCalls(markers, new_parser, calls)


@cache
def markers(reasoning: str | None, tools: str | None) -> frozenset[str]:
    """The markers of these formats; the tokenizer must not drop them as special tokens."""
    names = [name for name in (reasoning, tools) if name]
    return frozenset(marker for name in names for marker in _known(name, PARSERS).markers)


@cache
def plain_answer(triggers: tuple[str, ...]) -> Plain:
    """One for all replies of a format."""
    return Plain(Answer, frozenset(triggers))


def _known(name: str, formats: Mapping[str, Format]) -> Format:
    if name not in formats:
        raise EngineMismatch(
            f"the engine has the chat format {name!r}, this enginix knows "
            f"{', '.join(sorted(formats))}; correct `chat` in its catalogue entry"
        )
    return formats[name]


class ReplyParser:
    """Parses one reply: `feed` its text as it arrives, then `finish` once."""

    __slots__ = ("_block", "_fresh", "_in_answer", "_openings", "_plain_answer", "_thoughts",
                 "_trims", "held", "marker")  # fmt: skip

    def __init__(
        self,
        openings: Sequence[Opening],
        block: Block | None = None,
        thoughts: ThoughtCalls | None = None,
    ) -> None:
        self._openings = openings
        self._plain_answer = plain_answer(tuple(opening.marker[0] for opening in openings))
        self._block = block
        self._thoughts = thoughts
        self.held = ""
        """Text that may become a marker, or white space that may belong to one."""
        self.marker: str | None = None
        """The marker that opened the current block."""
        # Only white space since the start or since the last block.
        self._fresh = True
        # Line breaks after a block belong to the block.
        self._trims = False
        # Inside the answer with nothing held: most chunks pass straight through.
        self._in_answer = not openings

    @property
    def plain(self) -> Plain | None:
        """What passes as it is now, and changes nothing; None if the next text may be held."""
        thoughts = self._thoughts
        if thoughts is not None and thoughts.holds:
            return None
        if isinstance(self._block, ThinkTags):
            within = self._block.triggers
            more = thoughts.triggers if thoughts is not None else frozenset()
            return None if within is None else Plain(Reasoning, within | more)
        return self._plain_answer if self._in_answer and self._block is None else None

    def feed(self, text: str) -> list[Event]:
        events = self._feed(text)
        return events if self._thoughts is None else self._thoughts.read(events)

    def pass_through(self, events: list[Event]) -> list[Event]:
        """Like `feed`, for events that another server has already parsed from the reply."""
        return events if self._thoughts is None else self._thoughts.read(events)

    def finish(self, *, cut: bool = False) -> list[Event]:
        """Release text that was held back as a possible marker: it is ordinary text.

        `cut`: a limit ended the reply, not the model."""
        events = self._finish()
        if self._thoughts is None:
            return events
        return self._thoughts.read(events) + self._thoughts.finish(cut=cut)

    def _feed(self, text: str) -> list[Event]:
        if self._block is not None:
            events_of_block = self._block.feed(text)
            return (
                events_of_block + self._read(self._end_block(events_of_block))
                if self._block.done
                else events_of_block
            )
        if self._in_answer:
            for trigger in self._plain_answer.triggers:
                if trigger in text:
                    break
            else:
                return [Answer(text)] if text else []
        return self._read(text)

    def _finish(self) -> list[Event]:
        if self._block:
            return self._block.finish()
        held, self.held = self.held, ""
        return [] if self._trims and self._fresh and held.isspace() else self._answer(held)

    def _read(self, text: str) -> list[Event]:
        events: list[Event] = []
        while text:
            if self._block is None:
                text = self._read_answer(text, events)
                continue
            events_of_block = self._block.feed(text)
            events += events_of_block
            text = self._end_block(events_of_block) if self._block.done else ""
        self._in_answer = not (self._block or self.held or self._fresh)
        return events

    def _end_block(self, events_of_block: list[Event]) -> str:
        assert self._block is not None
        rest = self._block.rest
        self._block = self.marker = None
        # A block that turned out to be no block ends as answer text.
        self._fresh = self._trims = not (
            events_of_block and isinstance(events_of_block[-1], Answer)
        )
        return rest

    def _read_answer(self, text: str, events: list[Event]) -> str:
        text, self.held = self.held + text, ""
        opening, at = self._find_opening(text)
        if opening:
            if not (self._fresh and text[:at].isspace()):
                events += self._answer(text[:at])
            self._block, self.marker = opening.begin(), opening.marker
            return text[at + len(opening.marker) :]
        cut = len(text) - self._may_open(text)
        if self._fresh and not text[:cut].strip():
            cut = 0
        self.held = text[cut:]
        events += self._answer(text[:cut])
        return ""

    def _find_opening(self, text: str) -> tuple[Opening | None, int]:
        found, first = None, len(text)
        start = len(text) - len(text.lstrip()) if self._fresh else -1
        for opening in self._openings:
            at = text.find(opening.marker, 0, first + len(opening.marker))
            if 0 <= at < first and (not opening.only_first or at == start):
                found, first = opening, at
        return found, first

    def _may_open(self, text: str) -> int:
        start = text.lstrip() if self._fresh else None
        longest = 0
        for opening in self._openings:
            length = partial_marker(text, opening.marker)
            if not opening.only_first or (start and opening.marker.startswith(start)):
                longest = max(longest, length)
        return longest

    def _answer(self, text: str) -> list[Event]:
        if self._fresh and self._trims:
            space = text[: len(text) - len(text.lstrip())]
            text = text[space.rfind("\n") + 1 :]
        if text:
            self._fresh = False
        return [Answer(text)] if text else []
