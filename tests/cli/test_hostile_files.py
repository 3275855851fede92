"""Hostile checkpoints and GGUFs: one sentence each, no hang, bounded memory."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import enginix
from enginix.catalog.load import DIRECTORY
from enginix.manifest import FILE_NAME as MANIFEST_FILE

DEMO = DIRECTORY / "checkpoints/demo"
MEMORY = 1 << 30
HUGE = 1 << 60
# One process for all cases: its limits hold for each of them.
RUN = """
import contextlib, io, json, resource, signal, sys
resource.setrlimit(resource.RLIMIT_AS, (%d, %d))
from enginix.cli.main import main
for line in sys.stdin:
    signal.alarm(20)
    errors = io.StringIO()
    with contextlib.redirect_stdout(errors), contextlib.redirect_stderr(errors):
        try:
            status = main(json.loads(line))
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            status = repr(error)
    print(json.dumps([status, errors.getvalue()]), flush=True)
"""


def outcomes(commands: list[list[str]], home: Path) -> list[tuple[object, str]]:
    """The exit status and the message of each command line."""
    done = subprocess.run(
        [sys.executable, "-c", RUN % (MEMORY, MEMORY)],
        input="".join(json.dumps(command) + "\n" for command in commands),
        env={
            "PYTHONPATH": str(Path(enginix.__path__[0]).parent),
            "ENGINIX_HOME": str(home),
            "PATH": os.environ["PATH"],
            "OPENBLAS_NUM_THREADS": "1",
            "RAYON_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return [(status, message) for status, message in map(json.loads, done.stdout.splitlines())]


def checkpoint(where: Path, weights: bytes) -> Path:
    shutil.copytree(DEMO, where)
    for path in where.glob("*.safetensors*"):
        path.unlink()
    (where / "model.safetensors").write_bytes(weights)
    return where


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(start: int, stop: int, shape: list[int]) -> dict[str, object]:
    return {"dtype": "U8", "shape": shape, "data_offsets": [start, stop]}


def hostile_weights() -> Iterator[tuple[str, bytes]]:
    whole = next(DEMO.glob("*.safetensors")).read_bytes()
    yield from ((f"cut at {cut}", whole[:cut]) for cut in (0, 5, 8, 100, 14_000, 2_000_000))
    for length in (0, 1, HUGE, (1 << 64) - 1, 99_999_999):
        yield f"a header of {length} bytes", safetensors({}, length=length)
    yield "overlapping", safetensors({"a": tensor(0, 8, [8]), "b": tensor(4, 12, [8])}, bytes(12))
    yield (
        "the same bytes twice",
        safetensors({"a": tensor(0, 8, [8]), "b": tensor(0, 8, [8])}, bytes(8)),
    )
    yield "a gap", safetensors({"a": tensor(8, 16, [8])}, bytes(16))
    yield "beyond the end", safetensors({"a": tensor(0, HUGE, [HUGE])}, bytes(16))
    yield "a huge shape", safetensors({"a": tensor(0, 8, [2**62] * 32)}, bytes(8))
    yield "backwards", safetensors({"a": tensor(8, 0, [8])}, bytes(8))
    yield "no shape", safetensors({"a": {"dtype": "U8"}})
    yield "nested", safetensors(b"{" + b'"a":{' * 100_000)
    yield "numbers", safetensors(b'{"a":' + b"9" * 1_000_000 + b"}")
    many = b",".join(b'"%d":0' % each for each in range(200_000))
    yield "a name twice, late", safetensors(b"{" + many + b',"199999":1}')
    chance = random.Random(3)
    for number in range(15):
        damaged = bytearray(whole[:20_000])
        for _ in range(8):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        yield f"damaged {number}", bytes(damaged)


def test_hostile_weights_are_refused_in_one_sentence_each(tmp_path: Path) -> None:
    cases = dict(hostile_weights())
    places = [
        checkpoint(tmp_path / str(number), weights) for number, weights in enumerate(cases.values())
    ]
    inspected = [["checkpoint", "inspect", str(place)] for place in places]
    built = [
        ["engine", "build", "demo", f"--checkpoint={place}", f"--out={tmp_path}/e{number}"]
        for number, place in enumerate(places)
    ]
    found = outcomes(inspected + built, tmp_path / "home")
    assert len(found) == 2 * len(cases)
    for name, (status, message) in zip([*cases, *cases], found, strict=True):
        assert status == 1, (name, status, message)
        assert "Traceback" not in message, name
        assert "MemoryError" not in message, name
    assert not list(tmp_path.glob("e*"))


def string(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def gguf(values: bytes = b"", count: int = 0, tensors: bytes = b"", named: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, named, count) + values + tensors


def value(name: bytes, kind: int, content: bytes) -> bytes:
    return string(name) + struct.pack("<I", kind) + content


def entry(name: bytes, shape: list[int], kind: int, start: int) -> bytes:
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return string(name) + sizes + struct.pack("<IQ", kind, start)


def hostile_ggufs(whole: bytes) -> Iterator[tuple[str, bytes]]:
    yield from ((f"cut at {cut}", whole[:cut]) for cut in (0, 3, 4, 20, 24, 100, 9_000, -1))
    yield "another magic", b"GGML" + whole[4:]
    yield "2^60 values", gguf(count=HUGE)
    yield "2^60 tensors", gguf(named=HUGE)
    yield "a string of 2^60 bytes", gguf(value(b"a", 8, string(b"x", HUGE)), 1)
    yield "a name of 2^64 bytes", gguf(string(b"x", (1 << 64) - 1), 1)
    yield "an array of 2^60 strings", gguf(value(b"a", 9, struct.pack("<IQ", 8, HUGE)), 1)
    yield "an array of 2^60 numbers", gguf(value(b"a", 9, struct.pack("<IQ", 4, HUGE)), 1)
    nested = b"".join(struct.pack("<IQ", 9, 1) for _ in range(100_000))
    yield "arrays of arrays", gguf(value(b"a", 9, nested), 1)
    yield "an unknown type", gguf(value(b"a", 77, b""), 1)
    twice = entry(b"a", [32], 0, 0) + entry(b"b", [32], 0, 64)
    yield "overlapping tensors", gguf(tensors=twice, named=2) + bytes(512)
    same = entry(b"a", [32], 0, 0) + entry(b"a", [32], 0, 128)
    yield "a name twice", gguf(tensors=same, named=2) + bytes(512)
    yield "a huge tensor", gguf(tensors=entry(b"a", [HUGE] * 4, 0, 0), named=1) + bytes(64)
    yield "no dimensions", gguf(tensors=entry(b"a", [], 0, 0), named=1) + bytes(64)
    many = struct.pack("<I", 2**32 - 1)
    yield "2^32 dimensions", gguf(tensors=string(b"a") + many + bytes(64), named=1)
    chance = random.Random(5)
    for number in range(25):
        damaged = bytearray(whole)
        for _ in range(6):
            damaged[chance.randrange(24, 4000)] = chance.randrange(256)
        yield f"damaged {number}", bytes(damaged)


def test_hostile_ggufs_are_refused_in_one_sentence_each(demo_engine: Path, tmp_path: Path) -> None:
    whole = (demo_engine / "model.gguf").read_bytes()
    cases = dict(hostile_ggufs(whole))
    places = []
    for number, content in enumerate(cases.values()):
        place = shutil.copytree(demo_engine, tmp_path / str(number))
        (place / "model.gguf").write_bytes(content)
        manifest = json.loads((place / MANIFEST_FILE).read_text())
        manifest["files"]["model.gguf"] = len(content)
        (place / MANIFEST_FILE).write_text(json.dumps(manifest))
        places.append(place)
    found = outcomes([["engine", "verify", str(place)] for place in places], tmp_path / "home")
    for name, (status, message) in zip(cases, found, strict=True):
        assert status == 1, (name, status, message)
        assert "Traceback" not in message, name
        assert "MemoryError" not in message, name
