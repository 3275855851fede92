"""A strict template gets the message form it expects on every route that renders it."""

from __future__ import annotations

from typing import Any

from fakes.backend import FakeBackend
from gateway.harness import ids, served, server

from enginix.chat.template import ChatTemplate

# Loops over parts, as vision models' templates do, and over arguments, as Qwen3-Coder's does.
STRICT = ChatTemplate(
    {
        "default": "{% for m in messages %}[{{ m.role }}:"
        "{% for part in m.content %}{{ part.text }}{% endfor %}"
        "{% for call in m.tool_calls or [] %}"
        "{% for name, value in call.function.arguments | items %}<{{ name }}={{ value }}>"
        "{% endfor %}{% endfor %}]{% endfor %}"
    }
)
RENDERED = "[user:Where?][assistant:<arguments=Paris>][tool:sunny]"

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '"Paris"'}}
CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
]


async def test_tokenize_counts_what_the_template_wrote() -> None:
    async with server(served(FakeBackend([]), template=STRICT)) as client:
        answer = await client.post("/tokenize", json={"messages": CHAT})
        assert answer.status_code == 200, answer.text
        assert answer.json()["tokens"] == ids(RENDERED)


async def test_a_chat_reaches_the_model_as_the_template_rendered_it() -> None:
    backend = FakeBackend(ids("Yes"))
    async with server(served(backend, template=STRICT)) as client:
        body = {"model": "demo", "messages": CHAT}
        answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert list(backend.asked[0].prompt_ids) == ids(RENDERED)


async def test_the_other_dialect_counts_it_too() -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Where?"}]}
    async with server(served(FakeBackend([]), template=STRICT)) as client:
        answer = await client.post("/v1/messages/count_tokens", json=body)
    assert answer.json()["input_tokens"] == len(ids("[user:Where?]"))
