"""What a gateway and its supervisor say to each other: the lines as they are on the socket."""

from __future__ import annotations

import json

import pytest

from enginix import supervision
from enginix.errors import BackendUnavailable, EnginixError, ModelNotFound, RequestError
from enginix.supervision import (
    FOLLOW,
    Availability,
    Call,
    Changed,
    Load,
    LoadRequest,
    Log,
    ModelNews,
    News,
    Report,
    Restart,
    ServerStatus,
    Status,
    Statuses,
    Unload,
)

SERVER = ServerStatus("loading", True, 7, 12.5, "10 %", 1, None, "/log")
FIELDS = {
    "status": "loading",
    "process_alive": True,
    "pid": 7,
    "since": 12.5,
    "progress": "10 %",
    "restarts": 1,
    "last_error": None,
    "log": "/log",
    "context": None,
    "memory_bytes": None,
    "gpu_memory_bytes": None,
    "replicas": {},
}
NOTHING = {
    **dict.fromkeys(("model", "model_path", "engine", "dtype")),
    **dict.fromkeys(("gpu_memory_utilization", "max_model_len", "speculative")),
}


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        (Status(), {"do": "status"}),
        (
            Load("a", by_request=True),
            {"do": "load", "name": "a", "wish": None, "by_request": True, "wait": True},
        ),
        (
            Load(request=LoadRequest("b", engine="vllm"), wait=False),
            {
                "do": "load",
                "name": None,
                "by_request": False,
                "wait": False,
                "wish": {**NOTHING, "model": "b", "engine": "vllm"},
            },
        ),
        (Log("a", 9), {"do": "log", "name": "a", "lines": 9}),
        (Unload("a", 2.5), {"do": "unload", "name": "a", "drain": 2.5}),
        (Restart("a", 2.5), {"do": "restart", "name": "a", "drain": 2.5}),
    ],
)
def test_a_call_is_a_line_and_comes_back_whole(call: Call, fields: dict[str, object]) -> None:
    line = supervision.encode(call)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line) == fields
    assert supervision.decode_call(line) == call


def test_to_follow_is_a_line_of_its_own() -> None:
    assert json.loads(FOLLOW) == {"do": "follow"}


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"{", b"[]", b"7", b"{}", b'{"do": "dance"}', b'{"do": "unload", "name": "a"}'),
        b'{"do": "load", "nmae": "a"}',
        b'{"do": "load", "wish": {"color": 1}}',
        b'{"do": "load", "wish": 7}',
        b'{"do": "unload", "name": "a", "drain": "soon"}',
    ],
)
def test_what_is_no_call_is_refused_with_one_that_is(line: bytes) -> None:
    with pytest.raises(ValueError, match="expected a line of JSON like"):
        supervision.decode_call(line)


def test_statuses_and_changes_come_back_whole() -> None:
    line = supervision.encode(Statuses({"a": SERVER}))
    assert json.loads(line) == {"servers": {"a": FIELDS}, "configuration": None}
    assert supervision.decode(Statuses, line) == Statuses({"a": SERVER})
    changed = Changed("a", 3, {"a": SERVER})
    line = supervision.encode(changed)
    assert json.loads(line) == {"name": "a", "generation": 3, "servers": {"a": FIELDS}}
    assert supervision.decode(Changed, line) == changed


@pytest.mark.parametrize(
    "error",
    [
        RequestError("x: it is wrong", param="x", code="no_room"),
        ModelNotFound("a", ["b"]),
        BackendUnavailable("it is down"),
    ],
)
def test_an_error_is_raised_where_the_answer_is_read(error: EnginixError) -> None:
    with pytest.raises(EnginixError) as caught:
        supervision.decode(Changed, supervision.encode_error(error))
    assert str(caught.value) == str(error)
    assert isinstance(caught.value, RequestError) == isinstance(error, RequestError)
    for field in ("param", "code"):
        assert getattr(caught.value, field, None) == getattr(error, field, None)


def test_news_are_the_rows_with_what_is_to_be_done_about_them() -> None:
    row = {"name": "a", "url": "http://127.0.0.1:1"}
    news = News(4, [ModelNews(row, Availability.ON_DEMAND, "it made room")])
    line = supervision.encode_news(news)
    shown = {**row, "presence": "on_demand", "reason": "it made room"}
    assert json.loads(line) == {"generation": 4, "models": [shown]}
    assert supervision.decode_news(line) == news


def test_news_name_the_replicas_that_rest() -> None:
    row = {"name": "a", "address": "127.0.0.1:1,127.0.0.1:2"}
    news = News(1, [ModelNews(row, Availability.OPEN, "", ["127.0.0.1:2"])])
    line = supervision.encode_news(news)
    assert json.loads(line)["models"][0]["resting"] == ["127.0.0.1:2"]
    assert supervision.decode_news(line) == news


def test_a_report_counts_what_runs_and_what_has_started() -> None:
    report = Report(4, {"a": (1, 9)})
    line = supervision.encode(report)
    assert json.loads(line) == {"seen": 4, "requests": {"a": [1, 9]}}
    assert supervision.decode(Report, line) == report


@pytest.mark.parametrize("line", [b"7", b"{}", b'{"seen": 1}', b'{"seen": 1, "requests": 1}'])
def test_what_is_no_report_and_no_news_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="a Report: "):
        supervision.decode(Report, line)
    with pytest.raises(ValueError, match="something else than news"):
        supervision.decode_news(line)
