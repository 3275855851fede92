"""Renders conversations with one chat template, as a program of its own.

The first line of its input is {"sources": ..., "special_tokens": ...}; each line after it is the
arguments of one `ChatTemplate.render`, answered by one line: {"text": ...}, or the `message`,
`param` and `code` of a refusal. It computes only while no other process needs the processor.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from enginix.chat.template import ChatTemplate
from enginix.errors import RequestError

NICE = 19


def main() -> None:
    _yield_processor()
    template = ChatTemplate(**json.loads(sys.stdin.buffer.readline()))
    for line in sys.stdin.buffer:
        sys.stdout.write(json.dumps(_answer(template, json.loads(line))) + "\n")
        sys.stdout.flush()


def _answer(template: ChatTemplate, arguments: dict[str, Any]) -> dict[str, str | None]:
    try:
        return {"text": template.render(**arguments)}
    except RequestError as error:
        return {"message": str(error), "param": error.param, "code": error.code}


def _yield_processor() -> None:
    os.nice(NICE)
    # Linux may share the processor out by session first, and the nice value counts within one.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICE))
