"""Reads a GGUF's header and tensor table, and checks those of engines; reads no weights.

Written from the format's description and not from the writer, so that one checks the other.
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import NamedTuple, TypeVar

from enginix.errors import UsageError, engine_damaged
from enginix.records import Failure

VERSION = 3
# What llama.cpp reads.
VERSIONS = (2, 3)
ALIGNMENT = 32
MAX_DIMENSIONS = 4
STRING, ARRAY = 8, 9

# Value type -> its struct format; 8 is a string and 9 an array.
SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))

# Tensor type -> (values in a block, bytes of a block), for the types enginix writes.
BLOCKS = {0: (1, 4), 1: (1, 2), 30: (1, 2), 40: (64, 36)}
TYPE_NAMES = {0: "F32", 1: "F16", 30: "BF16", 40: "NVFP4"}
TOKENS = "tokenizer.ggml.tokens"
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """`start` is the byte in the file; `shape` has the rows first."""

    name: str
    shape: tuple[int, ...]
    type: str
    start: int
    size_bytes: int


class TensorRow(NamedTuple):
    """A tensor as the table has it: `start` counts from the first one."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    values: dict[str, str | int | float | bool]
    """The key values that are not arrays."""
    arrays: dict[str, int]
    """Array name -> length."""
    tensors: list[StoredTensor]


@dataclass(slots=True)
class GgufFile:
    """Any GGUF, whoever wrote it."""

    values: dict[str, str | int | float | bool] = field(default_factory=dict)
    """The key values that are not arrays."""
    arrays: dict[str, int] = field(default_factory=dict)
    """Array name -> length."""
    tokens: list[str] = field(default_factory=list)
    """The vocabulary by id; empty if it has none."""
    tensors: list[TensorRow] = field(default_factory=list)

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", ""))


def read_header(path: Path) -> GgufHeader:
    """The header of a complete GGUF of ours; EngineDamaged if the file contradicts it."""

    def checked(cursor: _Cursor) -> GgufHeader:
        file = _parse(cursor, (VERSION,))
        stored = [_stored(cursor, row) for row in file.tensors]
        return GgufHeader(file.values, file.arrays, _placed(cursor, stored))

    return _read(path, engine_damaged, checked)


def read_gguf(path: Path) -> GgufFile:
    """The header of any GGUF, with its vocabulary. UsageError if it cannot be read."""

    def failure(reason: str) -> UsageError:
        return UsageError(f"{reason}; expected a complete GGUF file")

    return _read(path, failure, lambda cursor: _parse(cursor, VERSIONS))


def _read(path: Path, failure: Failure, parse: Callable[[_Cursor], Read]) -> Read:
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise failure(f"{path} is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return parse(_Cursor(path, data, failure))
    except OSError as error:
        raise failure(f"{path} cannot be read: {error.strerror or error}") from error


def _parse(cursor: _Cursor, versions: tuple[int, ...]) -> GgufFile:
    magic = cursor.bytes(4)
    if magic != b"GGUF":
        raise cursor.damaged(f"starts with {magic!r}, expected b'GGUF'")
    if (version := cursor.scalar("I")) not in versions:
        raise cursor.damaged(f"has version {version}, expected {' or '.join(map(str, versions))}")
    tensor_count, value_count = cursor.count(24), cursor.count(12)
    found = GgufFile()
    for _ in range(value_count):
        name, kind = cursor.string(), cursor.scalar("I")
        if kind == ARRAY:
            texts = found.tokens if name == TOKENS else None
            found.arrays[name] = cursor.array(texts)
        else:
            found.values[name] = cursor.string() if kind == STRING else cursor.value(kind)
    found.tensors = [cursor.tensor() for _ in range(tensor_count)]
    return found


def _stored(cursor: _Cursor, row: TensorRow) -> StoredTensor:
    name, shape, kind, start = row
    if kind not in BLOCKS:
        raise cursor.damaged(f"has the tensor {name!r} of type {kind}, which no build writes")
    values, size = BLOCKS[kind]
    if shape[-1] % values:
        raise cursor.damaged(f"has the tensor {name!r} with rows of {shape[-1]} values")
    return StoredTensor(name, shape, TYPE_NAMES[kind], start, prod(shape) // values * size)


def _placed(cursor: _Cursor, tensors: list[StoredTensor]) -> list[StoredTensor]:
    """The tensors with offsets in the file; they must be adjacent and within it."""
    data_start = cursor.position + -cursor.position % ALIGNMENT
    end = 0
    placed = []
    for tensor in tensors:
        if tensor.start != end:
            raise cursor.damaged(
                f"has the tensor {tensor.name!r} at {tensor.start}, expected it at {end}"
            )
        size = tensor.size_bytes
        end += size + -size % ALIGNMENT
        place = data_start + tensor.start
        placed.append(StoredTensor(tensor.name, tensor.shape, tensor.type, place, size))
    if data_start + end != cursor.size:
        raise cursor.damaged(f"has {cursor.size} bytes, its header describes {data_start + end}")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise cursor.damaged("has two tensors of one name")
    return placed


class _Cursor:
    """Reads forward through the file; every step stays within it."""

    def __init__(self, path: Path, data: mmap.mmap, failure: Failure) -> None:
        self._path = path
        self._data = data
        self._failure = failure
        self.size = len(data)
        self.position = 0

    def damaged(self, what: str) -> Exception:
        return self._failure(f"{self._path} {what}")

    def bytes(self, count: int) -> bytes:
        start = self.position
        self._skip(count)
        return self._data[start : self.position]

    def _skip(self, count: int) -> None:
        self.position += count
        if self.position > self.size:
            raise self.damaged(f"has {self.size} bytes and ends within its header")

    def scalar(self, code: str) -> int:
        (value,) = struct.unpack(f"<{code}", self.bytes(struct.calcsize(f"<{code}")))
        return int(value)

    def count(self, smallest: int) -> int:
        """A count of entries of at least `smallest` bytes that the file can hold."""
        count = self.scalar("Q")
        if count * smallest > self.size - self.position:
            raise self.damaged(f"has {self.size} bytes, too few for the {count} entries it names")
        return count

    def string(self) -> str:
        try:
            return self.bytes(self.count(1)).decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged("has a name that is not UTF-8") from None

    def value(self, kind: int) -> int | float | bool:
        if kind not in SCALARS:
            raise self.damaged(f"has a value of the unknown type {kind}")
        code = f"<{SCALARS[kind]}"
        value: int | float | bool
        (value,) = struct.unpack(code, self.bytes(struct.calcsize(code)))
        return value

    def array(self, texts: list[str] | None = None) -> int:
        """Its length; its strings are added to `texts`, if that is given."""
        kind = self.scalar("I")
        if kind == STRING:
            count = self.count(8)
            for _ in range(count):
                if texts is None:
                    self._skip(self.count(1))
                else:
                    # Some vocabularies have tokens that are parts of characters.
                    texts.append(self.bytes(self.count(1)).decode("utf-8", "replace"))
        elif kind in SCALARS:
            size = struct.calcsize(f"<{SCALARS[kind]}")
            count = self.count(size)
            self._skip(count * size)
        else:
            raise self.damaged(f"has an array of the unknown type {kind}")
        return count

    def tensor(self) -> TensorRow:
        name = self.string()
        dimensions = self.scalar("I")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise self.damaged(f"has the tensor {name!r} with {dimensions} dimensions")
        shape = tuple(self.scalar("Q") for _ in range(dimensions))[::-1]
        return TensorRow(name, shape, self.scalar("I"), self.scalar("Q"))
