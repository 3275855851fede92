from __future__ import annotations

import pytest
from chat.speech import every_chunk_size, pieces
from hypothesis import given
from hypothesis import strategies as st

from enginix.chat.stop import StopStrings
from enginix.errors import RequestError


def read(stop: StopStrings, text: str, chunk: int) -> str:
    return "".join(stop.feed(piece) for piece in pieces(text, chunk)) + stop.finish()


def expected(strings: list[str], text: str) -> tuple[str, str | None]:
    """The definition, character by character: the first match to end, the longest of several."""
    for end in range(len(text) + 1):
        ended = [string for string in strings if text[:end].endswith(string)]
        if ended:
            longest = max(ended, key=len)
            return text[: end - len(longest)], longest
    return text, None


@every_chunk_size
def test_text_before_a_stop_string_is_complete_and_it_is_not_part_of_it(chunk: int) -> None:
    stop = StopStrings(["\nUser:"])
    assert read(stop, "Hello\nUse it.\nUser: more", chunk) == "Hello\nUse it."
    assert stop.matched == "\nUser:"


@every_chunk_size
def test_a_beginning_that_was_none_is_ordinary_text(chunk: int) -> None:
    stop = StopStrings(["###"])
    assert read(stop, "a # b ## c #", chunk) == "a # b ## c #"
    assert stop.matched is None


def test_only_a_possible_stop_string_is_held_back() -> None:
    stop = StopStrings(["END", "ENOUGH"])
    assert stop.feed("an answer EN") == "an answer "
    assert stop.feed("O") == ""
    assert stop.feed("RM") == "ENORM"


def test_nothing_comes_after_the_match() -> None:
    stop = StopStrings(["."])
    assert [stop.feed("one. two"), stop.feed("three."), stop.finish()] == ["one", "", ""]
    assert stop.matched == "."


@every_chunk_size
def test_the_string_that_is_complete_first_wins(chunk: int) -> None:
    stop = StopStrings(["abcd", "bc"])
    assert read(stop, "xabcd", chunk) == "xa"
    assert stop.matched == "bc"


@every_chunk_size
def test_the_longest_of_two_that_end_together_wins(chunk: int) -> None:
    stop = StopStrings(["c", "abc"])
    assert read(stop, "xabc", chunk) == "x"
    assert stop.matched == "abc"


@every_chunk_size
def test_a_string_that_repeats_itself_is_found_at_its_first_place(chunk: int) -> None:
    assert read(StopStrings(["aab"]), "aaaab", chunk) == "aa"


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(RequestError, match="empty string") as refusal:
        StopStrings(["ok", ""])
    assert refusal.value.param == "stop"


def test_without_stop_strings_text_passes() -> None:
    stop = StopStrings([])
    assert (stop.feed("anything"), stop.finish(), stop.matched) == ("anything", "", None)


def test_a_hundred_strings_and_a_long_one_are_all_watched() -> None:
    long = "x" * 10_000
    stop = StopStrings([*(f"<{number}>" for number in range(100)), long + "!"])
    assert stop.feed("a" + long) == "a"
    assert stop.feed("x") == "x"
    assert stop.feed("! and <7>") == ""
    assert stop.matched == long + "!"


@given(
    strings=st.lists(st.text("ab]^-\n", min_size=1, max_size=4), min_size=1, max_size=6),
    text=st.text("ab]^-\nc", max_size=40),
    chunk=st.integers(1, 9),
)
def test_any_chunking_stops_where_reading_letter_by_letter_does(
    strings: list[str], text: str, chunk: int
) -> None:
    stop = StopStrings(strings)
    assert (read(stop, text, chunk), stop.matched) == expected(strings, text)
