from __future__ import annotations

from enginix.chat.events import (
    Answer,
    Message,
    Reasoning,
    ToolCall,
    ToolCallArguments,
    ToolCallStart,
    collect,
)


def test_a_message_is_the_sum_of_its_events() -> None:
    events = [Reasoning("a"), Reasoning("b"), Answer("c"), Answer("d")]
    assert collect(events) == Message("cd", "ab", ())


def test_interleaved_calls_stay_separate() -> None:
    events = [
        ToolCallStart(0, "x", "f"),
        ToolCallStart(1, "y", "g"),
        ToolCallArguments(1, "{}"),
        ToolCallArguments(0, '{"a":'),
        ToolCallArguments(0, " 1}"),
    ]
    assert collect(events).tool_calls == (
        ToolCall("x", "f", '{"a": 1}'),
        ToolCall("y", "g", "{}"),
    )


def test_no_events_are_an_empty_message() -> None:
    assert collect([]) == Message("", "", ())
