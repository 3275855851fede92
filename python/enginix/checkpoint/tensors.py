"""Safetensors headers: a checkpoint's tensors and their places in the files. Reads no weights.

The rules are the format's own (every byte of the data belongs to exactly one tensor), so a header
that passes here also describes its file truly.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from enginix.errors import CheckpointDamaged, NotACheckpoint
from enginix.plain_files import open_regular, read_bytes

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

DTYPE_BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "F64": 64,
    "I64": 64,
    "U64": 64,
    "C64": 64,
}

# The safetensors library's own limits, and a limit for dimensions.
MAX_HEADER_BYTES = 100_000_000
MAX_DIMENSIONS = 32
MAX_DIMENSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """`start` and `stop` are byte offsets in `file`, enough to read it without the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        return self.stop - self.start


def read_headers(directory: Path) -> dict[str, TensorInfo]:
    """Every tensor of the checkpoint by its name, from one file or from shards and their index."""
    shards, weight_map = _weight_files(directory)
    tensors: dict[str, TensorInfo] = {}
    for shard in shards:
        for name, tensor in read_header(directory / shard).items():
            if name in tensors:
                raise CheckpointDamaged(
                    f"{directory}: the tensor {name!r} is in {tensors[name].file.name} and also "
                    f"in {shard}; expected it once, download the checkpoint again"
                )
            tensors[name] = tensor
    for name, shard in weight_map.items():
        found = tensors.get(name)
        if found is None or found.file.name != shard:
            raise CheckpointDamaged(
                f"{directory / INDEX_FILE} states that {name!r} is in {shard}, but it is "
                f"{f'in {found.file.name}' if found else 'in no shard'}; "
                "download the checkpoint again"
            )
    return tensors


def weight_files(directory: Path) -> list[str]:
    """Sorted names of the files that hold the weights; all of them exist."""
    return _weight_files(directory)[0]


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of one safetensors file."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            header, data_start = _header_bytes(path, file, size)
    except OSError as error:
        raise CheckpointDamaged(f"{path} cannot be read: {error.strerror or error}") from error
    tensors = _parse_header(path, header, data_start)
    _check_layout(path, tensors.values(), data_start, size)
    return tensors


def _weight_files(directory: Path) -> tuple[list[str], dict[str, str]]:
    """(file names, tensor -> file name as in the index)."""
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise NotACheckpoint(f"{directory} {what}; expected a checkpoint directory")
    single = (directory / SINGLE_FILE).exists()
    if (directory / INDEX_FILE).exists():
        weight_map = _read_index(directory / INDEX_FILE)
        shards = sorted(set(weight_map.values()))
        if single and shards != [SINGLE_FILE]:
            raise CheckpointDamaged(
                f"{directory} holds {SINGLE_FILE} and an index of {len(shards)} other files; "
                "expected one or the other, remove the stale one"
            )
        missing = [shard for shard in shards if not (directory / shard).exists()]
        if missing:
            raise NotACheckpoint(
                f"{directory}: {len(missing)} of {len(shards)} weight files in {INDEX_FILE} are "
                f"missing, the first is {missing[0]}; finish the download"
            )
        return shards, weight_map
    if single:
        return [SINGLE_FILE], {}
    found = sorted(path.name for path in directory.glob("*.safetensors"))
    what = f"{len(found)} .safetensors files without {INDEX_FILE}" if found else "no weights"
    raise NotACheckpoint(
        f"{directory} holds {what}; expected {SINGLE_FILE}, or shards with {INDEX_FILE}"
    )


def _read_index(path: Path) -> dict[str, str]:
    try:
        index = _parse_json(read_bytes(path))
    except (OSError, ValueError) as error:
        raise CheckpointDamaged(
            f"{path} is not readable JSON ({error}); download the checkpoint again"
        ) from error
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointDamaged(f"{path}: expected weight_map, an object of tensor: file name")
    for name, shard in weight_map.items():
        # A shard is a file beside its index: no name may lead out of the directory.
        plain = isinstance(shard, str) and shard.isprintable() and Path(shard).name == shard
        if not plain or not shard:
            raise CheckpointDamaged(f"{path}: {name!r}: expected a plain file name, got {shard!r}")
    return weight_map


def _header_bytes(path: Path, file: BinaryIO, size: int) -> tuple[bytes, int]:
    first = file.read(8)
    if first == b"version ":
        raise CheckpointDamaged(
            f"{path} is a Git LFS pointer instead of the file; run `git lfs pull`"
        )
    if len(first) < 8:
        raise CheckpointDamaged(
            f"{path} has {size} bytes, expected a safetensors file; download it again"
        )
    length = int.from_bytes(first, "little")
    if not 2 <= length <= MAX_HEADER_BYTES or file.read(1) != b"{":
        raise CheckpointDamaged(
            f"{path} is not a safetensors file: it does not start with a JSON header's length"
        )
    if 8 + length > size:
        raise CheckpointDamaged(
            f"{path} is truncated: found {size} bytes, its header alone takes {8 + length}; "
            "download it again"
        )
    return b"{" + file.read(length - 1), 8 + length


def _parse_header(path: Path, header: bytes, data_start: int) -> dict[str, TensorInfo]:
    try:
        entries = _parse_json(header)
    except ValueError as error:
        raise CheckpointDamaged(
            f"{path}: the header is not JSON ({error}); download it again"
        ) from error
    assert isinstance(entries, dict), "it starts with a brace"
    entries.pop("__metadata__", None)
    tensors = {}
    for name, entry in entries.items():
        try:
            tensors[name] = _tensor(path, name, entry, data_start)
        except ValueError as error:
            raise CheckpointDamaged(f"{path}: tensor {name!r}: {error}") from None
    return tensors


def _tensor(path: Path, name: str, entry: Any, data_start: int) -> TensorInfo:
    """ValueError says what is wrong; the caller adds where."""
    if not name.isprintable():
        raise ValueError("expected a name of printable characters")
    if not isinstance(entry, dict):
        raise ValueError(f"expected dtype, shape and data_offsets, got {entry!r:.80}")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise ValueError(f"dtype: expected one of safetensors', got {dtype!r:.80}")
    if not _is_list_of_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"shape: expected a list of sizes, got {shape!r:.80}")
    if not _is_list_of_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"data_offsets: expected [start, stop], got {offsets!r:.80}")
    start, stop = offsets
    bits = prod(shape) * DTYPE_BITS[dtype]
    if (stop - start) * 8 != bits:
        raise ValueError(
            f"{stop - start} bytes of data, but {dtype} {list(shape)} takes {bits // 8}"
        )
    return TensorInfo(name, dtype, tuple(shape), path, data_start + start, data_start + stop)


def _check_layout(path: Path, tensors: Iterable[TensorInfo], data_start: int, size: int) -> None:
    """Check that the tensors are adjacent, without gap or overlap, and end with the file."""
    end = data_start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.stop)):
        if tensor.start != end:
            what = "overlaps the tensor before it" if tensor.start < end else "starts after a gap"
            raise CheckpointDamaged(
                f"{path}: tensor {tensor.name!r} {what}: it starts at byte {tensor.start}, "
                f"expected {end}; download the file again"
            )
        end = tensor.stop
    if end != size:
        what = "is truncated" if size < end else "has bytes after its last tensor"
        raise CheckpointDamaged(
            f"{path} {what}: found {size} bytes, its header describes {end}; download it again"
        )


def _is_list_of_sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item <= MAX_DIMENSION for item in value
    )


def _parse_json(text: bytes) -> Any:
    """Strict: a repeated key is an error, not a silent choice. Raises only ValueError."""
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_once_each)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"{twice!r:.80} is repeated")
    return found
