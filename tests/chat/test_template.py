from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from chat.speech import DEMO, RECORDINGS

from enginix.chat.template import ChatTemplate, starts_inside
from enginix.chat.tokens import Tokenizer
from enginix.errors import EngineDamaged, RequestError, TemplateMissing, TemplateRefused

EVALS = json.loads((RECORDINGS / "demo-evals.json").read_text(encoding="utf-8"))
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "description": "é <b> 'x'"}}
PLAIN = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
# As strict as Mistral's and Gemma's.
ALTERNATING = (
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "[{{ m.role }}:{{ m.content }}]{% endfor %}"
)


def render(source: str, *messages: dict[str, Any], **how: Any) -> str:
    return ChatTemplate({"default": source}).render(list(messages) or [USER], **how)


def test_every_evaluation_prompt_is_the_one_the_reference_rendered() -> None:
    template, tokenizer = ChatTemplate.load(DEMO), Tokenizer.load(DEMO)
    for case in EVALS:
        prompt = template.render(case["messages"], case["tools"], enable_thinking=case["thinking"])
        assert prompt == case["prompt"]
        assert tokenizer.encode(prompt) == case["prompt_ids"]
    assert len(EVALS) == 284


def test_json_is_written_without_escapes_for_html_or_ascii() -> None:
    text = render("{{ tools | tojson }}{{ tools[0] | tojson(indent=1) }}", tools=[TOOL])
    assert text == json.dumps([TOOL], ensure_ascii=False) + json.dumps(
        TOOL, ensure_ascii=False, indent=1
    )


def test_blocks_are_trimmed_as_templates_expect() -> None:
    assert render("  {% if true %}\nyes\n  {% endif %}\nno") == "yes\nno"


def test_loops_may_be_left() -> None:
    assert render("{% for m in messages %}{% break %}{% endfor %}x") == "x"


def test_the_generation_tag_is_only_its_body() -> None:
    assert render("{% generation %}a{{ messages[0].content }}{% endgeneration %}b") == "aHib"


def test_templates_can_ask_for_the_date() -> None:
    template = ChatTemplate(
        {"default": "{{ strftime_now('%d %b %Y') }}"}, now=lambda: datetime(2025, 3, 9)
    )
    assert template.render([USER]) == "09 Mar 2025"


def test_a_template_cannot_leave_its_sandbox() -> None:
    with pytest.raises(TemplateRefused, match="SecurityError"):
        render("{{ messages.__class__.__mro__ }}")
    with pytest.raises(TemplateRefused, match="SecurityError"):
        render("{{ messages.append(1) }}")


def test_small_numbers_and_short_texts_can_be_multiplied() -> None:
    assert render("{{ 2 * 3 }}{{ 2 ** 10 }}{{ 'ab' * 2 }}{{ 1.5 * 2 }}{{ 2 ** 0.5 > 1 }}") == (
        "61024abab3.0True"
    )


def test_special_tokens_are_variables() -> None:
    template = ChatTemplate({"default": "{{ bos_token }}{{ eos_token }}"}, {"bos_token": "<s>"})
    assert template.render([USER]) == "<s>"


def test_the_client_s_own_variables_reach_the_template() -> None:
    how = {"chat_template_kwargs": {"enable_thinking": False}}
    assert render("{{ enable_thinking }}{{ add_generation_prompt }}", **how) == "FalseTrue"


@pytest.mark.parametrize("name", ["messages", "tools", "self"])
def test_a_client_s_variables_cannot_override_the_request_s_fields(name: str) -> None:
    with pytest.raises(RequestError, match=f"must not set {name}"):
        render(PLAIN, chat_template_kwargs={name: []})


def test_no_tools_are_none_to_the_template() -> None:
    assert render("{{ tools is none }}", tools=[]) == "True"


def test_a_template_s_own_error_keeps_its_message() -> None:
    with pytest.raises(TemplateRefused, match=r"messages: only images, please$"):
        render("{{ raise_exception('only images, please') }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ nothing.at.all }}",
        "{{ 1 + 'a' }}",
        "{{ messages[7].content }}",
        "{{ 1 / 0 }}",
        "{% for i in range(10000000) %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% include 'other' %}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ 'a' * 100000000000 }}",
        "{{ 100000000000 * [1] }}",
        "{{ (10 ** 99999) ** 99999 }}",
    ],
)
def test_any_error_in_a_template_is_a_refusal(source: str) -> None:
    with pytest.raises(TemplateRefused):
        render(source)


def test_arguments_nested_beyond_reason_are_a_refusal() -> None:
    nested: Any = {}
    # Python 3.13's json goes ten thousand deep.
    for _ in range(100_000):
        nested = {"a": nested}
    with pytest.raises(TemplateRefused):
        render("{{ tools | tojson }}", tools=[nested])


def test_a_broken_template_is_found_when_it_is_loaded() -> None:
    with pytest.raises(EngineDamaged, match="broken in line 2"):
        ChatTemplate({"default": "\n{% if %}"})


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 // 0 }}{{ 'x' | nothing }}",
        "{% include %}",
        "{% for a in b %}" * 60 + "{% endfor %}" * 60,
        "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    ],
)
def test_a_template_that_cannot_be_compiled_is_one_sentence(source: str) -> None:
    with pytest.raises(EngineDamaged, match="the chat template 'default'"):
        ChatTemplate({"default": source})


def test_without_a_template_there_are_no_chats_but_completions() -> None:
    with pytest.raises(TemplateMissing, match="/v1/completions"):
        ChatTemplate({}).render([USER])


def test_a_conversation_that_a_template_takes_is_not_touched() -> None:
    messages = [USER, USER, {"role": "system", "content": "late"}]
    assert render(PLAIN, *messages) == "[user:Hi][user:Hi][system:late]"


def test_consecutive_roles_are_merged_for_a_template_that_refuses_them() -> None:
    messages = [USER, {"role": "user", "content": "there"}]
    assert render(ALTERNATING, *messages) == "[user:Hi\n\nthere]"


def test_a_system_message_joins_the_user_s_where_the_template_knows_none() -> None:
    messages = [{"role": "system", "content": "Be brief."}, USER]
    assert render(ALTERNATING, *messages) == "[user:Be brief.\n\nHi]"


def test_a_late_system_message_goes_first_for_a_template_that_insists() -> None:
    first_only = (
        "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
        "{{ raise_exception('system first') }}{% endif %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    )
    messages = [USER, {"role": "system", "content": "late"}]
    assert render(first_only, *messages) == "[system:late][user:Hi]"


def test_a_conversation_beyond_repair_keeps_the_template_s_message() -> None:
    with pytest.raises(TemplateRefused, match="roles must alternate"):
        render(ALTERNATING, {"role": "assistant", "content": "I begin."}, USER)


def test_arguments_become_text_for_a_template_that_joins_them() -> None:
    source = "{{ 'args ' + messages[0].tool_calls[0].function.arguments }}"
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert render(source, message) == 'args {"a": 1}'


@pytest.mark.parametrize("arguments", ['{"city": "Paris"}', '"Paris"', '["a"]', "", '{"a": "b'])
def test_a_template_that_loops_over_arguments_accepts_any_earlier_arguments(
    arguments: str,
) -> None:
    # As Qwen3-Coder's does.
    source = (
        "{% for call in messages[0].tool_calls %}"
        "{% for name, value in call.function.arguments | items %}<{{ name }}={{ value }}>"
        "{% endfor %}{% endfor %}"
    )
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": arguments}}
    text = render(source, {"role": "assistant", "content": None, "tool_calls": [call]})
    assert text.startswith("<") or not arguments


LOOP = "{% for part in m.content %}{{ part.text }}{% endfor %}"
EVERY = "{% for m in messages %}[{{ m.role }}:BODY]{% endfor %}"


@pytest.mark.parametrize(
    "body",
    [
        LOOP,
        "{% for part in m['content'] | selectattr('type', 'equalto', 'text') %}"
        "{{ part['text'] }}{% endfor %}",
        "{% set c = m.content %}{% for part in c[0:] %}{{ part.text }}{% endfor %}",
        "{% if m.content %}{{ m.content[0]['text'] }}{% endif %}",
        "{% macro say(it) %}{% for part in it %}{{ part.text }}{% endfor %}{% endmacro %}"
        "{{ say(m.content) }}",
        "{% macro say(it) %}{% for part in it %}{{ part.text }}{% endfor %}{% endmacro %}"
        "{{ say(it=m['content']) }}",
    ],
)
def test_a_template_that_reads_parts_gets_parts(body: str) -> None:
    source = EVERY.replace("BODY", body)
    answer = {"role": "assistant", "content": None}
    assert render(source, USER, answer) == "[user:Hi][assistant:]"


def test_a_template_that_reads_both_gets_texts() -> None:
    body = "{% if m.content is string %}={{ m.content }}{% else %}" + LOOP + "{% endif %}"
    source = EVERY.replace("BODY", body)
    parts = [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]
    assert render(source, USER, {"role": "user", "content": parts}) == "[user:=Hi][user:=a\nb]"


@pytest.mark.parametrize(
    "body", ["{% for word in m.content.split(' ') %}{{ word }}{% endfor %}", "{{ m.content[0] }}"]
)
def test_a_template_that_takes_a_text_apart_gets_a_text(body: str) -> None:
    parts = [{"type": "text", "text": "H"}]
    assert render(EVERY.replace("BODY", body), {"role": "user", "content": parts}) == "[user:H]"


def test_messages_of_parts_are_merged_for_a_template_that_refuses_them() -> None:
    strict = ALTERNATING.replace("{{ m.content }}", LOOP)
    assert render(strict, USER, {"role": "user", "content": "there"}) == "[user:Hi\n\nthere]"


def test_the_template_for_tools_is_used_with_tools() -> None:
    template = ChatTemplate({"default": "plain", "tool_use": "tools"})
    assert (template.render([USER]), template.render([USER], [TOOL])) == ("plain", "tools")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", "it"),
        ("tokenizer_config.json", json.dumps({"chat_template": "it"})),
        (
            "tokenizer_config.json",
            json.dumps({"chat_template": [{"name": "default", "template": "it"}]}),
        ),
        ("chat_template.json", json.dumps({"chat_template": "it"})),
    ],
)
def test_the_template_is_found_where_checkpoints_keep_it(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    assert ChatTemplate.load(tmp_path).source == "it"


def test_the_file_wins_over_the_configuration(tmp_path: Path) -> None:
    shutil.copy(DEMO / "tokenizer_config.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "old"}))
    (tmp_path / "chat_template.jinja").write_text("new")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    template = ChatTemplate.load(tmp_path)
    assert template.sources == {"default": "new", "tool_use": "tools"}


@pytest.mark.parametrize("config", [{"chat_template": [1]}, {"chat_template": [{"name": "x"}]}])
def test_a_list_of_templates_without_names_is_damaged(tmp_path: Path, config: Any) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(EngineDamaged, match="chat_template"):
        ChatTemplate.load(tmp_path)


def test_a_template_that_is_not_text_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe{{")
    with pytest.raises(EngineDamaged, match="cannot be read"):
        ChatTemplate.load(tmp_path)


@pytest.mark.parametrize(
    ("prompt", "inside"),
    [
        ("<|im_start|>assistant\n<think>\n", True),
        ("<|Assistant|><think>", True),
        ("[THINK]", True),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("<|im_start|>user\nwhat is <think>?<|im_end|>\n<|im_start|>assistant\n", False),
        ("", False),
    ],
)
def test_a_prompt_that_ends_in_an_open_tag_starts_inside(prompt: str, inside: bool) -> None:
    assert starts_inside(prompt) is inside


def test_the_demo_is_not_shown_what_it_was_not_trained_to_read() -> None:
    template = ChatTemplate.load(DEMO)
    entry = next(one for one in EVALS if one["tools"] and one["messages"][-1]["role"] == "user")
    others = [
        {"type": "function", "function": {"name": f"tool_{n}", "description": "word " * 100}}
        for n in range(30)
    ]
    agents = {"role": "system", "content": "Work like an agent. " * 100}
    question = {"role": "user", "content": "word " * 20_000}

    def render(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        return template.render(messages, tools, enable_thinking=entry["thinking"])

    shown = render([agents, *entry["messages"]], [*others, *entry["tools"]])
    assert shown == entry["prompt"]
    assert render([agents, question], others) == render([question], None)
    assert question["content"] in render([agents, question], others)
