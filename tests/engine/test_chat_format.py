"""A chat template tells its format by its own words, and nothing is guessed from silence."""

from __future__ import annotations

import pytest
from fakes.made_checkpoint import DEMO

from enginix.engine.chat_format import chat_format
from enginix.manifest import Chat

# As in the templates of Qwen3 and of Qwen3-Coder, which share their tags and not their calls.
QWEN3 = (
    "return a json object with function name and arguments within <tool_call></tool_call> XML "
    'tags:\\n<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}'
)
QWEN3_CODER = "<tool_call>\\n<function=example_function_name>\\n<parameter=example_parameter_1>"


def test_the_demo_template_tells_all_three() -> None:
    template = (DEMO / "chat_template.jinja").read_text()

    assert chat_format(template) == Chat("think-tags", "hermes-json", "enable_thinking")


@pytest.mark.parametrize(
    ("template", "tools"), [(QWEN3, "hermes-json"), (QWEN3_CODER, None), ("{{ messages }}", None)]
)
def test_only_calls_in_json_are_hermes(template: str, tools: str | None) -> None:
    assert chat_format(template).tools == tools


def test_without_a_template_nothing_is_known() -> None:
    assert chat_format(None) == Chat(None, None, None)
