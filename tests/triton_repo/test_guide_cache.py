"""Guides are tried in a process of their own, and remembered: each case is a program of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from subprocess import PIPE

import pytest

from enginix.runtimes.runtime import Runtime
from tests.triton_repo.conftest import MODEL

pytestmark = pytest.mark.triton

BEGINNING = """
import os, sys, threading
from guide_cache import GuideCache
from guide_trial import Trial
from guides import Vocabulary
from llama_cpp import LlamaError, load_library

vocabulary = Vocabulary(257, lambda token: bytes([token]) if token < 256 else b"", (256,))
# Rules that double each other, and so take memory.
LARGE = "\\n".join(["root ::= r18 r18", *(f"r{n} ::= r{n - 1} r{n - 1}" for n in range(1, 19))])
LARGE += '\\nr0 ::= "x"'
SLOW = "root ::= " + " | ".join(f'"value {n}"' for n in range(40_000))

def cache(**limits):
    return GuideCache(load_library(), vocabulary, trial=Trial(vocabulary, **limits))

def outcome(guides, kind, text):
    try:
        guides.make(kind, text).close()
        return "made"
    except LlamaError as error:
        return str(error)
"""


def run(runtime: Runtime, program: str, *arguments: str) -> list[str]:
    command = [str(runtime.python), "-c", BEGINNING + program, *arguments]
    ended = subprocess.run(command, cwd=MODEL, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_a_guide_that_could_not_be_tried_is_tried_again(runtime: Runtime, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text(
        f'#!/bin/sh\nif [ -e "$0.ready" ]; then exec {runtime.python} "$@"; fi\n'
        'touch "$0.ready"\nexit 1\n'
    )
    python.chmod(0o755)
    program = """
guides = cache(python=sys.argv[1])
for _ in range(2):
    print(outcome(guides, "regex", "[a-c]"))
"""
    first, second = run(runtime, program, str(python))
    assert "the process for it did not start" in first
    assert second == "made"


def test_without_a_python_for_the_trial_guides_are_refused(runtime: Runtime) -> None:
    (said,) = run(runtime, 'print(outcome(cache(python="/nowhere/python3"), "regex", "a"))')
    assert said.startswith("guides cannot be tried here: ")
    assert "/nowhere/python3" in said


def test_a_cached_guide_does_not_wait_for_one_that_is_being_compiled(runtime: Runtime) -> None:
    program = """
guides = cache(seconds=30.0)
outcome(guides, "regex", "known")
slow = threading.Thread(target=outcome, args=(guides, "ebnf_grammar", SLOW))
slow.start()
print(guides.ready("regex", "known"), guides.ready("ebnf_grammar", SLOW), slow.is_alive())
print(outcome(guides, "regex", "known"), slow.is_alive())
slow.join()
"""
    assert run(runtime, program) == ["True False True", "made True"]


def test_a_slow_guide_is_tried_and_compiled_once_and_stays_slow(runtime: Runtime) -> None:
    program = """
class Counted(Trial):
    checks = 0

    def check(self, kind, text):
        self.checks += 1
        return super().check(kind, text)

trial = Counted(vocabulary, seconds=30.0)
guides = GuideCache(load_library(), vocabulary, trial=trial)
print(guides.slow("regex", "quick"), guides.slow("ebnf_grammar", SLOW), trial.checks)
for _ in range(2):
    print(outcome(guides, "ebnf_grammar", SLOW), guides.ready("ebnf_grammar", SLOW), trial.checks)
"""
    assert run(runtime, program) == ["False True 2", *2 * ["made False 2"]]


def test_a_guide_is_copied_though_it_was_evicted_meanwhile(runtime: Runtime) -> None:
    program = """
import guide_cache
guide_cache.KEPT = 1
guides = cache()
guides.make("regex", "[a-c]").close()
entry = guides._entry("regex", "[a-c]")
outcome(guides, "regex", "another")
print(guides.ready("regex", "[a-c]"), entry.guide.copy().try_first())
"""
    assert run(runtime, program) == ["False None"]


def test_a_guide_that_takes_much_memory_once_it_is_compiled_is_refused(runtime: Runtime) -> None:
    program = """
import guide_trial
guide_trial.GUIDE_MEMORY = 1 << 20
guides = cache()
print(outcome(guides, "ebnf_grammar", LARGE))
print(outcome(guides, "regex", "[a-c]"))
"""
    refused, made = run(runtime, program)
    assert refused.startswith("the guide is no usable ebnf_grammar: compiled, it takes ")
    assert refused.endswith(" MB, more than 1; make it smaller")
    assert made == "made"


def test_large_guides_make_room_for_each_other(runtime: Runtime) -> None:
    program = """
import guide_cache
guides = cache()
for number in range(3):
    print(outcome(guides, "ebnf_grammar", LARGE + "\\n" * number))
guide_cache.KEPT_MEMORY = guides._memory()
outcome(guides, "ebnf_grammar", LARGE)
print(len(guides._entries), guides._memory() <= guide_cache.KEPT_MEMORY)
"""
    assert run(runtime, program) == ["made"] * 3 + ["3 True"]


def test_what_is_wrong_with_a_guide_is_remembered(runtime: Runtime) -> None:
    program = """
guides = cache()
print(outcome(guides, "regex", "["), guides.ready("regex", "["))
print(outcome(guides, "regex", "["))
"""
    first, second = run(runtime, program)
    assert first == f"{second} True"
    assert "no usable regex" in second


def test_a_trial_ends_by_itself_when_it_takes_too_long(runtime: Runtime) -> None:
    # Its parent may have been killed, and then nobody else does it.
    numbers = (1 << 30, 0.1, os.getpid())
    command = [str(runtime.python), str(MODEL / "guide_trial.py"), *map(str, numbers)]
    grammar = "root ::= " + " | ".join(f'"value {n}"' for n in range(40_000))
    spelled = [bytes([token]).hex() for token in range(256)] + [""]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE) as trial:
        assert trial.stdin
        assert trial.stdout
        for question in (
            {"spelled": spelled, "ends": [256]},
            {"kind": "ebnf_grammar", "text": grammar},
        ):
            trial.stdin.write(json.dumps(question).encode() + b"\n")
            trial.stdin.flush()
        assert trial.stdout.read().count(b"\n") == 1, "only its start"
        assert trial.wait(30) == -signal.SIGALRM
