"""Strips rotary tables from rank files for TensorRT-LLM versions that cannot build with them.

Every version in `DECISIONS` writes them: `DecoderModelForCausalLM` calls
`Attention.create_attention_const_params`, which registers the three for every rotary position type
and scaling of a dense Llama, Mistral or Qwen (Phi-3's long_rope has others, Gemma 3 three more),
and `PretrainedModel.save_checkpoint` writes all `named_parameters()` (layers/attention.py and
models/modeling_utils.py). To leave them out is safe in each of them: a table has its value before
the file is loaded, so `PretrainedModel.load` does not count it among those that are "Required but
not provided", and config.json gives every table the value it had in the file.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from enginix.checkpoint.tensors import TensorInfo, read_header
from enginix.engine.trtllm.rank_tensors import ROPE_TABLES
from enginix.errors import DiskFull

COPIED_AT_ONCE = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Decision:
    """`versions` is a pattern, `name` describes it; `source` is the evidence for the decision."""

    name: str
    versions: str
    takes_tables: bool
    source: str


SAME_CODE = "load() takes a table as it takes a weight, and warns; no failure is reported"

# The first match counts.
DECISIONS = (
    Decision(
        "0.16",
        "0.16.*",
        takes_tables=False,
        source="public build scripts for trtllm-build 0.16.0 drop the three: with them it ends in "
        "`TypeError: set_weights_name(): incompatible function arguments`",
    ),
    Decision(
        "1.x.0rc1",
        "1.[0-9].0rc1",
        takes_tables=False,
        source='public build scripts drop the three before trtllm-build as "tensors that RC1 '
        "can't handle\", and do not say which 1.x it is",
    ),
    Decision("0.17 to 0.19", "0.1[7-9].*", takes_tables=True, source=SAME_CODE),
    Decision("0.20 and 0.21", "0.2[01].*", takes_tables=True, source=SAME_CODE),
    Decision("1.0 to 1.3", "1.[0-3].*", takes_tables=True, source=SAME_CODE),
)


def takes_rope_tables(version: str) -> bool:
    """Whether the version can build with the tables; assumed of a version without a decision."""
    found = (each for each in DECISIONS if fnmatchcase(version, each.versions))
    decision = next(found, None)
    return decision is None or decision.takes_tables


def strip_rank_checkpoint(source: Path, directory: Path) -> None:
    """Put the rank checkpoint `source` into the empty `directory`, without the rotary tables."""
    try:
        for path in sorted(source.glob("rank*.safetensors")):
            strip_rank_file(path, directory / path.name)
        shutil.copyfile(source / "config.json", directory / "config.json")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(directory).free
        raise DiskFull("stripping the rank files", directory, free) from error


def strip_rank_file(source: Path, target: Path) -> None:
    """Write `target` completely or not at all; `source` is not changed."""
    kept = [each for each in read_header(source).values() if each.name not in ROPE_TABLES]
    kept.sort(key=lambda each: each.start)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with source.open("rb") as original, partial.open("wb") as copy:
            copy.write(_header(kept))
            for tensor in kept:
                original.seek(tensor.start)
                _copy(original, copy, tensor.size_bytes)
            copy.flush()
            os.fsync(copy.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _header(tensors: list[TensorInfo]) -> bytes:
    entries, offset = {}, 0
    for tensor in tensors:
        end = offset + tensor.size_bytes
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _copy(original: BinaryIO, copy: BinaryIO, size: int) -> None:
    while size:
        # A rank file may be larger than memory.
        chunk = original.read(min(size, COPIED_AT_ONCE))
        if not chunk:
            raise OSError(f"{original.name} ended while it was read")
        copy.write(chunk)
        size -= len(chunk)
