"""Fails when a library that some ELF file of a package needs is provided by nobody.

usage: check_libraries.py PACKAGE LIBRARY_PATH [IGNORED...]
"""

import struct
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

# glibc's own, which the real hook finds through the loader.
GLIBC = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libresolv.so.2"}
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5
PT_LOAD, PT_DYNAMIC = 1, 2


def main() -> int:
    package, library_path, *ignored = sys.argv[1:]
    files = [path for path in Path(package).rglob("*") if path.is_file()]
    inputs = [Path(entry) for entry in library_path.split(":") if entry]
    provided = GLIBC | {path.name for path in files}
    provided |= {path.name for entry in inputs if entry.is_dir() for path in entry.iterdir()}
    missing = [
        f"{path.relative_to(package)} needs {library}"
        for path in files
        for library in needed(path)
        if library not in provided
        and not library.startswith("ld-linux")
        and not any(fnmatch(library, pattern) for pattern in ignored)
    ]
    for line in missing:
        print(f"auto-patchelf: {line}, which no input provides", file=sys.stderr)
    return 1 if missing else 0


def needed(path: Path) -> list[str]:
    """The DT_NEEDED entries of a 64-bit little-endian ELF file; none for any other file."""
    with path.open("rb") as file:
        if file.read(6) != b"\x7fELF\x02\x01":
            return []
    data = path.read_bytes()
    segments = list(program_headers(data))
    dynamic = next((s for s in segments if s[0] == PT_DYNAMIC), None)
    if dynamic is None:
        return []
    _, offset, _, size = dynamic
    entries = list(struct.iter_unpack("<qQ", data[offset : offset + size]))
    entries = entries[: [tag for tag, _ in entries].index(DT_NULL)]
    strings = file_offset(dict(entries)[DT_STRTAB], segments)
    return [text_at(data, strings + value) for tag, value in entries if tag == DT_NEEDED]


def program_headers(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(type, offset in the file, address, size in the file) of every segment."""
    (start,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for index in range(count):
        kind, _, offset, address, _, length = struct.unpack_from(
            "<IIQQQQ", data, start + index * size
        )
        yield kind, offset, address, length


def file_offset(address: int, segments: list[tuple[int, int, int, int]]) -> int:
    for kind, offset, start, length in segments:
        if kind == PT_LOAD and start <= address < start + length:
            return offset + address - start
    raise ValueError(f"address {address:#x} is in no segment")


def text_at(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()


if __name__ == "__main__":
    sys.exit(main())
