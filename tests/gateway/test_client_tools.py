"""Tools that clients run: what the model sees, what comes back, and their history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from fakes.backend import FakeBackend
from fakes.chat_server import CHAT, chat_server, completion
from gateway.harness import events, ids, served, server, user
from gateway.type_tables import check_type

from enginix.backends.openai.server import OpenAIBackend
from enginix.gateway.models.registry import PassthroughModel

RESPONSES = "/v1/responses"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "name": "get_weather", "parameters": CITY}
SPACE = {"type": "namespace", "name": "mcp__weather", "description": "Weather.", "tools": [WEATHER]}
FLAT = "mcp__weather__get_weather"
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: patch"}
PATCH = {"type": "custom", "name": "edit", "description": "Edits files.", "format": GRAMMAR}
SEARCH = {
    "type": "tool_search",
    "execution": "client",
    "description": "Finds tools.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}
Arguments = Mapping[str, Any] | str


async def ask(
    body: Mapping[str, Any],
    name: str,
    arguments: Arguments,
    *,
    theirs: bool = False,
    stream: bool = False,
    limit: int | None = None,
) -> tuple[list[Any], Any]:
    """The tools that the model saw, and the answer or its events, for one call."""
    spelled = arguments if isinstance(arguments, str) else json.dumps(arguments)
    asked = {"input": "Hi", "stream": stream, "max_output_tokens": limit, **body}
    if theirs:
        function = {"name": name, "arguments": spelled[:7]}
        deltas = [
            {"tool_calls": [{"index": 0, "id": "c1", "function": function}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": spelled[7:]}}]},
        ]
        async with chat_server(completion(*deltas, reason="tool_calls")) as (stand_in, url):
            # It speaks the dialect as well, but not all of it.
            stand_in.routes[RESPONSES] = lambda _: b'{"error": {"message": "no such tool type"}}'
            model = PassthroughModel("ours", OpenAIBackend("it", url, "theirs"), "vllm")
            async with server(model) as client:
                answer = await client.post(RESPONSES, json={"model": "ours", **asked})
        shown = stand_in.asked_at(CHAT)[0]["tools"]
    else:
        said = f'<tool_call>\n{{"name": "{name}", "arguments": {spelled}}}\n</tool_call>'
        backend = FakeBackend(ids(said))
        async with server(served(backend, context=2048)) as client:
            answer = await client.post(RESPONSES, json=asked)
        prompt = served(backend).tokenizer.decode(backend.asked[0].prompt_ids)
        shown = [json.loads(line) for line in prompt.splitlines() if line.startswith('{"type"')]
    assert answer.status_code == 200, answer.text
    return shown, events(answer.text) if stream else answer.json()


def names(shown: Sequence[Any]) -> list[str]:
    return [tool["function"]["name"] for tool in shown]


theirs_too = pytest.mark.parametrize("theirs", [False, True], ids=["our model", "passed on"])
CALLS: list[tuple[dict[str, Any], str, Arguments, dict[str, Any]]] = [
    (
        SPACE,
        FLAT,
        {"city": "Paris"},
        {"type": "function_call", "namespace": "mcp__weather", "name": "get_weather"},
    ),
    (PATCH, "edit", {"input": 'a "b"\n\\c é'}, {"name": "edit", "input": 'a "b"\n\\c é'}),
    (
        {**SPACE, "tools": [PATCH]},
        "mcp__weather__edit",
        {"input": "x"},
        {"type": "custom_tool_call", "namespace": "mcp__weather", "name": "edit", "input": "x"},
    ),
    (
        SEARCH,
        "tool_search",
        {"query": "weather"},
        {"type": "tool_search_call", "execution": "client", "arguments": {"query": "weather"}},
    ),
    (
        {"type": "local_shell"},
        "local_shell",
        {"command": ["ls", "-l"], "timeout_ms": 100},
        {
            "type": "local_shell_call",
            "action": {
                "type": "exec",
                "command": ["ls", "-l"],
                "env": {},
                "timeout_ms": 100,
                "user": None,
                "working_directory": None,
            },
        },
    ),
    (
        {"type": "shell"},
        "shell",
        {"commands": ["ls", "pwd"]},
        {
            "type": "shell_call",
            "action": {"commands": ["ls", "pwd"], "timeout_ms": None, "max_output_length": None},
            "environment": {"type": "local"},
        },
    ),
    (
        {"type": "apply_patch"},
        "apply_patch",
        {"type": "update_file", "path": "a.py", "diff": "@@\n-a\n+b"},
        {
            "type": "apply_patch_call",
            "operation": {"type": "update_file", "path": "a.py", "diff": "@@\n-a\n+b"},
        },
    ),
]
every_call = pytest.mark.parametrize(
    ("tool", "called", "arguments", "item"),
    CALLS,
    ids=[f"{each[0]['type']} {each[1]}" for each in CALLS],
)


@theirs_too
@every_call
async def test_a_call_comes_back_in_the_item_that_its_tools_type_has(
    tool: dict[str, Any], called: str, arguments: Arguments, item: dict[str, Any], theirs: bool
) -> None:
    shown, answer = await ask({"tools": [tool]}, called, arguments, theirs=theirs)
    assert names(shown) == [called]
    (found,) = answer["output"]
    assert found["call_id"]
    assert {**found, **item} == found
    assert found["status"] == "completed"
    assert answer["tools"] == [tool]
    check_type("Response", answer)


@theirs_too
@every_call
async def test_a_streamed_call_ends_as_the_item_of_the_complete_answer(
    tool: dict[str, Any], called: str, arguments: Arguments, item: dict[str, Any], theirs: bool
) -> None:
    _, seen = await ask({"tools": [tool]}, called, arguments, theirs=theirs, stream=True)
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    for event in seen:
        check_type("ResponseStreamEvent", event)
    (added,) = [each["item"] for each in seen if each["type"] == "response.output_item.added"]
    (done,) = [each["item"] for each in seen if each["type"] == "response.output_item.done"]
    assert {**done, **item} == done
    assert (added["id"], added["type"], added["status"]) == (
        done["id"],
        done["type"],
        "in_progress",
    )
    assert seen[-1]["response"]["output"] == [done]


@theirs_too
async def test_a_custom_tools_input_is_streamed_as_the_text_that_it_is(theirs: bool) -> None:
    text = 'say "é\\n" \U0001f44b\n' * 5
    body = {"tools": [PATCH]}
    _, seen = await ask(body, "edit", {"input": text}, theirs=theirs, stream=True)
    kind = "response.custom_tool_call_input"
    deltas = [event["delta"] for event in seen if event["type"] == f"{kind}.delta"]
    (done,) = [event for event in seen if event["type"] == f"{kind}.done"]
    assert "".join(deltas) == done["input"] == text
    assert not any("function_call_arguments" in event["type"] for event in seen)


async def test_the_grammar_of_a_custom_tool_is_in_its_description() -> None:
    shown, _ = await ask({"tools": [PATCH]}, "edit", {"input": "x"})
    assert "Edits files." in shown[0]["function"]["description"]
    assert "start: patch" in shown[0]["function"]["description"]
    assert shown[0]["function"]["parameters"]["required"] == ["input"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_truncated_custom_call_is_not_a_call(stream: bool) -> None:
    body = {"tools": [PATCH]}
    _, answer = await ask(body, "edit", {"input": "rm -rf build/old"}, limit=22, stream=stream)
    last = answer[-1]["response"] if stream else answer
    assert (last["status"], last["output"]) == ("incomplete", [])
    if stream:
        kinds = [event["type"] for event in answer]
        assert "response.output_item.added" in kinds
        assert "response.output_item.done" not in kinds
        assert "response.custom_tool_call_input.done" not in kinds


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limit", [None, 20])
async def test_arguments_invalid_for_a_shell_stay_as_the_model_wrote_them(
    stream: bool, limit: int | None
) -> None:
    body = {"tools": [{"type": "local_shell"}]}
    _, answer = await ask(body, "local_shell", {"run": "rm -rf b"}, stream=stream, limit=limit)
    (call,) = (answer[-1]["response"] if stream else answer)["output"]
    assert (call["type"], call["name"]) == ("function_call", "local_shell")
    assert call["arguments"].startswith('{"run": ')
    assert call["status"] == ("incomplete" if limit else "completed")
    if stream:
        deltas = [each["delta"] for each in answer if each["type"].endswith("arguments.delta")]
        assert "".join(deltas) == call["arguments"]


@theirs_too
async def test_a_model_may_leave_the_namespace_out(theirs: bool) -> None:
    _, answer = await ask({"tools": [SPACE]}, "get_weather", {"city": "Rome"}, theirs=theirs)
    (call,) = answer["output"]
    assert (call["namespace"], call["name"]) == ("mcp__weather", "get_weather")


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "name": "get_weather"},
        {"type": "function", "name": "get_weather", "namespace": "mcp__weather"},
        {"type": "function", "name": FLAT},
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "namespace", "name": "mcp__weather"}, {"type": "mcp"}],
        },
    ],
    ids=str,
)
async def test_a_namespaces_function_can_be_made_to_be_called(choice: Any) -> None:
    clock = {"type": "function", "name": "clock"}
    backend = FakeBackend(ids(f'{{"name": "{FLAT}", "arguments": {{}}}}\n</tool_call>'), ids(""))
    async with server(served(backend, context=2048)) as client:
        body = {"input": "Hi", "tools": [SPACE, clock], "tool_choice": choice}
        answer = (await client.post(RESPONSES, json=body)).json()
    assert answer["output"][0]["namespace"] == "mcp__weather"


@pytest.mark.parametrize("kind", ["local_shell", "shell", "apply_patch", "custom"])
async def test_a_call_of_a_tool_with_its_own_type_can_be_forced(kind: str) -> None:
    tool = PATCH if kind == "custom" else {"type": kind}
    choice = {"type": kind, "name": "edit"} if kind == "custom" else {"type": kind}
    called = "edit" if kind == "custom" else kind
    backend = FakeBackend(ids(f'{{"name": "{called}", "arguments": {{}}}}\n</tool_call>'), ids(""))
    async with server(served(backend, context=2048)) as client:
        body = {"input": "Hi", "tools": [WEATHER, tool], "tool_choice": choice}
        answer = await client.post(RESPONSES, json=body)
        missing = await client.post(RESPONSES, json={**body, "tools": [WEATHER]})
    assert answer.status_code == 200, answer.text
    assert (missing.status_code, missing.json()["error"]["param"]) == (400, "tool_choice.name")


async def test_tools_that_openais_servers_run_are_not_shown() -> None:
    hosted = [
        {"type": "web_search"},
        {"type": "mcp", "server_label": "x"},
        {"type": "shell", "environment": {"type": "container_auto"}},
        {"type": "tool_search"},
    ]
    shown, _ = await ask({"tools": [WEATHER, *hosted]}, "get_weather", {})
    assert names(shown) == ["get_weather"]


@theirs_too
async def test_tools_that_come_with_the_input_can_be_called(theirs: bool) -> None:
    found = {"type": "tool_search_output", "call_id": "s1", "execution": "client", "tools": [SPACE]}
    clock = {"type": "function", "name": "clock", "defer_loading": True}
    said = [
        *user("Hi"),
        {"type": "additional_tools", "role": "developer", "tools": [clock, PATCH]},
        {
            "type": "tool_search_call",
            "call_id": "s1",
            "execution": "client",
            "arguments": {"query": "weather"},
        },
        found,
    ]
    body = {"input": said, "tools": [SEARCH]}
    shown, answer = await ask(body, FLAT, {"city": "Rome"}, theirs=theirs)
    assert names(shown) == ["tool_search", "clock", "edit", FLAT]
    assert answer["output"][0]["namespace"] == "mcp__weather"


async def test_tools_that_came_with_an_earlier_input_can_be_called_later() -> None:
    backend = FakeBackend(ids("Yes."))
    async with server(served(backend, context=2048)) as client:
        late = {"type": "additional_tools", "role": "developer", "tools": [SPACE]}
        first = (await client.post(RESPONSES, json={"input": [*user("Hi"), late]})).json()
        body = {"input": "And?", "previous_response_id": first["id"]}
        await client.post(RESPONSES, json=body)
    assert FLAT in served(backend).tokenizer.decode(backend.asked[1].prompt_ids)


HISTORY: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    (
        {
            "type": "function_call",
            "namespace": "mcp__weather",
            "name": "get_weather",
            "arguments": "{}",
        },
        {"type": "function_call_output", "output": "10 C"},
        [FLAT, "10 C"],
    ),
    (
        {"type": "custom_tool_call", "name": "edit", "input": "the patch"},
        {"type": "custom_tool_call_output", "output": [{"type": "input_text", "text": "done"}]},
        ["edit", '{"input": "the patch"}', "done"],
    ),
    (
        {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls"], "env": {}}},
        {"type": "local_shell_call_output", "id": "c1", "output": "a.py"},
        ["local_shell", '{"command": ["ls"]}', "a.py"],
    ),
    (
        {"type": "shell_call", "action": {"commands": ["ls"], "timeout_ms": None}},
        {
            "type": "shell_call_output",
            "output": [
                {"stdout": "a.py", "stderr": "no b", "outcome": {"type": "exit", "exit_code": 2}},
                {"stdout": "", "stderr": "", "outcome": {"type": "timeout"}},
            ],
        },
        ['{"commands": ["ls"]}', "a.py\nno b\n[exit code 2]\n[timed out]"],
    ),
    (
        {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "a.py"}},
        {"type": "apply_patch_call_output", "status": "failed", "output": "no a.py"},
        ["apply_patch", '"path": "a.py"', "no a.py"],
    ),
    (
        {"type": "tool_search_call", "arguments": {"query": "weather"}},
        {"type": "tool_search_output", "tools": [WEATHER]},
        ["tool_search", '{"query": "weather"}', "get_weather"],
    ),
]


@pytest.mark.parametrize(("call", "output", "words"), HISTORY, ids=lambda part: "")
async def test_the_history_of_a_call_reaches_the_model(
    call: dict[str, Any], output: dict[str, Any], words: list[str]
) -> None:
    said = [*user("Hi"), {"call_id": "c1", **call}, {"call_id": "c1", **output}]
    backend = FakeBackend(ids("Yes."))
    async with server(served(backend, context=2048)) as client:
        answer = await client.post(RESPONSES, json={"input": said, "tools": [SPACE]})
    assert answer.status_code == 200, answer.text
    prompt = served(backend).tokenizer.decode(
        backend.asked[0].prompt_ids, keep=("<tool_call>", "<tool_response>")
    )
    said_of_it = prompt[prompt.index("Hi") :]
    places = [said_of_it.index(word) for word in words]
    assert places == sorted(places)


async def test_calls_that_a_client_sends_back_are_what_the_model_wrote() -> None:
    """The items of an answer are the next request's input, byte for byte."""
    tools = [tool for tool, *_ in CALLS if tool is not CALLS[2][0]]
    for _, called, arguments, _ in (each for each in CALLS if each is not CALLS[2]):
        spelled = json.dumps({"name": called, "arguments": arguments})
        backend = FakeBackend(ids(f"<tool_call>\n{spelled}\n</tool_call>"))
        async with server(served(backend, context=4096)) as client:
            body = {"input": user("Hi"), "tools": tools}
            first = (await client.post(RESPONSES, json=body)).json()
            again = [*user("Hi"), *first["output"], *user("Go on.")]
            answer = await client.post(RESPONSES, json={**body, "input": again})
        assert answer.status_code == 200, answer.text
        prompt = served(backend).tokenizer.decode(
            backend.asked[1].prompt_ids, keep=("<tool_call>",)
        )
        history = prompt.rpartition("<tool_call>\n")[2].partition("\n</tool_call>")[0]
        assert json.loads(history) == {"name": called, "arguments": arguments}


CHAT_CUSTOM = {
    "type": "custom",
    "custom": {"name": "edit", "description": "Edits.", "format": None},
}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chats_custom_tool_is_called_with_a_text(stream: bool) -> None:
    said = 'I do.\n<tool_call>\n{"name": "edit", "arguments": {"input": "a\\nb"}}\n</tool_call>'
    choice = await chat(said, stream=stream)
    (call,) = choice["message"]["tool_calls"]
    assert (call["type"], call["custom"]) == ("custom", {"name": "edit", "input": "a\nb"})
    assert call["id"]
    assert choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chats_truncated_custom_call_is_not_a_call(stream: bool) -> None:
    said = '<tool_call>\n{"name": "edit", "arguments": {"input": "rm -rf build/old"}}\n</tool_call>'
    choice = await chat(said, stream=stream, max_tokens=22)
    assert not choice["message"].get("tool_calls")
    assert choice["finish_reason"] == "length"


async def test_a_chats_custom_calls_are_in_its_history() -> None:
    call = {"id": "c1", "type": "custom", "custom": {"name": "edit", "input": "the patch"}}
    said = [
        *user("Hi"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]
    backend = FakeBackend(ids("Yes."))
    async with server(served(backend)) as client:
        answer = await client.post(CHAT, json={"messages": said, "tools": [CHAT_CUSTOM]})
    assert answer.status_code == 200, answer.text
    assert '{"input": "the patch"}' in served(backend).tokenizer.decode(backend.asked[0].prompt_ids)


async def test_another_servers_custom_calls_pass_as_they_are() -> None:
    call = {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "edit", "input": "x"}}
    said = completion({"tool_calls": [call]}, reason="tool_calls")
    async with (
        chat_server(said) as (stand_in, url),
        server(PassthroughModel("ours", OpenAIBackend("it", url, "theirs"), "vllm")) as client,
    ):
        body = {"model": "ours", "messages": user("Hi"), "stream": True}
        seen = events((await client.post(CHAT, json=body)).text)
        whole = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
        stand_in.routes[CHAT] = lambda _: json.dumps(whole).encode()
        document = (await client.post(CHAT, json={**body, "stream": False})).json()
    calls = [
        each
        for event in seen[:-1]
        for choice in event["choices"]
        for each in choice["delta"].get("tool_calls", ())
    ]
    assert calls == [call]
    assert document["choices"] == whole["choices"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_that_knows_functions_only_is_shown_a_custom_tool_as_one(
    stream: bool,
) -> None:
    function = {"name": "edit", "arguments": json.dumps({"input": "a\nb"})}
    deltas = [{"tool_calls": [{"index": 0, "id": "c1", "function": function}]}]
    before = {"id": "c0", "type": "custom", "custom": {"name": "edit", "input": "the patch"}}
    said = [
        *user("Hi"),
        {"role": "assistant", "content": None, "tool_calls": [before]},
        {"role": "tool", "tool_call_id": "c0", "content": "done"},
    ]
    async with (
        chat_server(completion(*deltas, reason="tool_calls")) as (stand_in, url),
        server(PassthroughModel("ours", OpenAIBackend("it", url, "theirs"), "vllm")) as client,
    ):
        body = {"model": "ours", "messages": said, "tools": [CHAT_CUSTOM], "stream": stream}
        answer = await client.post(CHAT, json=body)
    (asked,) = stand_in.asked_at(CHAT)
    assert names(asked["tools"]) == ["edit"]
    (call,) = asked["messages"][1]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "edit")
    assert json.loads(call["function"]["arguments"]) == {"input": "the patch"}
    assert '"custom":{"name":"edit","input":"a\\nb"}' in answer.text


async def chat(said: str, *, stream: bool, **more: Any) -> dict[str, Any]:
    """A chat's choice, or the sum of a stream's deltas."""
    async with server(served(FakeBackend(ids(said)))) as client:
        body = {"messages": user("Hi"), "tools": [CHAT_CUSTOM], "stream": stream, **more}
        answer = await client.post(CHAT, json=body)
    assert answer.status_code == 200, answer.text
    if not stream:
        choice: dict[str, Any] = answer.json()["choices"][0]
        return choice
    choices = [event["choices"][0] for event in events(answer.text)[:-1]]
    calls = [call for each in choices for call in each["delta"].get("tool_calls", ())]
    return {"message": {"tool_calls": calls}, "finish_reason": choices[-1]["finish_reason"]}
