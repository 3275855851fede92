from __future__ import annotations

from typing import Any

import pytest

from enginix.chat.messages import plain_messages
from enginix.errors import RequestError, TemplateRefused


def plain(message: dict[str, Any], template: str = "") -> dict[str, Any]:
    return plain_messages([message], template)[0]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def calling(arguments: Any) -> dict[str, Any]:
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def test_parts_of_text_are_joined_by_lines() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}, "c"]
    assert plain(user(parts))["content"] == "a\nb\nc"


def test_an_image_is_refused_with_its_place() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(RequestError, match="got a part of type 'image_url'") as refusal:
        plain(user(parts))
    assert refusal.value.param == "messages[0].content[1]"


@pytest.mark.parametrize("content", [5, True, {"text": "a"}, [5], [None], [{"type": "text"}], [{}]])
def test_content_of_a_wrong_type_is_refused_with_its_place(content: Any) -> None:
    with pytest.raises(RequestError, match=r"messages\[0\]\.content"):
        plain(user(content))


@pytest.mark.parametrize("message", [5, None, {}, {"role": 5}, {"content": "a"}])
def test_a_message_without_a_role_is_refused(message: Any) -> None:
    with pytest.raises(RequestError, match="expected an object with a role"):
        plain_messages([message], "")


def test_no_messages_are_refused() -> None:
    with pytest.raises(TemplateRefused, match="at least one"):
        plain_messages([], "")


def test_the_client_s_messages_stay_as_they_are() -> None:
    message = calling('{"a": 1}')
    plain(message)
    assert message == calling('{"a": 1}')


def test_arguments_written_as_text_become_an_object() -> None:
    call = plain(calling('{"a": 1}'))["tool_calls"][0]
    assert call["function"] == {"name": "f", "arguments": {"a": 1}}


@pytest.mark.parametrize("arguments", ["", " ", None])
def test_absent_arguments_are_an_empty_object(arguments: Any) -> None:
    assert plain(calling(arguments))["tool_calls"][0]["function"]["arguments"] == {}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ('{"a": ', '{"a": '),
        ('"Paris"', "Paris"),
        ('["a"]', ["a"]),
        ("5", 5),
        ("[" * 100_000, "[" * 100_000),
        (["a"], ["a"]),
    ],
)
def test_arguments_that_are_not_an_object_are_stored_under_a_key(sent: Any, read: Any) -> None:
    call = plain(calling(sent))["tool_calls"][0]
    assert call["function"]["arguments"] == {"arguments": read}


@pytest.mark.parametrize("sent", ["null", '{"a": 1}', {"a": 1}])
def test_a_call_without_the_layer_function_has_an_object_too(sent: Any) -> None:
    message = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": sent}]}
    arguments = plain(message)["tool_calls"][0]["arguments"]
    assert arguments == ({} if sent == "null" else {"a": 1})


@pytest.mark.parametrize("calls", [5, "x", [5], {"a": 1}])
def test_calls_that_are_not_a_list_of_objects_are_refused(calls: Any) -> None:
    with pytest.raises(RequestError, match="expected a list of calls"):
        plain({"role": "assistant", "content": "", "tool_calls": calls})


def test_an_empty_list_of_calls_is_omitted() -> None:
    assert "tool_calls" not in plain({"role": "assistant", "content": "a", "tool_calls": []})


def test_absent_content_is_empty_text_but_for_templates_that_ask_for_none() -> None:
    message = {"role": "assistant", "content": None}
    assert plain(message)["content"] == ""
    assert plain(message, "{% if message['content'] is none %}")["content"] is None


def test_a_developer_is_a_system_but_for_templates_that_know_developers() -> None:
    message = {"role": "developer", "content": "Be brief."}
    assert plain(message)["role"] == "system"
    assert plain(message, "{% if m.role == 'developer' %}")["role"] == "developer"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_sent_back_under_any_name_reaches_the_template(name: str) -> None:
    message = plain({"role": "assistant", "content": "a", name: "because"})
    assert message["reasoning_content"] == message["thinking"] == "because"


def test_absent_reasoning_stays_absent() -> None:
    message = plain({"role": "assistant", "content": "a", "reasoning_content": None})
    assert message["reasoning_content"] is None
