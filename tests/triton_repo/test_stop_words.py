"""An answer ends before its stop word, and holds back no more than it must."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stop_words import Sampled, StopWords


def answer(words: Iterable[Sequence[int]], tokens: Iterable[int]) -> list[list[int]]:
    """What is let out for each token, until a stop word is matched; then what was held back."""
    stop_words = StopWords(words)
    parts: list[list[int]] = []
    for token in tokens:
        parts.append([sampled.token for sampled in stop_words.feed(Sampled(token))])
        if stop_words.matched:
            return parts
    return [*parts, [sampled.token for sampled in stop_words.finish()]]


def test_without_stop_words_every_token_is_let_out_at_once() -> None:
    assert answer([], [1, 2]) == [[1], [2], []]


def test_a_stop_token_is_not_part_of_the_answer() -> None:
    assert answer([[9]], [1, 9, 2]) == [[1], []]


def test_nothing_of_a_longer_stop_word_is_let_out() -> None:
    assert answer([[7, 8, 9]], [1, 7, 8, 9]) == [[1], [], [], []]


def test_a_beginning_that_does_not_go_on_is_let_out() -> None:
    assert answer([[7, 8]], [7, 1]) == [[], [7, 1], []]


def test_a_beginning_within_a_beginning_is_found() -> None:
    assert answer([[7, 7, 8]], [7, 7, 7, 8, 1]) == [[], [], [7], []]


def test_what_was_held_back_comes_when_the_answer_ends_otherwise() -> None:
    assert answer([[7, 8]], [1, 7]) == [[1], [], [7]]


def test_a_stop_token_ends_a_beginning_which_is_let_out() -> None:
    assert answer([[7, 8], [9]], [7, 9]) == [[], [7]]


def test_the_longest_beginning_is_held_back() -> None:
    assert answer([[7, 8, 9], [8, 1]], [7, 8, 2]) == [[], [], [7, 8, 2], []]


def test_empty_stop_words_are_no_stop_words() -> None:
    assert answer([[]], [1]) == [[1], []]


def test_log_probabilities_stay_with_their_tokens() -> None:
    stop_words = StopWords([[7, 8]])
    assert stop_words.feed(Sampled(7, -0.5)) == []
    assert stop_words.feed(Sampled(1, -0.25)) == [Sampled(7, -0.5), Sampled(1, -0.25)]
