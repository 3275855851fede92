"""Patches the wheel's stub for Python 3.13 to use this system's libpython and numpy 2.

The stub loads the wheel's own libpython, whose standard library has `_struct` and `_datetime` as
files; distributions build them in. And its pybind11 reads an array's element size where numpy 1 has
it, at byte 32 of the descriptor; numpy 2 has it at byte 40, and numpy 1 has no wheel for Python
3.13. Unpatched, the first request with a string kills the stub, and every output is empty. Both
patches change a few bytes in a file that is identified by its hash.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from enginix.errors import RuntimeMissing

# SHA-256 of nvidia-pytriton 0.7.0's stub for x86-64, before and after.
ORIGINAL = "7b701b4b4bc01ca7af0350eaffa4f2aed92f02b465b3494a265059e4d3ca6cf8"
FITTED = "d0011aa5b068cc1379d507c5fde149b5b198f62ccbe702c57db5b89d3379c9a6"

# Offset, old bytes, new bytes.
EDITS = (
    # pybind11::array's constructor, for inputs: mov 0x20(%rax),%eax
    (0xACA29, "8b4020", "8b4028"),
    # PbTensor's constructor from an array, of text and of numbers, compiled twice:
    # movslq 0x20(%rax),%rax
    (0xA6C71, "48634020", "48634028"),
    (0xA6E8D, "48634020", "48634028"),
    (0xA7661, "48634020", "48634028"),
    (0xA78A6, "48634020", "48634028"),
    # The name of the library, shorter than before.
    (0x15457D, b"libpython3-419a3a08.13.so.1.0\0".hex(), b"libpython3.13.so.1.0".hex() + "00" * 10),
)


def fit_stub(stub: Path) -> None:
    """Patch `stub` atomically; RuntimeMissing if it is not the known file."""
    content = bytearray(stub.read_bytes())
    found = hashlib.sha256(content).hexdigest()
    if found == FITTED:
        return
    if found != ORIGINAL:
        raise RuntimeMissing(
            f"{stub} has the SHA-256 {found}, expected {ORIGINAL}: this stub for Python 3.13 is "
            "not known; use Python 3.11 or 3.12 with --python"
        )
    for offset, old, new in EDITS:
        end = offset + len(old) // 2
        assert content[offset:end] == bytes.fromhex(old), "the hash says so"
        content[offset:end] = bytes.fromhex(new)
    half_made = stub.with_suffix(".half-made")
    half_made.write_bytes(content)
    half_made.chmod(0o755)
    os.replace(half_made, stub)
