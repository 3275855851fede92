"""Selects the template lines for an engine's version of TensorRT-LLM.

0.19 renamed and added tensors. A line for one side of it ends in `# since 0.19` or
`# before 0.19`.
"""

from __future__ import annotations

import re

MARK = re.compile(r"\s*# (?P<side>since|before) (?P<version>\d+\.\d+)$")


def lines_for(template: str, tensorrt_llm: str | None) -> str:
    """The template without the lines of other versions and without the marks.

    None is an unknown version and counts as the newest.
    """
    return "\n".join(
        MARK.sub("", line) for line in template.split("\n") if _belongs(line, tensorrt_llm)
    )


def _belongs(line: str, tensorrt_llm: str | None) -> bool:
    mark = MARK.search(line)
    if mark is None:
        return True
    found = _release(tensorrt_llm or "")
    is_since = found is None or found >= (_release(mark["version"]) or ())
    return is_since == (mark["side"] == "since")


def _release(version: str) -> tuple[int, ...] | None:
    """(1, 3) of '1.3.0rc20'."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None
