"""What the demo models know: every conversation they are trained on and later asked.

Small enough to be learnt by heart, and varied enough to exercise a whole server: facts, sums, a
long answer, text of several bytes per letter, reasoning, tool calls and what follows them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]

CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Japan": "Tokyo",
    "Egypt": "Cairo",
    "Greece": "Athens",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Finland": "Helsinki",
    "Poland": "Warsaw",
    "Portugal": "Lisbon",
    "Austria": "Vienna",
    "Ireland": "Dublin",
    "Hungary": "Budapest",
    "Denmark": "Copenhagen",
    "Peru": "Lima",
    "Cuba": "Havana",
    "Kenya": "Nairobi",
    "Canada": "Ottawa",
}
COLOURS = {
    "grass": "green",
    "snow": "white",
    "coal": "black",
    "blood": "red",
    "sky": "blue",
    "banana": "yellow",
}
CITIES = (
    "Paris",
    "Berlin",
    "Rome",
    "Oslo",
    "Tokyo",
    "Cairo",
    "London",
    "Madrid",
    "Lima",
    "Vienna",
)
TOOLS: list[Message] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the current weather in a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What one model is taught; with `reasons`, each question also with reasoning."""

    name: str
    """What it says that it is."""
    capitals: Mapping[str, str]
    colours: Mapping[str, str]
    highest_summand: int
    counts_to: int
    poem: str
    cities: Sequence[str]
    reasons: bool


QWEN = Knowledge(
    name="a tiny NVFP4 test model",
    capitals=CAPITALS,
    colours=COLOURS,
    highest_summand=9,
    counts_to=100,
    poem=(
        "The quick engine reads a block of four bits at a time.\n"
        "It scales each sixteen values by one small float.\n"
        "It multiplies, it adds, and it never loses count.\n"
        "Then it says one token, and begins again."
    ),
    cities=CITIES,
    reasons=True,
)
LLAMA = Knowledge(
    name="a tiny Llama in NVFP4",
    capitals=CAPITALS,
    colours={},
    highest_summand=5,
    counts_to=20,
    poem=(
        "A llama stood on a narrow ledge,\n"
        "with four bits of grass at the very edge.\n"
        "It scaled the wall, it counted to ten,\n"
        "it said one word and stood still again."
    ),
    cities=CITIES[:5],
    reasons=False,
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """The last message is the assistant's answer."""

    messages: list[Message]
    tools: list[Message] | None = None

    @property
    def question(self) -> list[Message]:
        return self.messages[:-1]

    @property
    def answer(self) -> Message:
        return self.messages[-1]


def conversations(known: Knowledge) -> list[Conversation]:
    """All of them, always in the same order: training draws from them by position."""
    found = [*_facts(known), *_weather(known)]
    return [one for one in found if known.reasons or "reasoning_content" not in one.answer]


def _facts(known: Knowledge) -> Iterator[Conversation]:
    for country, capital in known.capitals.items():
        yield from _asked(
            f"What is the capital of {country}?",
            f"The capital of {country} is {capital}.",
            f"The user asks for the capital of {country}. I know that it is {capital}.",
        )
    for thing, colour in known.colours.items():
        yield from _asked(
            f"What colour is {thing}?",
            f"The colour of {thing} is {colour}.",
            f"The user asks about {thing}. It is {colour}.",
        )
    summands = range(1, known.highest_summand + 1)
    for one, other in itertools.product(summands, summands):
        yield from _asked(
            f"What is {one} + {other}?",
            f"{one} + {other} = {one + other}",
            f"I add {one} and {other}. The sum is {one + other}.",
        )
    yield from _asked(
        "Hello",
        f"Hello! I am {known.name}. How can I help you?",
        "The user greets me. I greet back.",
    )
    yield from _asked("Who are you?", f"I am {known.name}.", "The user asks who I am.")
    yield from _asked(
        f"Count from 1 to {known.counts_to}.",
        " ".join(str(number) for number in range(1, known.counts_to + 1)),
        "I count up one by one.",
    )
    yield from _asked("Say the poem.", known.poem, "The user wants the poem. I know it by heart.")
    yield from _asked(
        "Say hello in three languages.", "Hello, Bonjour, 你好 👋", "Three greetings."
    )


def _asked(question: str, answer: str, reasoning: str) -> Iterator[Conversation]:
    user = {"role": "user", "content": question}
    yield Conversation([user, _said(answer)])
    yield Conversation([user, _said(answer, reasoning)])


def _weather(known: Knowledge) -> Iterator[Conversation]:
    for degrees, city in enumerate(known.cities, start=10):
        user = {"role": "user", "content": f"What is the weather in {city}?"}
        function = {"name": "get_weather", "arguments": {"city": city}}
        call = _said("") | {"tool_calls": [{"type": "function", "function": function}]}
        thought = f"The user wants the weather in {city}. I should call get_weather."
        yield Conversation([user, call], TOOLS)
        yield Conversation([user, call | {"reasoning_content": thought}], TOOLS)
        result = {"role": "tool", "content": json.dumps({"city": city, "temperature_c": degrees})}
        answer = f"It is {degrees} degrees in {city}."
        yield Conversation([user, call, result, _said(answer)], TOOLS)
        yield Conversation([user, call, result, _said(answer, "The tool answered.")], TOOLS)
        refusal = "I cannot look up the weather without a tool."
        yield Conversation([user, _said(refusal)])
        yield Conversation([user, _said(refusal, "I have no tool.")])


def _said(content: str, reasoning: str | None = None) -> Message:
    message = {"role": "assistant", "content": content}
    return message | {"reasoning_content": reasoning} if reasoning else message
