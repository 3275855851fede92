"""TensorRT-LLM's log becomes events, however it is cut into chunks."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

import pytest

from enginix.engine.trtllm.log import (
    MAX_LINE,
    MAX_MESSAGE,
    MAX_READ,
    AllBuilt,
    Banner,
    Failed,
    LogEvent,
    LogReader,
    LogTail,
    RankCompiled,
    RankWriting,
    RankWritten,
    Warned,
)

LOG = """\
[TensorRT-LLM] TensorRT LLM version: 1.2.1
[03/12/2026-10:21:00] [TRT-LLM] [W] Option --gather_generation_logits is deprecated, a build flag \
is not required anymore. Use --output_generation_logits at runtime instead.
[03/12/2026-10:21:01] [TRT-LLM] [I] Set PluginConfig.gemm_plugin to nvfp4.
[03/12/2026-10:21:01] [TRT-LLM] [W] lm_head.weight is going to be padded by [0, 0, 0, 2].
[03/12/2026-10:21:08] [TRT] [I] Engine generation completed in 35.9738 seconds.
[03/12/2026-10:21:09] [TRT-LLM] [I] Total time of building Unnamed Network 0: 00:00:36
[03/12/2026-10:21:09] [TRT-LLM] [I] Serializing engine to /data/engine/rank0.engine...
[03/12/2026-10:21:11] [TRT-LLM] [I] Engine serialized. Total time: 00:00:02
[03/12/2026-10:21:11] [TRT-LLM] [I] Total time of building all engines: 00:00:41
"""
EVENTS = [
    Banner("1.2.1"),
    Warned("lm_head.weight is going to be padded by [0, 0, 0, 2]."),
    RankCompiled(),
    RankWriting(0),
    RankWritten(),
    AllBuilt(),
]


def read(text: str, size: int = 10_000) -> list[LogEvent]:
    reader = LogReader()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return [event for piece in pieces for event in reader.feed(piece)] + reader.finish()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 80, 10_000])
def test_a_log_gives_the_same_events_in_chunks_of_any_size(size: int) -> None:
    assert read(LOG, size) == EVENTS


def test_an_error_is_recognized_by_its_level() -> None:
    assert read("[03/12/2026-10:21:08] [TRT] [E] Error Code 10: no tactic\n") == [
        Failed("Error Code 10: no tactic")
    ]


def test_a_traceback_is_its_last_line() -> None:
    text = 'Traceback (most recent call last):\n  File "x.py", line 1\nRuntimeError: no way\n'
    assert read(text) == [Failed("RuntimeError: no way")]


def test_the_pool_that_lost_a_worker_is_an_error() -> None:
    line = "concurrent.futures.process.BrokenProcessPool: A process was terminated abruptly"
    assert read(line) == [Failed(line)]


def test_the_summary_of_a_failure_does_not_hide_its_cause() -> None:
    text = (
        "OSError: [Errno 28] No space left on device\n"
        "AssertionError: Engine building failed, please check error log.\n"
    )
    assert read(text) == [Failed("OSError: [Errno 28] No space left on device")]


def test_a_line_without_an_end_is_kept_to_a_length() -> None:
    reader = LogReader()
    for _ in range(3 * MAX_LINE // 1000):
        reader.feed("x" * 1000)
    assert reader.feed("\nRuntimeError: no way\n") == [Failed("RuntimeError: no way")]
    reader.feed("RuntimeError: " + "y" * 3 * MAX_LINE)
    assert reader.finish() == [Failed("RuntimeError: " + "y" * (MAX_MESSAGE - 14))]


def test_of_a_log_that_grows_too_fast_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("RuntimeError: first\n")
    with FileIO(path) as file:
        tail = LogTail(file)
        assert tail.read() == [Failed("RuntimeError: first")]
        with path.open("a") as log:
            log.write("RuntimeError: skipped\n")
            log.write("x\n" * MAX_READ)
            log.write("RuntimeError: l\xe4st")
        assert tail.read() == []
        assert tail.finish() == [Failed("RuntimeError: l\xe4st")]


def test_a_progress_bar_is_no_event() -> None:
    assert read("\r1it [00:00, 9.9it/s]\r370it [00:28, 12.95it/s]\n") == []


def test_a_missing_module_is_an_error_without_a_traceback() -> None:
    line = "/usr/bin/python: No module named tensorrt_llm.commands.build"
    assert read(line) == [Failed(line)]


@pytest.mark.parametrize(
    ("names", "is_passed_on"),
    [
        ("'rotary_inv_freq', 'embed_positions'", False),
        ("'rotary_inv_freq', 'transformer.layers.9.attention.qkv.weight'", True),
    ],
)
def test_only_the_rotary_tables_are_expected_to_be_provided_unasked(
    names: str, is_passed_on: bool
) -> None:
    text = f"Provided but not required tensors: {{{names}}}"
    events = read(f"[03/12/2026-10:21:08] [TRT-LLM] [W] {text}\n")
    assert events == ([Warned(text)] if is_passed_on else [])
