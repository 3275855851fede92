"""A call truncated anywhere is never completed: its arguments stay unclosed, or it is text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat.speech import RECORDINGS, heard
from hypothesis import given
from hypothesis import strategies as st

from enginix.chat.arguments import as_object, is_whole
from enginix.chat.events import Message, ToolCall

FIELDS = ("reasoning", "tools", "starts_inside", "definitions")
SLOPPY = {
    "hermes-json": '<tool_call>{"name": "f", "arguments": {"a": "\\d\n", "b": [1, 2,],}}',
    "llama3-json": '{"name": "f", "parameters": {"a": "x\t\\ud83d", "b": {"c": 12.5e3,}}}',
    "mistral": '[TOOL_CALLS]f[ARGS]{"a": "\\ud83d\\ude00\\q", "b": [true, null, -1]}',
    "nemotron-json": '<TOOLCALL>[{"arguments": {"a": 12}, "name": "f"}, {"name": "g"}]',
    "qwen3-xml": "<function=f>\n<parameter=a>\nx\n<parameter=n>\n12\n</function>\n</tool_call>",
}
STRING = {"type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}
DEFINITIONS = [{"type": "function", "function": {"name": "f", "parameters": STRING}}]


def recorded() -> list[tuple[str, dict[str, Any]]]:
    """Every transcript with calls and its format, and every malformed variant."""
    found = []
    for path in sorted((RECORDINGS / "transcripts").glob("*.json")):
        expected = json.loads(path.read_text(encoding="utf-8"))
        if expected["calls"]:
            text = Path(path.with_suffix(".txt")).read_text(encoding="utf-8")
            found.append((text, {name: expected[name] for name in FIELDS}))
    for tools, text in SLOPPY.items():
        how = {"reasoning": None, "tools": tools, "definitions": DEFINITIONS}
        found.append((text, how))
    return found


def holds(cut: ToolCall, whole: ToolCall) -> bool:
    if cut.arguments == whole.arguments:
        return cut.name == whole.name
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut.arguments)
    return cut.name == whole.name and whole.arguments.startswith(cut.arguments)


@pytest.mark.parametrize(("text", "how"), recorded())
def test_a_call_truncated_at_any_character_is_not_json(text: str, how: dict[str, Any]) -> None:
    uncut = heard(text, **how).tool_calls
    assert uncut
    for end in range(len(text)):
        calls = heard(text[:end], **how).tool_calls
        # All but the last are what they are without the cut.
        assert [call.arguments for call in calls[:-1]] == [
            call.arguments for call in uncut[: max(0, len(calls) - 1)]
        ]
        assert all(holds(cut, whole) for cut, whole in zip(calls, uncut, strict=False))
        assert len(calls) <= len(uncut)


@pytest.mark.parametrize(("text", "how"), recorded())
def test_a_truncated_call_is_the_same_with_and_without_streaming(
    text: str, how: dict[str, Any]
) -> None:
    for end in range(0, len(text), 3):
        message: Message = heard(text[:end], 1, **how)
        assert message == heard(text[:end], len(text), **how)


WRITE = {
    "hermes-json": "<tool_call>{call}</tool_call>",
    "llama3-json": "{call}",
    "mistral": "[TOOL_CALLS][{call}]",
    "nemotron-json": "<TOOLCALL>[{call}]</TOOLCALL>",
}
VALUES = st.lists(
    st.sampled_from(["</parameter>", "\n", "</function>", "<parameter=n>", "</tool_call>", "<", '"',
                     "<parameter=", "<function=f>", " ", "x", "\\", "{", "}", "é👋", "12"]),
    max_size=8,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("tools", SLOPPY)
@given(value=VALUES, number=st.integers(), cut=st.integers(0, 200), chunk=st.integers(1, 9))
def test_a_truncated_call_is_a_prefix_of_the_complete_one(
    tools: str, value: str, number: int, cut: int, chunk: int
) -> None:
    if tools == "qwen3-xml":
        text = f"<function=f>\n<parameter=n>\n{number}\n</parameter>\n"
        text += f"<parameter=a>\n{value}\n</parameter>\n</function>"
    else:
        text = json.dumps({"name": "f", "arguments": {"n": number, "a": value}})
        text = WRITE[tools].replace("{call}", text)
    how = {"reasoning": None, "tools": tools, "definitions": DEFINITIONS}
    whole, part = heard(text, **how).tool_calls, heard(text[:cut], chunk, **how).tool_calls
    assert len(part) <= len(whole)
    assert all(holds(*pair) for pair in zip(part, whole, strict=False))


@pytest.mark.parametrize(
    ("written", "mended"),
    [
        ("", "{}"),
        (" ", "{}"),
        ("null", "{}"),
        ('""', "{}"),
        ('{"a": 1}', '{"a": 1}'),
        ('"{\\"a\\": 1}"', '{"a": 1}'),
        ('["Paris"]', '{"": ["Paris"]}'),
        ('"Paris"', '{"": "Paris"}'),
        ("5", '{"": 5}'),
    ],
)
def test_complete_arguments_become_an_object(written: str, mended: str) -> None:
    assert as_object(written) == mended
    assert is_whole(mended)


@pytest.mark.parametrize("cut", ["{", '{"a": 1', '{"a": "x', "[1", '"Par', "tru"])
def test_arguments_without_an_end_stay_as_they_are(cut: str) -> None:
    assert as_object(cut) == cut
    assert not is_whole(cut)
