from __future__ import annotations

from collections.abc import Sequence

import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served

from enginix.chat.tools.call_guide import CallGuide, call_guide, functions_of
from enginix.gateway.reply.triggers import Found, Watch
from enginix.generation.reply import Phases, ReplyFormat
from enginix.generation.request import Guide, TokenChunk
from enginix.manifest import Chat

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
MODEL = served(FakeBackend())
ANSWER = Guide("json")


def guide(tools: str) -> CallGuide:
    return call_guide(tools, functions_of([TOOL], strict_only=False), one_call=False)


def watch(
    text: str,
    tools: str = "hermes-json",
    *,
    answer: Guide | None = None,
    strict: bool = True,
    together: int = 1,
) -> tuple[Watch, str]:
    """The watch after reading `text`, and the text it passed on."""
    model = served(FakeBackend(), chat=Chat("think-tags", tools, None))
    format = ReplyFormat(
        reasoning="think-tags",
        tools=tools,
        definitions=(TOOL,),
        phases=Phases(guide(tools) if strict else None, answer),
    )
    watching = Watch(model, format, fresh=True)
    passed: list[int] = []
    for chunk in chunks(ids(text), together):
        for ready in watching.feed([chunk]):
            passed.extend(ready.ids)
    if watching.found is None:
        for ready in watching.finish():
            passed.extend(ready.ids)
    return watching, model.tokenizer.decode(passed)


def chunks(tokens: Sequence[int], together: int) -> list[TokenChunk]:
    return [TokenChunk(tuple(tokens[at : at + together])) for at in range(0, len(tokens), together)]


any_chunks = pytest.mark.parametrize("together", [1, 2, 3, 100])


@any_chunks
def test_free_text_passes_as_it_is(together: int) -> None:
    watching, passed = watch("<think>\nHm.\n</think>\n\nIt is 5 <b>!", together=together)
    assert passed == "<think>\nHm.\n</think>\n\nIt is 5 <b>!"
    assert watching.found is None


@any_chunks
def test_a_call_is_found_where_its_marker_ends(together: int) -> None:
    watching, passed = watch('I look. <tool_call>\n{"name": "x"', together=together)
    assert watching.found is Found.CALL
    assert passed + watching.instead == "I look. <tool_call>\n"


@any_chunks
def test_a_bare_call_begins_with_the_guide_itself(together: int) -> None:
    watching, passed = watch('{"name": "x"', "llama3-json", together=together)
    assert watching.found is Found.CALL
    assert passed + watching.instead == ""


def test_a_call_without_its_outer_tag_begins_where_it_begins() -> None:
    watching, passed = watch("So: <function=x>\n", "qwen3-xml")
    assert watching.found is Found.CALL
    assert passed + watching.instead == "So: "


@any_chunks
def test_the_answer_is_found_before_its_first_word_is_passed_on(together: int) -> None:
    watching, passed = watch("<think>\nHm.\n</think>\n\nIt is", answer=ANSWER, together=together)
    assert watching.found is Found.ANSWER
    assert passed == "<think>\nHm.\n</think>\n\n"


def test_a_possible_marker_is_dropped_with_its_answer() -> None:
    watching, passed = watch("<tool_box> is", answer=ANSWER)
    assert watching.found is Found.ANSWER
    assert passed == ""


def test_reasoning_that_mentions_markers_is_not_a_call() -> None:
    watching, passed = watch("<think>\nMaybe a <tool_call> helps.\n</think>\n\n", answer=ANSWER)
    assert watching.found is None
    assert passed.endswith("helps.\n</think>\n\n")


def test_an_unconstrained_call_passes_unchanged() -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    watching, passed = watch(call, answer=ANSWER, strict=False)
    assert watching.found is None
    assert passed == call
