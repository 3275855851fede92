from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.backend import EVERYTHING, FakeBackend
from gateway.harness import events, ids, served, server, user

from enginix.errors import GenerationFailed

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
# As classes become schemas: nothing says which other fields there may be.
JOKE = {
    "type": "object",
    "properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}},
    "required": ["setup", "punchline"],
}
IMAGE = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
THOUGHT = "<think>\nI know that.\n</think>\n\nThe capital of France is Paris.<|im_end|>"


async def ask(backend: FakeBackend, **body: Any) -> dict[str, Any]:
    async with server(served(backend)) as client:
        response = await client.post(
            "/v1/chat/completions", json={"model": "demo", "messages": user("Hi"), **body}
        )
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


async def stream(backend: FakeBackend, **body: Any) -> list[Any]:
    async with server(served(backend)) as client:
        response = await client.post(
            "/v1/chat/completions",
            json={"model": "demo", "messages": user("Hi"), "stream": True, **body},
        )
        assert response.status_code == 200, response.text
        return events(response.text)


async def refusal(status: int = 400, **body: Any) -> dict[str, Any]:
    async with server(served(FakeBackend(ids("Hello")))) as client:
        response = await client.post(
            "/v1/chat/completions", json={"model": "demo", "messages": user("Hi"), **body}
        )
        assert response.status_code == status, response.text
        error: dict[str, Any] = response.json()["error"]
        return error


async def test_an_answer_has_its_text_its_reason_and_its_counts() -> None:
    reply = ids("The capital of France is Paris.")
    answer = await ask(FakeBackend(reply))
    choice = answer["choices"][0]
    assert choice["message"]["content"] == "The capital of France is Paris."
    assert choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == len(reply)


async def test_reasoning_is_separated_from_the_answer() -> None:
    message = (await ask(FakeBackend(ids(THOUGHT))))["choices"][0]["message"]
    assert message["reasoning_content"].strip() == "I know that."
    assert message["content"] == "The capital of France is Paris."


async def test_a_tool_call_is_parsed_and_named_as_the_reason() -> None:
    choice = (await ask(FakeBackend(ids(CALL)), tools=[WEATHER]))["choices"][0]
    call = choice["message"]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "tool_calls"


async def test_a_call_without_tools_is_text() -> None:
    choice = (await ask(FakeBackend(ids(CALL))))["choices"][0]
    assert choice["message"]["content"] == CALL
    assert choice["finish_reason"] == "stop"


async def test_tool_choice_none_hides_the_tools_from_the_model() -> None:
    backend = FakeBackend(ids("Hello"))
    await ask(backend, tools=[WEATHER], tool_choice="none")
    assert "get_weather" not in served(backend).tokenizer.decode(backend.asked[0].prompt_ids)


async def test_a_named_tool_is_called_by_holding_the_model_to_it() -> None:
    backend = FakeBackend(ids('{"name": "get_weather", "arguments": {"city": "Paris"}}'))
    choice = (
        await ask(
            backend,
            tools=[WEATHER],
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
        )
    )["choices"][0]
    function = choice["message"]["tool_calls"][0]["function"]
    assert function["name"] == "get_weather"
    assert json.loads(function["arguments"]) == {"city": "Paris"}
    assert choice["finish_reason"] == "tool_calls"
    guide = backend.asked[0].sampling.guide
    assert guide is not None
    assert json.loads(guide.text)["properties"]["name"] == {"const": "get_weather"}


async def test_after_a_required_call_the_model_may_continue() -> None:
    call = ids('{"name": "get_weather", "arguments": {"city": "Rome"}}')
    backend = FakeBackend(call, ids("\n<tool_call>\n{"), call, ids("Done."))
    choice = (await ask(backend, tools=[WEATHER], tool_choice="required"))["choices"][0]
    names = [each["function"]["name"] for each in choice["message"]["tool_calls"]]
    assert names == ["get_weather", "get_weather"]
    guided = [request.sampling.guide is not None for request in backend.asked]
    assert guided == [True, False, True, False]


@pytest.mark.parametrize("limit", [1, 3, 6])
async def test_a_forced_call_that_is_cut_before_its_arguments_leaks_no_markup(limit: int) -> None:
    backend = FakeBackend(ids('{"name": "get_weather", "arguments": {"city": "Rome"}}'))
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = await ask(backend, tools=[WEATHER], tool_choice=choice, max_tokens=limit)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert not answer["choices"][0]["message"]["content"]


async def test_an_engine_without_guided_decoding_is_never_made_to_call() -> None:
    backend = FakeBackend(ids("Hm."), supported=EVERYTHING - {"guide"})
    async with server(served(backend)) as client:
        body = {"messages": user("Hi"), "tools": [WEATHER], "tool_choice": "required"}
        response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tool_choice"
    assert not backend.asked


async def test_of_the_allowed_tools_only_those_are_shown() -> None:
    clock = {"type": "function", "function": {"name": "get_time"}}
    allowed = {
        "mode": "required",
        "tools": [{"type": "function", "function": {"name": "get_time"}}],
    }
    backend = FakeBackend(ids('{"name": "get_time", "arguments": {}}'), ids(""))
    answer = await ask(
        backend,
        tools=[WEATHER, clock],
        tool_choice={"type": "allowed_tools", "allowed_tools": allowed},
    )
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_time"
    assert "get_weather" not in served(backend).tokenizer.decode(backend.asked[0].prompt_ids)


async def test_a_call_that_must_be_made_is_not_held_to_the_answers_form() -> None:
    backend = FakeBackend(ids('{"name": "get_weather", "arguments": {"city": "Rome"}}'), ids(""))
    format = {"type": "json_object"}
    answer = await ask(backend, tools=[WEATHER], tool_choice="required", response_format=format)
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather"
    guide = backend.asked[0].sampling.guide
    assert guide is not None
    assert "get_weather" in guide.text


async def test_without_parallel_calls_generation_ends_after_the_first() -> None:
    backend = FakeBackend(ids(CALL + "\n" + CALL))
    choice = (await ask(backend, tools=[WEATHER], parallel_tool_calls=False))["choices"][0]
    assert len(choice["message"]["tool_calls"]) == 1
    assert choice["finish_reason"] == "tool_calls"


async def test_max_tokens_ends_with_length() -> None:
    answer = await ask(FakeBackend(ids("The capital of France is Paris.")), max_tokens=3)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3


async def test_an_emoji_that_max_tokens_cuts_in_two_is_not_replaced() -> None:
    reply = ids("Hi 👋")
    limit = len(reply) - 1
    whole = (await ask(FakeBackend(reply), max_tokens=limit))["choices"][0]
    chunks = await stream(FakeBackend(reply), max_tokens=limit)
    streamed = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1])
    assert whole["message"]["content"].rstrip() == streamed.rstrip() == "Hi"
    assert whole["finish_reason"] == "length"


async def test_without_max_tokens_the_answer_may_fill_the_context() -> None:
    backend = FakeBackend(ids("Hello"))
    await ask(backend)
    assert backend.asked[0].max_tokens == 512 - len(backend.asked[0].prompt_ids)


async def test_more_max_tokens_than_fit_are_cut_to_what_fits() -> None:
    backend = FakeBackend(ids("Hello"))
    await ask(backend, max_tokens=100_000)
    assert backend.asked[0].max_tokens == 512 - len(backend.asked[0].prompt_ids)


async def test_a_stop_string_ends_the_answer_before_it_and_the_generation() -> None:
    backend = FakeBackend(ids("One two three four"), stops_at=None)
    choice = (await ask(backend, stop="three"))["choices"][0]
    assert choice["message"]["content"] == "One two "
    assert choice["finish_reason"] == "stop"
    assert backend.running == 0


async def test_temperature_zero_is_greedy() -> None:
    backend = FakeBackend(ids("Hello"))
    await ask(backend, temperature=0)
    sampling = backend.asked[0].sampling
    assert (sampling.top_k, sampling.temperature, sampling.seed) == (1, None, None)


async def test_a_top_p_of_zero_is_greedy_too() -> None:
    backend = FakeBackend(ids("Hello"))
    await ask(backend, temperature=1, top_p=0)
    sampling = backend.asked[0].sampling
    assert (sampling.top_p, sampling.top_k) == (None, 1)


async def test_several_choices_draw_on_their_own_seeds() -> None:
    backend = FakeBackend(ids("One"), ids("Two"))
    answer = await ask(backend, n=2, seed=7)
    assert sorted(choice["message"]["content"] for choice in answer["choices"]) == ["One", "Two"]
    assert [request.sampling.seed for request in backend.asked] == [7, 8]


async def test_without_a_seed_every_request_gets_its_own() -> None:
    backend = FakeBackend(ids("One"))
    await ask(backend, n=2)
    first, second = (request.sampling.seed for request in backend.asked)
    assert first is not None
    assert first != second


async def test_log_probabilities_name_every_token() -> None:
    reply = ids("Hello 你好")
    choice = (await ask(FakeBackend(reply), logprobs=True))["choices"][0]
    content = choice["logprobs"]["content"]
    assert len(content) == len(reply)
    assert bytes(byte for token in content for byte in token["bytes"]).decode() == "Hello 你好"


async def test_continuous_usage_comes_with_every_chunk_on_request() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    backend = FakeBackend(ids("Hello there, you"))
    chunks = (await stream(backend, stream_options=options))[:-1]
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert (counts[0], counts[-1]) == (0, backend.produced)
    assert counts == sorted(counts)
    assert all(chunk["usage"]["prompt_tokens"] > 0 for chunk in chunks)


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ({"structured_outputs": {"choice": ["yes", "no"]}}, "regex"),
        ({"structured_outputs": {"json": {"type": "object"}}}, "json_schema"),
        ({"structured_outputs": {"regex": "[0-9]+"}}, "regex"),
        ({"structured_outputs": {"grammar": 'root ::= "a"'}}, "ebnf_grammar"),
        ({"structured_outputs": {"json_object": True}}, "json"),
        ({"json_schema": {"const": 5}}, "json_schema"),
        ({"grammar": 'root ::= "a"'}, "ebnf_grammar"),
        ({"response_format": {"type": "json_object", "schema": {"const": 5}}}, "json_schema"),
        ({"guided_choice": ["yes", "no"]}, "regex"),
        ({"response_format": {"type": "json", "schema": {"const": 5}}}, "json_schema"),
        ({"response_format": {"type": "regex", "regex": "[0-9]+"}}, "regex"),
        ({"response_format": {"type": "ebnf", "ebnf": 'root ::= "a"'}}, "ebnf_grammar"),
        ({"regex": "[0-9]+"}, "regex"),
        ({"ebnf": 'root ::= "a"'}, "ebnf_grammar"),
        ({"json_schema": '{"const": 5}'}, "json_schema"),
    ],
)
async def test_the_form_of_an_answer_can_be_said_as_other_servers_have_it(
    form: dict[str, Any], kind: str
) -> None:
    backend = FakeBackend(ids("yes"))
    await ask(backend, **form, chat_template_kwargs={"enable_thinking": False})
    guide = backend.asked[0].sampling.guide
    assert guide is not None
    assert guide.kind == kind


async def test_each_token_lists_the_likeliest_tokens() -> None:
    backend = FakeBackend(ids("Hello there"))
    backend.supports |= {"top_logprobs"}
    content = (await ask(backend, logprobs=True, top_logprobs=3))["choices"][0]["logprobs"][
        "content"
    ]
    for token in content:
        assert [each["logprob"] for each in token["top_logprobs"]] == [-0.5, -1.5, -2.5]
        first = {key: token[key] for key in ("token", "logprob", "bytes")}
        assert token["top_logprobs"][0] == first


async def test_a_stream_begins_with_the_role_and_ends_with_the_reason() -> None:
    chunks = await stream(FakeBackend(ids("Hello there")))
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-2]["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert chunks[-1] == "[DONE]"


async def test_every_token_is_its_own_event_however_they_arrive() -> None:
    reply = ids("The capital of France is Paris.")
    for together in (1, 3):
        chunks = await stream(FakeBackend(reply, together=together))
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks[1:-2]]
        assert len(deltas) == len(reply)


async def test_usage_comes_last_and_only_on_request() -> None:
    reply = ids("Hello there")
    chunks = await stream(FakeBackend(reply), stream_options={"include_usage": True})
    assert chunks[-2]["choices"] == []
    assert chunks[-2]["usage"]["completion_tokens"] == len(reply)
    assert all("usage" in chunk for chunk in chunks[:-1])
    plain = await stream(FakeBackend(reply))
    assert all("usage" not in chunk for chunk in plain[:-1])


@pytest.mark.parametrize("text", [THOUGHT, CALL, "Plain, 你好 👋 text.", "", "<think>\nno end"])
async def test_a_stream_adds_up_to_the_complete_answer(text: str) -> None:
    whole = (await ask(FakeBackend(ids(text)), tools=[WEATHER]))["choices"][0]
    deltas = [
        chunk["choices"][0]
        for chunk in (await stream(FakeBackend(ids(text)), tools=[WEATHER]))[:-1]
    ]
    for field in ("content", "reasoning_content"):
        joined = "".join(delta["delta"].get(field) or "" for delta in deltas)
        assert joined == (whole["message"].get(field) or "")
    arguments = "".join(
        call["function"]["arguments"]
        for delta in deltas
        for call in delta["delta"].get("tool_calls", [])
    )
    calls = whole["message"].get("tool_calls", [])
    assert arguments == "".join(call["function"]["arguments"] for call in calls)
    assert deltas[-1]["finish_reason"] == whole["finish_reason"]


async def test_streamed_log_probabilities_are_those_of_every_token() -> None:
    reply = ids("Hello 你好 👋")
    chunks = await stream(FakeBackend(reply), logprobs=True)
    tokens = [
        token
        for chunk in chunks[:-1]
        for token in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]
    ]
    assert len(tokens) == len(reply)


async def test_streamed_choices_keep_their_numbers() -> None:
    chunks = await stream(FakeBackend(ids("One two"), ids("Three four")), n=2)
    texts = ["", ""]
    for chunk in chunks[:-1]:
        choice = chunk["choices"][0]
        texts[choice["index"]] += choice["delta"].get("content") or ""
    assert sorted(texts) == ["One two", "Three four"]


async def test_thinking_can_be_switched_off() -> None:
    for switch in (
        {"reasoning_effort": "none"},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ):
        backend = FakeBackend(ids("Hello"))
        await ask(backend, **switch)
        prompt = served(backend).tokenizer.decode(backend.asked[0].prompt_ids, keep=("<think>",))
        assert prompt.count("<think>") == 1


async def test_a_guided_answer_begins_at_once_and_carries_its_schema() -> None:
    backend = FakeBackend(ids('{"a": 1}'))
    schema = {"type": "object"}
    await ask(
        backend,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    guide = backend.asked[0].sampling.guide
    assert guide is not None
    assert (guide.kind, json.loads(guide.text)) == ("json_schema", schema)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    "form",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": JOKE}}},
        {"structured_outputs": {"json": json.dumps(JOKE)}},
    ],
)
async def test_an_answer_has_no_fields_beside_those_that_its_schema_names(
    path: str, form: dict[str, Any]
) -> None:
    backend = FakeBackend(ids("{}"))
    asked = {"messages": user("Hi")} if "chat" in path else {"prompt": "Hi"}
    async with server(served(backend)) as client:
        response = await client.post(path, json={**asked, **form})
    assert response.status_code == 200, response.text
    guide = backend.asked[0].sampling.guide
    assert guide is not None
    assert json.loads(guide.text) == {**JOKE, "additionalProperties": False}


async def test_a_schema_that_allows_further_fields_stays_as_it_is() -> None:
    backend = FakeBackend(ids("{}"))
    schema = {**JOKE, "additionalProperties": {"type": "string"}}
    await ask(backend, guided_json=schema)
    guide = backend.asked[0].sampling.guide
    assert guide is not None
    assert json.loads(guide.text) == schema


@pytest.mark.parametrize(
    "schema", ["{bad", '{"properties": {}, "required": [["a"]]}', '{"properties": {}, "allOf": 1}']
)
@pytest.mark.parametrize("tools", [[], [WEATHER]])
async def test_the_engine_judges_a_schema_that_is_none(
    schema: str, tools: list[dict[str, Any]]
) -> None:
    error = GenerationFailed("the guide is no usable json_schema")
    backend = FakeBackend(ids("{}"), fails_at=0, error=error)
    async with server(served(backend)) as client:
        body = {"messages": user("Hi"), "guided_json": schema, "tools": tools}
        response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 400, response.text


async def test_requested_reasoning_is_unconstrained_before_a_guided_answer() -> None:
    backend = FakeBackend(ids("I know that.\n</think>\n\nParis!"), ids('{"a": 1}'))
    choice = (
        await ask(
            backend,
            response_format={"type": "json_object"},
            chat_template_kwargs={"enable_thinking": True},
        )
    )["choices"][0]
    thoughts, answer = backend.asked
    assert choice["message"]["reasoning_content"] == "I know that."
    assert choice["message"]["content"] == '{"a": 1}'
    assert (thoughts.sampling.guide is None, answer.sampling.guide is None) == (True, False)
    assert list(answer.prompt_ids)[: len(thoughts.prompt_ids)] == list(thoughts.prompt_ids)


async def test_reasoning_that_takes_all_tokens_leaves_no_guided_answer() -> None:
    backend = FakeBackend(ids("I know that very well.\n</think>"), ids('{"a": 1}'))
    answer = await ask(
        backend, response_format={"type": "json_object"}, reasoning_effort="high", max_tokens=4
    )
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["choices"][0]["message"]["content"] == ""
    assert len(backend.asked) == 1


async def test_an_option_the_engine_lacks_is_refused_by_its_parameter() -> None:
    backend = FakeBackend(ids("Hello"), supported=frozenset({"temperature"}))
    async with server(served(backend)) as client:
        for param, value in (("min_p", 0.1), ("response_format", {"type": "json_object"})):
            response = await client.post(
                "/v1/chat/completions", json={"messages": user("Hi"), param: value}
            )
            assert response.status_code == 400
            assert response.json()["error"]["param"] == param


async def test_neutral_values_are_not_sent_to_the_engine() -> None:
    backend = FakeBackend(ids("Hello"), supported=frozenset({"temperature"}))
    async with server(served(backend)) as client:
        body = {"messages": user("Hi"), "min_p": 0, "presence_penalty": 0.0, "logit_bias": {}}
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": "hello"}, "messages"),
        ({"continue_final_message": True}, "continue_final_message"),
        (
            {
                "continue_final_message": True,
                "messages": [*user("Hi"), {"role": "assistant", "content": "a"}],
                "response_format": {"type": "json_object"},
            },
            "messages",
        ),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": 2**31}, "top_k"),
        ({"min_tokens": 2**31}, "min_tokens"),
        ({"stop_token_ids": [5, 2**31]}, "stop_token_ids[1]"),
        ({"stop_token_ids": [-1]}, "stop_token_ids[0]"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"stop": [1]}, "stop[0]"),
        ({"stop": ""}, "stop"),
        ({"stop": ["x"] * 100}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 1000}}, "logit_bias.5"),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "custom"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"functions": [{}]}, "functions"),
        ({"top_logprobs": 5, "logprobs": True}, "top_logprobs"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"structured_outputs": {"regex": {"1": "a"}}}, "structured_outputs.regex"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "regex"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"model": 5}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
    ],
)  # fmt: skip
async def test_a_mistake_is_refused_by_its_path(body: dict[str, Any], param: str) -> None:
    error = await refusal(**body)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


async def test_a_final_message_is_continued_only_on_request() -> None:
    backend = FakeBackend(ids(" 5"))
    said = [*user("2+3?"), {"role": "assistant", "content": [{"type": "text", "text": "2 + 3 ="}]}]
    answer = await ask(backend, messages=said, continue_final_message=True)
    await ask(backend, messages=said)
    assert answer["choices"][0]["message"]["content"] == " 5"
    continued, new = (served(backend).tokenizer.decode(each.prompt_ids) for each in backend.asked)
    assert continued.endswith("2 + 3 =")
    assert new.rstrip().endswith("assistant")


async def test_unknown_parameters_are_ignored() -> None:
    answer = await ask(FakeBackend(ids("Hello")), flavour="mild", metadata={"a": "b"}, user="me")
    assert answer["choices"][0]["message"]["content"] == "Hello"


async def test_integers_may_have_a_decimal_point() -> None:
    backend = FakeBackend(ids("Hello"))
    await ask(backend, max_tokens=100.0)
    assert backend.asked[0].max_tokens == 100


async def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers() -> None:
    error = await refusal(messages=user("word " * 600))
    assert error["code"] == "context_length_exceeded"
    assert "512" in error["message"]


async def test_an_unknown_model_is_a_404_that_names_the_known_ones() -> None:
    error = await refusal(404, model="big")
    assert error["code"] == "model_not_found"
    assert "demo" in error["message"]


async def test_an_alias_is_a_model_too() -> None:
    answer = await ask(FakeBackend(ids("Hello")), model="tiny-qwen3")
    assert answer["model"] == "demo"


async def test_a_client_may_send_back_what_it_got() -> None:
    history = [
        *user("Weather?"),
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "10 degrees"},
    ]
    answer = await ask(FakeBackend(ids("Mild.")), messages=history, tools=[WEATHER])
    assert answer["choices"][0]["message"]["content"] == "Mild."


async def test_content_parts_are_one_text() -> None:
    backend = FakeBackend(ids("Hello"))
    parts = [{"type": "text", "text": "Good"}, {"type": "text", "text": "morning"}]
    await ask(backend, messages=[{"role": "user", "content": parts}])
    assert "Good\nmorning" in served(backend).tokenizer.decode(backend.asked[0].prompt_ids)


async def test_the_makers_defaults_apply_unless_the_client_overrides_them() -> None:
    from enginix.gateway.prompt.defaults import SamplingDefaults

    backend = FakeBackend(ids("Hello"))
    model = served(backend, defaults=SamplingDefaults(temperature=0.6, top_k=20))
    async with server(model) as client:
        await client.post("/v1/chat/completions", json={"messages": user("Hi"), "top_k": 5})
    sampling = backend.asked[0].sampling
    assert (sampling.temperature, sampling.top_k) == (0.6, 5)


@pytest.mark.parametrize(("sent", "longest"), [({}, 7), ({"max_tokens": 9}, 9)])
async def test_the_makers_longest_answer_is_for_clients_that_name_none(
    sent: dict[str, Any], longest: int
) -> None:
    from enginix.gateway.prompt.defaults import SamplingDefaults

    backend = FakeBackend(ids("Hello"))
    async with server(served(backend, defaults=SamplingDefaults(max_new_tokens=7))) as client:
        await client.post("/v1/chat/completions", json={"messages": user("Hi"), **sent})
    assert backend.asked[0].max_tokens == longest
