from __future__ import annotations

import pytest
from chat.speech import DEMO

from enginix.chat.formats import detect_formats, detect_thinking_switch
from enginix.chat.reply import REASONING, TOOLS
from enginix.chat.template import ChatTemplate

# Sentences and tags as they stand in the templates of these families.
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
def test_a_template_tells_its_formats(
    template: str, reasoning: str | None, tools: str | None, switch: str | None
) -> None:
    assert detect_formats(template) == (reasoning, tools)
    assert detect_thinking_switch(template) == switch


def test_the_demo_speaks_as_its_catalogue_entry_says() -> None:
    source = ChatTemplate.load(DEMO).source
    assert detect_formats(source) == ("think-tags", "hermes-json")
    assert detect_thinking_switch(source) == "enable_thinking"


def test_every_detected_format_has_a_parser() -> None:
    templates = (QWEN3, QWEN3_CODER, NEMOTRON_3, NEMOTRON_2, LLAMA_3, MISTRAL)
    found = [detect_formats(template) for template in templates]
    assert {tools for _, tools in found} == TOOLS.keys()
    assert {reasoning for reasoning, _ in found if reasoning} == REASONING.keys()
