"""Renders every available chat template with transformers and with enginix: byte for byte equal."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pytest
from chat.oracle import (
    CONVERSATIONS,
    SHIPPED,
    SPECIAL,
    WORD,
    assistant,
    bare_tokenizer,
    published,
    user,
)

from enginix.chat.content_format import ContentFormat
from enginix.chat.template import ChatTemplate
from enginix.errors import TemplateRefused

SHIPPED_SOURCES = {
    name: (place / "chat_template.jinja").read_text(encoding="utf-8")
    for name, place in SHIPPED.items()
}
PUBLISHED = published()
TEMPLATES = SHIPPED_SOURCES | PUBLISHED


@cache
def compiled(name: str) -> ChatTemplate:
    return ChatTemplate({"default": TEMPLATES[name]}, SPECIAL)


def reference(
    source: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    **variables: Any,
) -> str | Exception:
    """transformers' result."""
    variables = {"add_generation_prompt": True, **variables}
    try:
        text = bare_tokenizer().apply_chat_template(
            copy.deepcopy(messages), tools=tools, chat_template=source, tokenize=False, **variables
        )
    except Exception as error:  # a template can raise anything Python can
        return error
    assert isinstance(text, str)
    return text


def ours(
    template: ChatTemplate,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    **variables: Any,
) -> str | Exception:
    try:
        return template.render(messages, tools, **variables)
    except TemplateRefused as error:
        return error


def in_parts(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        for message in messages
    ]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_renders_as_in_transformers(name: str) -> None:
    template = compiled(name)
    for what, (messages, tools, variables) in CONVERSATIONS.items():
        made = ours(template, messages, tools, **variables)
        # Clients send texts; transformers leaves it to its caller to know what a template reads.
        parts = template.contents is ContentFormat.PARTS
        sent = in_parts(messages) if parts else messages
        expected = reference(TEMPLATES[name], sent, tools, **variables)
        if isinstance(expected, Exception):
            # What it refuses may be bent to its rules, and else is refused.
            continue
        assert made == expected, what


# These need other roles, another dialect, or audio.
WITHOUT_USERS = {
    "Qwen-Qwen2-VL-2B",
    "Qwen-Qwen3-ASR-0.6B-hf",
    "Qwen-Qwen3-ASR-1.7B",
    "Qwen-Qwen3-ForcedAligner-0.6B-hf",
    "Qwen-Qwen3-Reranker-0.6B",
    "StanfordAIMI-GREEN-RadLlama2-7b",
    "microsoft-VibeVoice-ASR-HF",
    "nvidia-llama-nemotron-embed-vl-1b-v2",
}


def test_no_template_drops_a_user_message() -> None:
    messages = [user(WORD)]
    swallowed = {
        name for name in PUBLISHED if WORD not in str(ours(compiled(name), messages, None))
    }
    refused = {
        name for name in swallowed if isinstance(ours(compiled(name), messages, None), Exception)
    }
    assert swallowed - refused == WITHOUT_USERS
    assert len(refused) < 20


ODD_CALLS = ['"Paris"', '["a"]', "", '{"city": "Par', "5", "null"]


def test_no_template_that_takes_a_call_stumbles_over_its_arguments() -> None:
    messages, tools, variables = CONVERSATIONS["a call"]
    takes = [
        name
        for name in PUBLISHED
        if not isinstance(ours(compiled(name), messages, tools, **variables), Exception)
    ]
    assert len(takes) > 700
    stumbled = []
    for name in takes:
        for arguments in ODD_CALLS:
            function = {"name": "get_weather", "arguments": arguments}
            call = {"id": "call00001", "type": "function", "function": function}
            odd = [messages[0], {**messages[1], "tool_calls": [call]}, *messages[2:]]
            if isinstance(ours(compiled(name), odd, tools), Exception):
                stumbled.append((name, arguments))
    assert stumbled == []


@pytest.mark.parametrize("name", SHIPPED_SOURCES)
@pytest.mark.parametrize("begun", ["Once", "Once upon a time,\n", "<b>é 👋"])
def test_an_answer_is_continued_as_in_transformers(name: str, begun: str) -> None:
    # The gateway appends it to the prompt; transformers strips trailing spaces.
    messages = [user(WORD), assistant(begun)]
    expected = reference(
        SHIPPED_SOURCES[name],
        messages,
        None,
        continue_final_message=True,
        add_generation_prompt=False,
    )
    made = str(ours(compiled(name), messages[:-1], None)) + begun
    assert str(expected).rstrip() == made.rstrip()
