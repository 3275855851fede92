from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from chat import speech
from chat.speech import calls, every_chunk_size, function

from enginix.chat.events import Message, ToolCallArguments, ToolCallStart

DEFINITION = function(
    "f",
    text={"type": "string"},
    maybe={"type": ["string", "null"]},
    whole={"type": "integer"},
    real={"type": "number"},
    flag={"type": "boolean"},
    many={"type": "array"},
    any={"anyOf": [{"type": "integer"}, {"type": "object"}]},
    choice={"enum": ["1", "2"]},
    broken=5,
)
heard = partial(speech.heard, reasoning=None, tools="qwen3-xml", definitions=[DEFINITION])


def written(**values: str) -> str:
    parameters = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in values.items())
    return f"<tool_call>\n<function=f>\n{parameters}</function>\n</tool_call>"


@every_chunk_size
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("text", "Paris", "Paris"),
        ("text", "75001", "75001"),
        ("text", "true", "true"),
        ("text", "null", "null"),
        ("text", "", ""),
        ("text", "\n two\n\nlines \n", "\n two\n\nlines \n"),
        ("text", 'say "é\\n👋"', 'say "é\\n👋"'),
        ("text", "a < b </param> <parameter x", "a < b </param> <parameter x"),
        ("text", "ends with </parameter> here.", "ends with </parameter> here."),
        ("text", "</parameter>\nx\n</parameter> ", "</parameter>\nx\n</parameter> "),
        ("text", "a\n</function>\nb", "a\n</function>\nb"),
        ("text", "a\n<parameter=no>\nb", "a\n<parameter=no>\nb"),
        ("text", "</tool_call> </function>", "</tool_call> </function>"),
        ("unknown", "[</parameter>]", "[</parameter>]"),
        ("maybe", "null", None),
        ("maybe", "nothing", "nothing"),
        ("whole", "3", 3),
        ("whole", " -7 ", -7),
        ("whole", "three", "three"),
        ("real", "2.50", 2.5),
        ("real", "3", 3),
        ("real", "NaN", "NaN"),
        ("flag", "true", True),
        ("flag", "False", False),
        ("many", '["a", 1]', ["a", 1]),
        ("many", "['a', None]", ["a", None]),
        ("any", "5", 5),
        ("any", '{"a": {}}', {"a": {}}),
        ("choice", "1", "1"),
        ("unknown", "5", 5),
        ("unknown", "[1, 2]", [1, 2]),
        ("unknown", "True", True),
        ("unknown", "None", None),
        ("unknown", "Paris", "Paris"),
        ("unknown", '"quoted"', '"quoted"'),
        ("broken", "x", "x"),
    ],
)
def test_a_value_has_the_type_of_its_schema(
    name: str, value: str, expected: Any, chunk: int
) -> None:
    assert calls(heard(written(**{name: value}), chunk)) == [("f", {name: expected})]


@every_chunk_size
def test_all_parameters_make_one_object(chunk: int) -> None:
    text = written(text="a", whole="1", maybe="b")
    assert calls(heard(text, chunk)) == [("f", {"text": "a", "whole": 1, "maybe": "b"})]


@every_chunk_size
@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\n<function=f>\n</function>\n</tool_call>",
        "<tool_call><function=f></function></tool_call>",
        "<function=f>\n</function>\n</tool_call>",
        "<function=f>\n</function>",
        "<tool_call>\n<function=f>\n</tool_call>",
        "<tool_call>\n<function= f >\n</function>",
    ],
)
def test_a_call_without_parameters_has_an_empty_object(text: str, chunk: int) -> None:
    message = heard(text, chunk)
    assert calls(message) == [("f", {})]
    assert message.content == ""


@every_chunk_size
def test_values_on_one_line_are_read(chunk: int) -> None:
    text = "<function=f><parameter=text>a</parameter><parameter=whole>2</parameter></function>"
    assert calls(heard(text, chunk)) == [("f", {"text": "a", "whole": 2})]


@every_chunk_size
def test_forgotten_ends_are_understood_on_lines_of_their_own(chunk: int) -> None:
    text = "<function=f>\n<parameter=text>\na\n<parameter=whole>\n2\n</function>\n</tool_call>"
    message = heard(text, chunk)
    assert calls(message) == [("f", {"text": "a", "whole": 2})]
    assert message.content == ""


@every_chunk_size
def test_an_end_without_a_following_tag_leaks_nothing_into_the_answer(chunk: int) -> None:
    value = "A call ends with </parameter> here.\n</parameter>\nAnd\n</function>\nthere."
    message = heard(f"{written(text=value)}\nDone.", chunk)
    assert (calls(message), message.content) == ([("f", {"text": value})], "Done.")


@every_chunk_size
def test_a_value_whose_end_is_undecided_at_the_cut_stays_open(chunk: int) -> None:
    message = heard("<function=f>\n<parameter=text>\nsee </parameter>", chunk)
    assert calls(message) == [("f", '{"text": "see ')]


@every_chunk_size
def test_code_that_looks_like_a_call_stays_a_value(chunk: int) -> None:
    code = "print('<function=g> </function> <parameter=x>')"
    assert calls(heard(written(text=code), chunk)) == [("f", {"text": code})]


@every_chunk_size
@pytest.mark.parametrize("between", ["", "\n", "</tool_call>\n<tool_call>", "<tool_call>"])
def test_several_calls_are_heard(between: str, chunk: int) -> None:
    one = "<function=f>\n<parameter=text>\na\n</parameter>\n</function>"
    message = heard(f"Both:\n<tool_call>\n{one}\n{between}{one}\n</tool_call>\nDone.", chunk)
    assert calls(message) == [("f", {"text": "a"})] * 2
    assert message.content == "Both:\nDone."


@every_chunk_size
@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\nsorry</tool_call>",
        "<tool_call></tool_call>",
        "<tool_call>\n<function=",
        "<tool_call>\n<function=f",
        "<tool_call>\n<function=f\n<parameter",
        "<tool_call>\n<function=>",
        "<function=\n",
        "<tool_call>\n <func",
    ],
)
def test_text_that_is_not_a_call_stays_complete(text: str, chunk: int) -> None:
    assert heard(text, chunk) == Message(text, "", ())


@every_chunk_size
@pytest.mark.parametrize(
    ("cut", "arguments"),
    [
        ("<function=f>\n<parameter=text>\nPar", '{"text": "Par'),
        ("<function=f>\n<parameter=text>\nParis\n</para", '{"text": "Paris'),
        ("<function=f>\n<parameter=whole>\n1\n</parameter>\n<parameter=whole>\n12", '{"whole": 1'),
        ("<function=f>\n<parameter=whole>\n1\n</parameter>\n<parameter=te", '{"whole": 1'),
        ("<function=f>\n<parameter=text>\na\n</parameter>\n</func", '{"text": "a'),
    ],
)
def test_arguments_cut_off_stay_open(cut: str, arguments: object, chunk: int) -> None:
    message = heard(f"<tool_call>\n{cut}", chunk)
    assert calls(message) == [("f", arguments)]
    assert message.content == ""


@every_chunk_size
@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\n<function= f >\n",
        "<function=f>\n<parameter=te",
        "<function=f>\n<parameter=text>\n",
        "<tool_call>\n<function=f>\n<parameter=whole>\n12",
    ],
)
def test_a_call_cut_before_its_first_argument_is_none(text: str, chunk: int) -> None:
    assert heard(text, chunk) == Message(text, "", ())


@every_chunk_size
def test_a_second_call_cut_before_its_first_argument_is_text(chunk: int) -> None:
    one = "<tool_call>\n<function=f>\n</function>\n"
    message = heard(f"{one}<function=g>\n<parameter=", chunk)
    assert (calls(message), message.content) == ([("f", {})], "<function=g>\n<parameter=")


@every_chunk_size
def test_text_where_a_parameter_should_be_ends_the_call_and_is_not_lost(chunk: int) -> None:
    text = "<function=f>\nno, wait"
    assert heard(text, chunk) == Message(text, "", ())
    text = "<function=f>\n<parameter=\n"
    assert heard(text, chunk) == Message(text, "", ())
    begun = "<function=f>\n<parameter=text>\na\n</parameter>\n"
    message = heard(f"{begun}no, wait", chunk)
    assert calls(message) == [("f", '{"text": "a\\n</parameter>\\nno, wait')]
    message = heard(f"{begun}<parameter=\n", chunk)
    assert (calls(message), message.content) == ([("f", '{"text": "a"')], "<parameter=\n")


def test_strings_stream_and_other_values_wait() -> None:
    parts = ["<function=f>", "<parameter=text>\nHe", "llo", "\n</parameter>",
             "<parameter=whole>\n1", "2", "\n</parameter>", "</function>"]  # fmt: skip
    events = speech.events_of(parts, reasoning=None, tools="qwen3-xml", definitions=[DEFINITION])
    assert events == [
        ToolCallStart(0, "call_0", "f"),
        ToolCallArguments(0, '{"text": "He'),
        ToolCallArguments(0, "llo"),
        ToolCallArguments(0, '"'),
        ToolCallArguments(0, ', "whole": 12'),
        ToolCallArguments(0, "}"),
    ]


REFERRED = {
    "$defs": {"Size": {"type": "string", "enum": ["5", "6"]}},
    "allOf": [{"properties": {"size": {"$ref": "#/$defs/Size"}}}],
    "properties": {"fixed": {"const": "5"}, "wrapped": {"allOf": [{"$ref": "#/$defs/Size"}]}},
    "oneOf": [{"properties": {"first": {"type": "string"}}}, {"properties": {"odd": {"type": 5}}}],
}


@every_chunk_size
@pytest.mark.parametrize("name", ["size", "fixed", "wrapped", "first"])
def test_a_string_is_recognised_wherever_the_schema_declares_it(name: str, chunk: int) -> None:
    definition = {"type": "function", "function": {"name": "f", "parameters": REFERRED}}
    told = speech.heard(
        written(**{name: "5"}), chunk, reasoning=None, tools="qwen3-xml", definitions=[definition]
    )
    assert calls(told) == [("f", {name: "5"})]


@every_chunk_size
def test_an_invalid_schema_does_not_restrict_its_value(chunk: int) -> None:
    odd = function("f", odd={"type": 5}, lost={"$ref": "#/none"}, choice={"anyOf": 5})
    told = speech.heard(
        written(odd="5", lost="x", choice="[1]"),
        chunk,
        reasoning=None,
        tools="qwen3-xml",
        definitions=[odd],
    )
    assert calls(told) == [("f", {"odd": 5, "lost": "x", "choice": [1]})]
