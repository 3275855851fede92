from __future__ import annotations

from chat.speech import events_of, every_chunk_size, heard

from enginix.chat.events import Answer, Message, Reasoning


@every_chunk_size
def test_reasoning_and_answer_come_apart_without_the_lines_between_them(chunk: int) -> None:
    assert heard("<think>\nI know.\n</think>\n\nParis.", chunk) == Message("Paris.", "I know.", ())


@every_chunk_size
def test_a_prompt_that_ended_inside_needs_no_opening_tag(chunk: int) -> None:
    message = heard("I know.\n</think>\n\nParis.", chunk, starts_inside=True)
    assert message == Message("Paris.", "I know.", ())


@every_chunk_size
def test_an_unclosed_block_is_reasoning(chunk: int) -> None:
    assert heard("<think>\nI wonder", chunk) == Message("", "I wonder", ())
    assert heard("I wonder", chunk, starts_inside=True) == Message("", "I wonder", ())


@every_chunk_size
def test_an_empty_block_causes_no_reasoning(chunk: int) -> None:
    assert heard("<think>\n\n</think>\n\nParis.", chunk) == Message("Paris.", "", ())


@every_chunk_size
def test_lines_inside_the_reasoning_stay(chunk: int) -> None:
    assert heard("<think>\n\n a\n\n  b \n</think>", chunk).reasoning == "a\n\n  b"


@every_chunk_size
def test_indentation_of_the_answer_s_first_line_stays(chunk: int) -> None:
    assert heard("<think>x</think>\n\n    code()", chunk).content == "    code()"


@every_chunk_size
def test_a_partial_closing_tag_at_the_end_is_not_lost(chunk: int) -> None:
    assert heard("<think>a </thi", chunk).reasoning == "a </thi"


@every_chunk_size
def test_an_answer_may_talk_about_the_tag(chunk: int) -> None:
    text = "Write <think> first and </think> last."
    assert heard(text, chunk) == Message(text, "", ())
    assert heard(f"<think>x</think>{text}", chunk) == Message(text, "x", ())


@every_chunk_size
def test_white_space_before_the_opening_tag_belongs_to_it(chunk: int) -> None:
    assert heard("\n <think>x</think>y", chunk) == Message("y", "x", ())


@every_chunk_size
def test_brackets_are_read_as_tags_are(chunk: int) -> None:
    text = "[THINK]plan [x][/THINK]\nDone <think>."
    message = heard(text, chunk, reasoning="think-brackets")
    assert message == Message("Done <think>.", "plan [x]", ())


def test_each_chunk_of_reasoning_is_a_separate_event() -> None:
    parts = ["<think>", "\n", "I", " know", ".\n", "</think>", "\n\n", "Paris", "."]
    assert events_of(parts) == [
        Reasoning("I"),
        Reasoning(" know"),
        Reasoning("."),
        Answer("Paris"),
        Answer("."),
    ]
