from __future__ import annotations

from typing import Any

import pytest
from fakes.backend import FakeBackend
from gateway.harness import events, ids, served, server


async def complete(backend: FakeBackend, **body: Any) -> dict[str, Any]:
    async with server(served(backend)) as client:
        response = await client.post("/v1/completions", json={"prompt": "Once", **body})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


async def test_text_is_written_on() -> None:
    reply = ids(" upon a time")
    answer = await complete(FakeBackend(reply))
    assert answer["choices"][0]["text"] == " upon a time"
    assert answer["usage"]["completion_tokens"] == len(reply)


async def test_markup_is_only_text_here() -> None:
    answer = await complete(FakeBackend(ids("<think>\nhm\n</think>")))
    assert "hm" in answer["choices"][0]["text"]


@pytest.mark.parametrize("stream", [False, True])
async def test_log_probabilities_of_only_the_chosen_token_are_still_a_list(
    stream: bool,
) -> None:
    async with server(served(FakeBackend(ids("One two")))) as client:
        body = {"prompt": "Once", "logprobs": 0, "stream": stream}
        answer = await client.post("/v1/completions", json=body)
    chunks = events(answer.text)[:-1] if stream else [answer.json()]
    logprobs = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    for each in filter(None, logprobs):
        pairs = zip(each["tokens"], each["token_logprobs"], strict=True)
        assert each["top_logprobs"] == [{token: logprob} for token, logprob in pairs]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_without_tokens_is_an_empty_completion_with_usage(stream: bool) -> None:
    backend = FakeBackend(ids("One two"))
    more = {"stream_options": {"include_usage": True}} if stream else {}
    async with server(served(backend)) as client:
        body = {"prompt": "Once", "max_tokens": 0, "echo": True, "stream": stream, **more}
        answer = await client.post("/v1/completions", json=body)
    chunks = events(answer.text)[:-1] if stream else [answer.json()]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(choice["text"] for choice in choices) == "Once"
    assert choices[-1]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["prompt_tokens"] == len(ids("Once"))
    assert chunks[-1]["usage"]["completion_tokens"] == 0
    assert backend.asked == []


async def test_a_prompt_may_fill_the_context_if_no_answer_is_requested() -> None:
    async with server(served(FakeBackend(ids("x")), context=5)) as client:
        body = {"prompt": [1, 2, 3, 4, 5], "max_tokens": 0}
        whole = await client.post("/v1/completions", json=body)
        more = await client.post("/v1/completions", json={**body, "max_tokens": 1})
    assert (whole.status_code, more.status_code) == (200, 400)


async def test_echo_begins_with_the_prompt() -> None:
    answer = await complete(FakeBackend(ids(" upon a time")), echo=True)
    assert answer["choices"][0]["text"] == "Once upon a time"


async def test_a_list_of_prompts_gives_a_choice_for_each() -> None:
    backend = FakeBackend(ids("1"), ids("2"))
    answer = await complete(backend, prompt=["One", "Two"], n=2)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [list(request.prompt_ids) for request in backend.asked] == [
        ids("One"),
        ids("One"),
        ids("Two"),
        ids("Two"),
    ]


@pytest.mark.parametrize("prompt", [[5, 6, 7], [[5, 6, 7]]])
async def test_token_ids_are_taken_as_they_are(prompt: Any) -> None:
    backend = FakeBackend(ids("Hello"))
    await complete(backend, prompt=prompt)
    assert list(backend.asked[0].prompt_ids) == [5, 6, 7]


async def test_a_stream_adds_up_to_the_complete_text() -> None:
    async with server(served(FakeBackend(ids(" upon a 你好 time")))) as client:
        response = await client.post(
            "/v1/completions", json={"prompt": "Once", "stream": True, "echo": True}
        )
    chunks = events(response.text)
    text = "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1])
    assert text == "Once upon a 你好 time"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1] == "[DONE]"


async def scored(backend: FakeBackend, *, stream: bool, **body: Any) -> tuple[str, dict[str, Any]]:
    """The text and the log probabilities of an answer that begins with its prompt."""
    backend.supports |= {"top_logprobs", "prompt_logprobs"}
    asked = {"prompt": "Once upon", "echo": True, "logprobs": 2, "stream": stream, **body}
    async with server(served(backend)) as client:
        response = await client.post("/v1/completions", json=asked)
    assert response.status_code == 200, response.text
    chunks = events(response.text)[:-1] if stream else [response.json()]
    choices = [chunk["choices"][0] for chunk in chunks]
    lists = [choice["logprobs"] for choice in choices if choice["logprobs"]]
    joined = {name: [each for one in lists for each in one[name]] for name in lists[0]}
    return "".join(choice["text"] for choice in choices), joined


@pytest.mark.parametrize("stream", [False, True])
async def test_an_echo_has_the_log_probabilities_of_the_prompt(stream: bool) -> None:
    prompt, answer = ids("Once upon"), ids(" a time")
    text, logprobs = await scored(FakeBackend(answer), stream=stream)
    assert text == "".join(logprobs["tokens"]) == "Once upon a time"
    of_prompt = [None, *[-1.0] * (len(prompt) - 1)]
    assert logprobs["token_logprobs"] == of_prompt + [-0.5] * len(answer)
    assert logprobs["top_logprobs"][0] is None
    assert all(len(place) == 2 for place in logprobs["top_logprobs"][1:])
    lengths = [len(token) for token in logprobs["tokens"]]
    assert logprobs["text_offset"] == [sum(lengths[:place]) for place in range(len(lengths))]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_is_scored_without_an_answer(stream: bool) -> None:
    backend = FakeBackend(ids(" a time"))
    text, logprobs = await scored(backend, stream=stream, max_tokens=0)
    assert text == "Once upon"
    assert len(logprobs["token_logprobs"]) == len(ids("Once upon"))
    assert backend.asked[0].max_tokens == 1


async def test_one_token_follows_a_scored_prompt_even_where_the_model_ends() -> None:
    end = served(FakeBackend()).tokenizer.stop_token_ids[0]
    _, logprobs = await scored(FakeBackend([end]), stream=False, max_tokens=1)
    assert len(logprobs["token_logprobs"]) == len(ids("Once upon")) + 1


async def test_every_choice_scores_its_own_prompt() -> None:
    backend = FakeBackend(ids(" x"))
    backend.supports |= {"prompt_logprobs"}
    answer = await complete(backend, prompt=["One two", "Three"], n=2, echo=True, logprobs=0)
    places = [len(choice["logprobs"]["tokens"]) for choice in answer["choices"]]
    each = [len(ids(prompt)) + len(ids(" x")) for prompt in ("One two", "Three")]
    assert places == [each[0], each[0], each[1], each[1]]


async def test_an_engine_that_scores_no_prompts_says_so() -> None:
    async with server(served(FakeBackend(ids("x")))) as client:
        body = {"prompt": "Once", "echo": True, "logprobs": 0}
        response = await client.post("/v1/completions", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "echo")
    assert "no log probabilities of a prompt" in error["message"]


async def test_log_probabilities_come_with_their_places() -> None:
    answer = await complete(FakeBackend(ids("One two")), logprobs=0)
    logprobs = answer["choices"][0]["logprobs"]
    assert "".join(logprobs["tokens"]) == "One two"
    assert logprobs["text_offset"][0] == 0
    assert len(logprobs["text_offset"]) == len(logprobs["token_logprobs"])


async def test_the_likeliest_tokens_are_named_for_each_place() -> None:
    backend = FakeBackend(ids("One two"))
    backend.supports |= {"top_logprobs"}
    logprobs = (await complete(backend, logprobs=2))["choices"][0]["logprobs"]
    assert len(logprobs["top_logprobs"]) == len(logprobs["tokens"])
    for token, top in zip(logprobs["tokens"], logprobs["top_logprobs"], strict=True):
        assert top[token] == -0.5
        assert len(top) == 2


async def test_streamed_log_probabilities_match_the_complete_answer() -> None:
    async with server(served(FakeBackend(ids("One two three four")))) as client:
        body = {"prompt": "Once", "logprobs": 0, "stream": True}
        chunks = events((await client.post("/v1/completions", json=body)).text)
    found = [chunk["choices"][0]["logprobs"] for chunk in chunks[:-1]]
    streamed = [place for each in found if each for place in each["text_offset"]]
    whole = await complete(FakeBackend(ids("One two three four")), logprobs=0)
    assert streamed == whole["choices"][0]["logprobs"]["text_offset"]
    assert len(streamed) > 1


async def test_an_empty_suffix_is_ignored() -> None:
    answer = await complete(FakeBackend(ids("One two")), suffix="")
    assert answer["choices"][0]["text"] == "One two"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"max_tokens": -1, "echo": True}, "max_tokens"),
        ({"structured_outputs": {"grammar": ""}}, "structured_outputs.grammar"),
        ({"guided_regex": ""}, "guided_regex"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": [5, -1]}, "prompt[1]"),
        ({"prompt": [5, 10**9]}, "prompt[1]"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["a", 5]}, "prompt[1]"),
        ({"logprobs": 3}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"best_of": 4}, "best_of"),
        ({"prompt": "word " * 600}, "prompt"),
    ],
)
async def test_a_mistake_is_refused_by_its_path(body: dict[str, Any], param: str) -> None:
    async with server(served(FakeBackend(ids("Hello")))) as client:
        response = await client.post("/v1/completions", json={"prompt": "Once", **body})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
