"""A standalone rank checkpoint: converted once, built from as often as needed.

`conversion.json` beside TensorRT-LLM's own files records what it was made from and the converter's
reports, so that it is not mistaken for another's.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from enginix.engine.trtllm.conversion import check_config
from enginix.engine.trtllm.plan import Plan
from enginix.engine.trtllm.rank_tensors import check_rank_file
from enginix.errors import ConversionWrong
from enginix.records import decode_file

NOTE = "conversion.json"


@dataclass(frozen=True, slots=True)
class Converted:
    """The rank files' directory, and the converter's report of each rank."""

    directory: Path
    reports: list[dict[str, Any]]

    def rank_files(self) -> list[Path]:
        return [self.directory / f"rank{rank}.safetensors" for rank in range(len(self.reports))]


@dataclass(frozen=True, slots=True)
class _Note:
    key: str
    """`Plan.key()` of its inputs."""
    reports: list[dict[str, Any]]


def write_note(directory: Path, plan: Plan, reports: list[dict[str, Any]]) -> None:
    text = json.dumps(asdict(_Note(plan.key(), reports)), indent=2, sort_keys=True)
    (directory / NOTE).write_text(text + "\n", encoding="utf-8")


def read_rank_checkpoint(directory: Path, plan: Plan) -> Converted:
    """Raise ConversionWrong unless the directory is the complete rank checkpoint of `plan`."""
    note = _read_note(directory)
    if note.key != plan.key():
        raise ConversionWrong(
            f"{directory} was made from another checkpoint, or for other ranks or another dtype; "
            "make it again with `enginix engine convert` and the same options"
        )
    converted = Converted(directory.resolve(), note.reports)
    conversion = plan.conversion()
    for file in converted.rank_files():
        if conversion.tensors is not None:
            check_rank_file(file, conversion.tensors)
    check_config(conversion, directory / "config.json")
    return converted


def _read_note(directory: Path) -> _Note:
    path = directory / NOTE

    def failure(reason: str) -> ConversionWrong:
        return ConversionWrong(
            f"{directory} is not a rank checkpoint of enginix: {reason}; make one with "
            "`enginix engine convert`"
        )

    try:
        return decode_file(_Note, path, failure)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise failure(f"{path} cannot be read: {error.strerror}") from error
