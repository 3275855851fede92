from __future__ import annotations

import json
from typing import Any

import pytest
from chat.speech import every_chunk_size, pieces
from hypothesis import given
from hypothesis import strategies as st

from enginix.chat.tools.json_value import JsonValue

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)  # fmt: skip


def read(text: str, chunk: int = 1) -> tuple[str, JsonValue]:
    value, out = JsonValue(), ""
    for piece in pieces(text, chunk):
        said, at = value.feed(piece)
        out += said
        if value.done or value.broken:
            break
        assert at == len(piece)
    return out, value


@given(value=json_values, chunk=st.integers(1, 9), escaped=st.booleans(), indent=st.integers(0, 2))
def test_valid_json_passes_byte_for_byte(
    value: Any, chunk: int, escaped: bool, indent: int
) -> None:
    text = json.dumps(value, ensure_ascii=escaped, indent=indent or None)
    out, reader = read(f" {text} ", chunk)
    assert out == text
    assert reader.done


@given(value=json_values, escaped=st.booleans(), cut=st.integers(0, 60))
def test_emitted_text_is_a_prefix_of_the_final_value(value: Any, escaped: bool, cut: int) -> None:
    text = json.dumps([value], ensure_ascii=escaped)
    out, reader = read(text[: cut + 1])
    assert text.startswith(out)
    assert reader.done == (out == text)
    assert not reader.broken


@given(text=st.text('{}[]",:\\u0dD8e1-+.tfn \n👋', max_size=40), chunk=st.integers(1, 5))
def test_an_unclosed_value_is_never_json(text: str, chunk: int) -> None:
    out, reader = read("{" + text, chunk)
    if reader.done:
        json.loads(out)
    else:
        with pytest.raises(json.JSONDecodeError):
            json.loads(out)


@given(text=st.text('{}[]",:\\u0dD8e1-+.tfn \n👋', max_size=40), cut=st.integers(0, 40))
def test_repaired_json_starts_with_the_text_emitted_before(text: str, cut: int) -> None:
    assert read("{" + text)[0].startswith(read("{" + text[:cut])[0])


@pytest.mark.parametrize(
    ("written", "mended"),
    [
        ('{"a": 1,}', '{"a": 1}'),
        ("[1, 2 , ]", "[1, 2]"),
        ('"two\nlines\tand\x01"', '"two\\nlines\\tand\\u0001"'),
        (r'"\d+ \u12 \x"', r'"\\d+ \\u12 \\x"'),
        (r'"\ud83d\ude00"', r'"\ud83d\ude00"'),
        (r'"\ud83d!"', r'"\ufffd!"'),
        (r'"\ud83d\ud83d\ude00"', r'"\ufffd\ud83d\ude00"'),
        (r'"\ude00\ud83d\n\ud83d"', r'"\ufffd\ufffd\n\ufffd"'),
        ('{"a\n": 1}', '{"a\\n": 1}'),
    ],
)
def test_common_mistakes_of_models_are_repaired(written: str, mended: str) -> None:
    out, reader = read(written)
    assert out == mended
    assert reader.done
    json.loads(out).__repr__().encode()


@every_chunk_size
@pytest.mark.parametrize(
    "text",
    ["{a: 1}", "{'a': 1}", '{"a" 1}', "[1 2]", "[01]", "[.5]", "[1.]", "[NaN]", "[Infinity]",
     "[True]", "[tru]", "[-]", "[1e]", "[,]", "{,}", "[1,,2]", "[}", '{"a":}', '{"a":,}', "<"],
)  # fmt: skip
def test_json_beyond_repair_is_broken(text: str, chunk: int) -> None:
    assert read(text, chunk)[1].broken


def test_nesting_beyond_the_limit_is_broken() -> None:
    assert read("[" * 1000)[1].broken
    assert not read("[" * 100)[1].broken


def test_a_string_streams_and_a_number_waits_for_its_end() -> None:
    value = JsonValue()
    parts = ['{"te', 'xt": "He', "llo\\", 'n"', ', "n": 1', "2", "3}"]
    said = [value.feed(part)[0] for part in parts]
    assert said == ["{", '"text": "He', "llo", '\\n"', "", "", ', "n": 123}']


def test_reading_stops_after_the_value() -> None:
    assert JsonValue().feed('{"a": {}} rest') == ('{"a": {}}', 9)
