"""The parts of the triton-cpu runtime: where the server and its backend are, and what they need.

A stub that cannot start makes tritonserver wait for it for ever, so everything the stub needs is
looked for before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from enginix.errors import ProcessError, RuntimeMissing
from enginix.process import find_program, run
from enginix.runtimes.runtime import Runtime

STUB = "triton_python_backend_stub"

# Library -> Debian's package of it; libpython has its version in both names.
PACKAGES = {"libgomp.so.1": "libgomp1", "libstdc++.so.6": "libstdc++6"}


def tritonserver(runtime: Runtime) -> Path:
    return _wheel(runtime) / "bin" / "tritonserver"


def cache_directory(runtime: Runtime) -> Path:
    return _wheel(runtime) / "caches"


def link_backends(runtime: Runtime, directory: Path) -> None:
    """Lay out `directory` as Triton's --backend-directory.

    The wheel keeps one stub per Python version elsewhere; Triton wants the right one beside the
    backend, and links will do.
    """
    python = directory / "python"
    python.mkdir(parents=True)
    for file in _backend_files(runtime):
        (python / file.name).symlink_to(file)


def environment(runtime: Runtime, base: Mapping[str, str]) -> dict[str, str]:
    """The environment tritonserver runs in, made from `base`."""
    libraries = f"{runtime.site_packages / 'nvidia_pytriton.libs'}:{_libpython_directory(runtime)}"
    # The stub's embedded Python finds its packages by the first python3 on PATH.
    settings = {
        "PATH": f"{runtime.root / 'bin'}:{base.get('PATH', '')}",
        "LD_LIBRARY_PATH": ":".join(filter(None, [libraries, base.get("LD_LIBRARY_PATH")])),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Threads that spin while they wait take the cores from everything else on the machine.
        "OMP_WAIT_POLICY": base.get("OMP_WAIT_POLICY", "passive"),
    }
    without_python = {
        key: value for key, value in base.items() if key not in {"PYTHONPATH", "PYTHONHOME"}
    }
    return without_python | settings


def check_runtime(runtime: Runtime) -> None:
    """Raise RuntimeMissing, naming the package to install, when a library is not found."""
    for file in (tritonserver(runtime), *_backend_files(runtime)):
        if not file.exists():
            raise RuntimeMissing(
                f"{file} is missing from the runtime; make it again with "
                f"`enginix setup {runtime.kind} --force`"
            )
    missing = _missing_libraries(runtime, _stub(runtime)) | _missing_libraries(
        runtime, next(runtime.site_packages.glob("xllamacpp/xllamacpp*.so"))
    )
    if missing:
        packages = " ".join(sorted(_package(name) for name in missing))
        raise RuntimeMissing(
            f"Triton's Python backend needs {', '.join(sorted(missing))}, which is not here; "
            f"on Debian and Ubuntu: apt install {packages}"
        )


def _wheel(runtime: Runtime) -> Path:
    return runtime.site_packages / "pytriton" / "tritonserver"


def _stub(runtime: Runtime) -> Path:
    return _wheel(runtime) / "python_backend_stubs" / runtime.python_version / STUB


def _backend_files(runtime: Runtime) -> list[Path]:
    backend = _wheel(runtime) / "backends" / "python"
    return [
        backend / "libtriton_python.so",
        backend / "triton_python_backend_utils.py",
        _stub(runtime),
    ]


def _libpython_directory(runtime: Runtime) -> str:
    question = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    return run([str(runtime.python), "-c", question]).strip()


def _missing_libraries(runtime: Runtime, file: Path) -> set[str]:
    ldd = find_program("ldd")
    if ldd is None:
        return set()
    try:
        words = run([str(ldd), str(file)], env=environment(runtime, {}))
    except ProcessError as error:
        raise RuntimeMissing(f"{file} cannot run on this machine: {error}") from error
    return set(re.findall(r"(\S+) => not found", words))


def _package(library: str) -> str:
    if found := re.match(r"libpython(\d+\.\d+)", library):
        return f"libpython{found[1]}"
    return PACKAGES.get(library, library)
