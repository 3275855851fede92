"""A chat format is detected by the template's own text, and never guessed without it."""

from __future__ import annotations

import pytest

from enginix.catalog.load import DIRECTORY, load_catalog
from enginix.chat.reply import REASONING, TOOLS
from enginix.engine.chat_format import chat_format
from enginix.manifest import Chat

# Sentences and tags from the templates of these families.
QWEN3 = (
    '<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n'
    "{%- if '</think>' in content %}{%- if enable_thinking is defined and enable_thinking is false"
)
QWEN3_CODER = "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\n"
NEMOTRON_3 = QWEN3_CODER + "{%- if '</think>' in c %}{{- '<think>\\n' if enable_thinking else ''}}"
NEMOTRON_2 = "<TOOLCALL>[{{ calls }}]</TOOLCALL>{{ '<think>\\n' }}{{ '</think>' }}"
LLAMA_3 = (
    '<|start_header_id|>{{ \'Respond in the format {"name": function name, '
    '"parameters": dictionary of argument name and its value}\' }}'
)
MISTRAL = "{{ '[TOOL_CALLS]' + call.function.name }}{{ '[THINK]' + t + '[/THINK]' }}"
GLM = "<tool_call>{{ name }}<arg_key>{{ k }}</arg_key></tool_call></think>{% if enable_thinking %}"
DEEPSEEK = "{% if not thinking is defined %}{% set thinking = false %}{% endif %}</think>"


@pytest.mark.parametrize(
    ("template", "reasoning", "tools", "switch"),
    [
        (QWEN3, "think-tags", "hermes-json", "enable_thinking"),
        (QWEN3_CODER, None, "qwen3-xml", None),
        (NEMOTRON_3, "think-tags", "qwen3-xml", "enable_thinking"),
        (NEMOTRON_2, "think-tags", "nemotron-json", None),
        (LLAMA_3, None, "llama3-json", None),
        (MISTRAL, "think-brackets", "mistral", None),
        (GLM, "think-tags", None, "enable_thinking"),
        (DEEPSEEK, "think-tags", None, "thinking"),
        ("{{ messages[0].content }}", None, None, None),
        ("reasoning and thinking, that is", None, None, None),
        ("", None, None, None),
    ],
)
def test_a_templates_formats_are_detected(
    template: str, reasoning: str | None, tools: str | None, switch: str | None
) -> None:
    assert chat_format(template) == Chat(reasoning, tools, switch)


@pytest.mark.parametrize("name", ["demo", "demo-llama"])
def test_our_own_models_have_the_catalogues_formats(name: str) -> None:
    template = (DIRECTORY / "checkpoints" / name / "chat_template.jinja").read_text()
    assert chat_format(template) == load_catalog()[name].chat


def test_every_detected_format_has_a_parser() -> None:
    templates = (QWEN3, QWEN3_CODER, NEMOTRON_3, NEMOTRON_2, LLAMA_3, MISTRAL)
    found = [chat_format(template) for template in templates]
    assert {chat.tools for chat in found} == TOOLS.keys()
    assert {chat.reasoning for chat in found if chat.reasoning} == REASONING.keys()


def test_without_a_template_no_format_is_detected() -> None:
    assert chat_format(None) == Chat(None, None, None)
