"""Tool calls as `<function=name><parameter=key>value</parameter></function>`, usually inside
`<tool_call>` (Qwen3-Coder, Nemotron 3).

Values carry no types, so the request's definitions decide what is a string; strings stream,
everything else waits for its end. A call is complete once its function's tag or the outer one is
closed; until then its arguments stay unclosed.
"""

from __future__ import annotations

from enum import Enum, auto

from enginix.chat.blocks import Opening, partial_marker
from enginix.chat.events import Answer, Event, ToolCallArguments
from enginix.chat.tools.calls import Calls, ToolFormat
from enginix.chat.tools.xml_arguments import XmlArguments, schema_types

OPEN = "<tool_call>"
CLOSE = "</tool_call>"
FUNCTION = "<function="
END_FUNCTION = "</function>"
PARAMETER = "<parameter="
END_PARAMETER = "</parameter>"

# What may end a value -> how much of it belongs to the end, and the tags of which one must follow.
# Values are not escaped, and often are code that mentions tags. Models forget the right end tag;
# the others count only on a line of their own.
_AFTER_PARAMETER = (PARAMETER, END_FUNCTION, CLOSE)
MAX_NAME = 256
_AFTER_FUNCTION = (CLOSE, FUNCTION, OPEN)
_VALUE_ENDS: dict[str, tuple[int, tuple[str, ...]]] = {
    f"\n{END_PARAMETER}": (len(END_PARAMETER) + 1, _AFTER_PARAMETER),
    END_PARAMETER: (len(END_PARAMETER), _AFTER_PARAMETER),
    # A parameter name must follow.
    f"\n{PARAMETER}": (1, ()),
    f"\n{END_FUNCTION}": (1, _AFTER_FUNCTION),
}


def openings(calls: Calls) -> tuple[Opening, ...]:
    return (
        Opening(OPEN, lambda: XmlCalls(calls, OPEN)),
        # Models sometimes omit the outer tag.
        Opening(FUNCTION, lambda: XmlCalls(calls, FUNCTION)),
    )


QWEN3_XML = ToolFormat((OPEN, CLOSE), openings)


class _Expect(Enum):
    FUNCTION = auto()
    NAME = auto()
    PARAMETER = auto()
    KEY = auto()
    VALUE = auto()


class XmlCalls:
    """The calls in one `<tool_call>`, or calls without it."""

    __slots__ = ("_arguments", "_calls", "_count", "_expect", "_held", "_index", "_name", "_raw",
                 "done", "rest")  # fmt: skip

    def __init__(self, calls: Calls, opening: str) -> None:
        self.done = False
        self.rest = ""
        self._calls = calls
        self._expect = _Expect.NAME if opening == FUNCTION else _Expect.FUNCTION
        # Text that may still be no call: a call starts with its first argument or its end.
        self._raw = opening
        self._held = ""
        self._count = 0
        self._name = ""
        self._index: int | None = None
        self._arguments = XmlArguments()

    def feed(self, text: str) -> list[Event]:
        text = self._held + text
        events: list[Event] = []
        at: int | None = 0
        while at is not None and not self.done:
            self._held = text[at:]
            end = self._read(text, at, events)
            if self._index is None and not self.done:
                read = text[at : len(text) - len(self._held) if end is None else end]
                # White space between two calls belongs to neither.
                self._raw += read if self._raw else read.lstrip()
            at = end
        return events

    def finish(self) -> list[Event]:
        started = self._index is not None or (self._expect is _Expect.FUNCTION and self._count)
        return [] if started else self._as_text(self._held)

    def _read(self, text: str, at: int, events: list[Event]) -> int | None:
        """The position after the parsed text, or None if more text is needed."""
        match self._expect:
            case _Expect.FUNCTION:
                return self._read_function(text, at, events)
            case _Expect.PARAMETER:
                return self._read_parameter(text, at, events)
            case _Expect.VALUE:
                return self._read_value(text, at, events)
            case _:
                return self._read_name(text, at, events)

    def _read_function(self, text: str, at: int, events: list[Event]) -> int | None:
        tags = (FUNCTION, CLOSE, OPEN) if self._count else (FUNCTION,)
        tag, end = _next_tag(text, at, tags)
        if tag is None:
            return None
        if tag == FUNCTION:
            self._expect = _Expect.NAME
            self._raw = "" if self._count else self._raw
        elif tag == CLOSE:
            self._end(text, end)
        elif not tag:
            events += [] if self._count else self._as_text(text[at:end])
            self._end(text, end)
        return end

    def _read_name(self, text: str, at: int, events: list[Event]) -> int | None:
        end = text.find(">", at)
        name = text[at : end if end >= 0 else len(text)]
        if "<" in name or "\n" in name or (end >= 0 and not name.strip()):
            return self._give_up(text, at, events)
        if end < 0:
            return None
        if self._expect is _Expect.NAME:
            self._name, self._arguments = name.strip(), XmlArguments()
            self._expect = _Expect.PARAMETER
        else:
            key = name.strip()
            schema = self._calls.properties(self._name).get(key)
            types = schema_types(schema, self._calls.parameters(self._name))
            self._arguments.begin(key, types)
            self._expect = _Expect.VALUE
        return end + 1

    def _read_parameter(self, text: str, at: int, events: list[Event]) -> int | None:
        tag, end = _next_tag(text, at, (PARAMETER, END_FUNCTION, CLOSE))
        if tag is None:
            return None
        if tag == PARAMETER:
            self._expect = _Expect.KEY
            return end
        if not tag:
            return self._give_up(text, at if self._index is None else end, events)
        self._pass_on(self._arguments.close(), events)
        self._index, self._raw, self._expect = None, "", _Expect.FUNCTION
        self._count += 1
        if tag == CLOSE:
            self._end(text, end)
        return end

    def _read_value(self, text: str, at: int, events: list[Event]) -> int | None:
        if "<" not in text and "\n" not in text:
            self._pass_on(self._arguments.feed(text[at:]), events)
            self._held = ""
            return None
        # Where the search continues; the text before was searched.
        search = at
        while found := _first_end(text, search):
            position, end = found
            ends = self._ends(text, position, end)
            if ends:
                self._pass_on(self._arguments.feed(text[at:position]), events)
                self._pass_on(self._arguments.end(), events)
                self._expect = _Expect.PARAMETER
                return position + _VALUE_ENDS[end][0]
            if ends is None:
                break
            search = position + len(end)
        if not found:
            position = len(text) - max(partial_marker(text[search:], end) for end in _VALUE_ENDS)
        self._pass_on(self._arguments.feed(text[at:position]), events)
        self._held = text[position:]
        return None

    def _ends(self, text: str, position: int, end: str) -> bool | None:
        """Whether this is the value's end; None if more text is needed to decide."""
        after = position + len(end)
        if followers := _VALUE_ENDS[end][1]:
            tag, _ = _next_tag(text, after, followers)
            return None if tag is None else bool(tag)
        key, closed, _ = text[after:].partition(">")
        if "<" in key or "\n" in key or len(key) > MAX_NAME:
            return False
        if not closed:
            return None
        known = self._calls.properties(self._name)
        return key.strip() in known if known else bool(key.strip())

    def _give_up(self, text: str, at: int, events: list[Event]) -> int:
        if self._index is None:
            events += self._as_text("")
        elif self._expect is _Expect.KEY:
            text, at = PARAMETER + text[at:], 0
        self._end(text, at)
        return at

    def _pass_on(self, chunk: str, events: list[Event]) -> None:
        if not chunk:
            return
        if self._index is None:
            start = self._calls.start(self._name)
            self._index, self._raw = start.index, ""
            events.append(start)
        events.append(ToolCallArguments(self._index, chunk))

    def _as_text(self, more: str) -> list[Event]:
        return [Answer(self._raw + more)]

    def _end(self, text: str, at: int) -> None:
        self.done, self.rest = True, text[at:]


def _first_end(text: str, at: int) -> tuple[int, str] | None:
    found = [
        (position, -len(end), end) for end in _VALUE_ENDS if (position := text.find(end, at)) >= 0
    ]
    if not found:
        return None
    position, _, end = min(found)
    return position, end


def _next_tag(text: str, at: int, tags: tuple[str, ...]) -> tuple[str | None, int]:
    """The tag after white space and where it ends: "" for other text, None when undecided."""
    at = len(text) - len(text[at:].lstrip())
    for tag in tags:
        if text.startswith(tag, at):
            return tag, at + len(tag)
        if tag.startswith(text[at:]):
            return None, at
    return "", at
