"""One request of any kind, from its beginning to a verdict: right, or a sentence on what is not."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

import httpx

from benchmarks.soaking.questions import (
    CHAT,
    HEAVY_GUIDES,
    HOSTILE_GUIDES,
    INVALID,
    SCHEMA,
    WEATHER,
    Question,
    guided,
    said,
    said_in_stream,
    user,
)

Verdict = str | None
CITIES = ("Paris", "Rome", "Oslo")


@dataclass(frozen=True, slots=True)
class Asker:
    client: httpx.AsyncClient
    chance: random.Random

    async def whole(self, question: Question) -> Verdict:
        answer = await self.client.post(CHAT, json=question.body)
        if answer.status_code != 200:
            return _refused(answer)
        found = said(answer.json()["choices"][0]["message"])
        return None if found == question.answer else f"{found} instead of {question.answer}"

    async def stream(self, question: Question) -> Verdict:
        body = {**question.body, "stream": True}
        async with self.client.stream("POST", CHAT, json=body) as answer:
            if answer.status_code != 200:
                await answer.aread()
                return _refused(answer)
            data = [line[6:] async for line in answer.aiter_lines() if line.startswith("data: ")]
        if not data or data[-1] != "[DONE]":
            return f"a stream without its end: {data[-1:]}"
        found = said_in_stream([json.loads(each) for each in data[:-1]])
        return None if found == question.answer else f"{found} instead of {question.answer}"

    async def leave(self, question: Question) -> Verdict:
        """In one of four windows: at once, after the head, after an event, after some of them."""
        events = self.chance.choice((None, 0, 1, 8))
        if events is None:
            return await self._leave_at_once(question)
        body = {**question.body, "stream": True}
        async with self.client.stream("POST", CHAT, json=body) as answer:
            if answer.status_code != 200:
                await answer.aread()
                return _refused(answer)
            async with aclosing(answer.aiter_raw()) as pieces:
                while events and await anext(pieces, None) is not None:
                    events -= 1
        return None

    async def _leave_at_once(self, question: Question) -> Verdict:
        patience = httpx.Timeout(60, read=self.chance.uniform(0.001, 0.05))
        with suppress(httpx.ReadTimeout):
            await self.client.post(CHAT, json=question.body, timeout=patience)
        return None

    async def forced_call(self, question: Question) -> Verdict:
        body = {
            **{key: question.body[key] for key in ("model", "temperature", "max_tokens")},
            "messages": user("What is the weather in Paris?"),
            "tools": [WEATHER],
            "tool_choice": "required",
        }
        answer = await self.client.post(CHAT, json=body)
        if answer.status_code != 200:
            return _refused(answer)
        calls = said(answer.json()["choices"][0]["message"]).calls
        right = [name for name, text in calls if json.loads(text).get("city") in CITIES]
        return None if right == ["get_weather"] else f"the calls are {calls}"

    async def schema(self, question: Question) -> Verdict:
        form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}}
        body = {
            **{key: question.body[key] for key in ("model", "temperature", "max_tokens")},
            "messages": user("What is the weather in Paris?"),
            "response_format": form,
        }
        answer = await self.client.post(CHAT, json=body)
        if answer.status_code != 200:
            return _refused(answer)
        content = answer.json()["choices"][0]["message"]["content"]
        return None if set(json.loads(content)) == {"city", "degrees"} else f"content {content!r}"

    async def guide(self, question: Question) -> Verdict:
        """A good one, new each time, so that none is in a cache."""
        letters = "".join(self.chance.choices("abcdefgh", k=6))
        body = {"model": "demo", "prompt": "x", "max_tokens": 30, "guided_regex": f"{letters}[0-9]"}
        answer = await self.client.post("/v1/completions", json=body)
        if answer.status_code != 200:
            return _refused(answer)
        text = answer.json()["choices"][0]["text"]
        right = text[:-1] == letters and text[-1:].isdigit()
        return None if right else f"{text!r} for {letters}[0-9]"

    async def hostile_guide(self, question: Question) -> Verdict:
        guide = guided(question.model, *self.chance.choice(HOSTILE_GUIDES))
        body = {"model": question.model, "messages": user("x"), "max_tokens": 2, **guide}
        return _is(await self.client.post(CHAT, json=body), 400)

    async def heavy_guide(self, question: Question) -> Verdict:
        """It may be followed or refused, in bounded time, and nobody else may notice."""
        kind, text = self.chance.choice(HEAVY_GUIDES)
        guide = guided("demo", kind, text.format(self.chance.randrange(10**9)))
        body = {"model": "demo", "messages": user("x"), "max_tokens": 2, **guide}
        answer = await self.client.post(CHAT, json=body)
        return None if answer.status_code in (200, 400) else _refused(answer)

    async def invalid(self, question: Question) -> Verdict:
        path, body, status = self.chance.choice(INVALID)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        return _is(await self.client.post(path, content=content, headers=headers), status)

    async def responses(self, question: Question) -> Verdict:
        body = {"model": question.model, "input": "What is the capital of France?",
                "temperature": 0, "max_output_tokens": 100}  # fmt: skip
        answer = await self.client.post("/v1/responses", json=body)
        return _says_paris(answer)

    async def messages(self, question: Question) -> Verdict:
        body = {"model": question.model, "messages": user("What is the capital of France?"),
                "temperature": 0, "max_tokens": 100}  # fmt: skip
        answer = await self.client.post("/v1/messages", json=body)
        return _says_paris(answer)


Kind = Callable[[Asker, Question], Awaitable[Verdict]]
# How often each is drawn. What only one model knows names it.
KINDS: dict[str, tuple[Kind, int, str | None]] = {
    "stream": (Asker.stream, 30, None),
    "whole": (Asker.whole, 25, None),
    "leave": (Asker.leave, 15, None),
    "forced call": (Asker.forced_call, 5, None),
    "schema": (Asker.schema, 5, None),
    "guide": (Asker.guide, 5, "demo"),
    "hostile guide": (Asker.hostile_guide, 3, None),
    "invalid": (Asker.invalid, 6, None),
    "responses": (Asker.responses, 3, None),
    "messages": (Asker.messages, 3, None),
}
# Drawn by one sender alone: each may take the trial's five seconds.
HEAVY = ("heavy guide", Asker.heavy_guide)


def _is(answer: httpx.Response, status: int) -> Verdict:
    if answer.status_code == status:
        return None
    return f"status {answer.status_code} instead of {status}: {answer.text[:200]}"


def _refused(answer: httpx.Response) -> str:
    return f"status {answer.status_code}: {answer.text[:300]}"


def _says_paris(answer: httpx.Response) -> Verdict:
    if answer.status_code != 200:
        return _refused(answer)
    return None if "Paris" in answer.text else f"no Paris in {answer.text[:300]}"


def is_about(kind: str) -> bool:
    """Whether an answer of this kind shows that tokens come out of the model."""
    return kind not in ("invalid", "hostile guide", "heavy guide", "leave")
