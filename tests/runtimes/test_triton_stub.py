"""The stub is patched for Python 3.13 only if its bytes are exactly the known ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from enginix.errors import RuntimeMissing
from enginix.runtimes.runtime import Runtime
from enginix.runtimes.triton_stub import EDITS, FITTED, ORIGINAL, fit_stub


def stub_of(runtime: Runtime) -> Path:
    stubs = runtime.site_packages / "pytriton" / "tritonserver" / "python_backend_stubs"
    return stubs / "3.13" / "triton_python_backend_stub"


def original(runtime: Runtime) -> bytes:
    """The stub as the wheel has it, whatever this runtime's Python is."""
    content = bytearray(stub_of(runtime).read_bytes())
    if hashlib.sha256(content).hexdigest() == FITTED:
        for offset, old, new in EDITS:
            assert content[offset : offset + len(new) // 2] == bytes.fromhex(new)
            content[offset : offset + len(old) // 2] = bytes.fromhex(old)
    assert hashlib.sha256(content).hexdigest() == ORIGINAL
    return bytes(content)


@pytest.mark.triton
def test_the_fitted_stub_asks_for_the_systems_libpython(runtime: Runtime, tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.write_bytes(original(runtime))
    fit_stub(stub)
    assert hashlib.sha256(stub.read_bytes()).hexdigest() == FITTED
    assert b"\0libpython3.13.so.1.0\0" in stub.read_bytes()
    assert b"libpython3-419a3a08" not in stub.read_bytes()
    assert stub.stat().st_mode & 0o111


@pytest.mark.triton
def test_fitting_it_again_changes_nothing(runtime: Runtime, tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.write_bytes(original(runtime))
    fit_stub(stub)
    before = stub.stat()
    fit_stub(stub)
    assert stub.stat() == before


@pytest.mark.triton
def test_one_byte_more_and_the_stub_is_refused_as_it_is(runtime: Runtime, tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.write_bytes(changed := original(runtime) + b"\0")
    with pytest.raises(RuntimeMissing, match=r"expected 7b701b4b.* use Python 3\.11 or 3\.12"):
        fit_stub(stub)
    assert stub.read_bytes() == changed
    assert list(tmp_path.iterdir()) == [stub]


def test_an_edit_never_moves_what_follows_it() -> None:
    assert all(len(old) == len(new) for _, old, new in EDITS)
