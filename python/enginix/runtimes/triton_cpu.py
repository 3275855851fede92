"""The triton-cpu runtime: paths of the server and its backend, and their requirements.

tritonserver waits for ever for a stub that cannot start, so everything the stub needs is checked
first.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from pathlib import Path

from enginix import prerequisites
from enginix.errors import ProcessError, RuntimeMissing
from enginix.prerequisites import Missing, part_of
from enginix.process import find_program, run
from enginix.runtimes.runtime import TRITON_CPU, Runtime
from enginix.runtimes.triton_stub import fit_stub

STUB = "triton_python_backend_stub"
# Pythons whose stub in the wheel does not work unpatched.
FITTED_PYTHONS = ("3.13",)


def tritonserver(runtime: Runtime) -> Path:
    return _wheel(runtime) / "bin" / "tritonserver"


def cache_directory(runtime: Runtime) -> Path:
    return _wheel(runtime) / "caches"


def link_backends(runtime: Runtime, directory: Path) -> None:
    """Lay out `directory` as Triton's --backend-directory.

    The wheel keeps one stub per Python version elsewhere; Triton expects the right one beside the
    backend, where links suffice.
    """
    python = directory / "python"
    python.mkdir(parents=True)
    for file in _backend_files(runtime):
        (python / file.name).symlink_to(file)


# llama.cpp's threads wait for each other some 400 times a step: asleep at once, they would spend a
# tenth to a half of it on waking up; awake until the next step, they would take the cores from
# everything else on the machine. So they spin for some milliseconds, as OpenMP's own default is.
# That outlasts what Triton and the gateway do with a token, and the waits of a large model's step.
OPENMP = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "300000"}


def environment(runtime: Runtime, base: Mapping[str, str]) -> dict[str, str]:
    """tritonserver's environment, made from `base`."""
    libraries = (
        f"{runtime.site_packages / 'nvidia_pytriton.libs'}:{_library_directory(runtime.python)}"
    )
    # The stub's embedded Python finds its packages by the first python3 on PATH.
    settings = {
        "PATH": f"{runtime.root / 'bin'}:{base.get('PATH', '')}",
        "LD_LIBRARY_PATH": ":".join(filter(None, [libraries, base.get("LD_LIBRARY_PATH")])),
        "PYTHONDONTWRITEBYTECODE": "1",
        **{name: base.get(name, value) for name, value in OPENMP.items()},
    }
    without_python = {
        key: value for key, value in base.items() if key not in {"PYTHONPATH", "PYTHONHOME"}
    }
    return without_python | settings


def complete(runtime: Runtime) -> None:
    """Finish a new runtime after pip; RuntimeMissing if it cannot work here."""
    if runtime.python_version in FITTED_PYTHONS:
        fit_stub(_stub(runtime))
    check_runtime(runtime)


def require_prerequisites(python: Path, version: str, home: Path) -> None:
    """Check the machine before fetching anything; RuntimeMissing names all that is missing."""
    libraries = (*prerequisites.LIBRARIES, prerequisites.libpython(version))
    _require(
        [
            *prerequisites.check_platform(platform.libc_ver()),
            *prerequisites.check_libraries(libraries, [_library_directory(python)]),
            *prerequisites.check_shared_memory(),
            *prerequisites.check_disk([home]),
        ],
        version,
    )


def require_shared_memory(place: Path = prerequisites.SHARED_MEMORY) -> None:
    """Check before Triton starts, whose log would only say that a model could not be loaded."""
    _require(prerequisites.check_shared_memory(place), prerequisites.python_version())


def check_runtime(runtime: Runtime) -> None:
    """RuntimeMissing names the package to install if a library is not found."""
    for file in (tritonserver(runtime), *_backend_files(runtime)):
        if not file.exists():
            raise RuntimeMissing(
                f"{file} is missing from the runtime; make it again with "
                f"`enginix setup {TRITON_CPU.kind} --force`"
            )
    missing = _missing_libraries(runtime, _stub(runtime)) | _missing_libraries(
        runtime, next(runtime.site_packages.glob("xllamacpp/xllamacpp*.so"))
    )
    _require([Missing(name, part_of(name)) for name in sorted(missing)], runtime.python_version)


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


def _require(missing: list[Missing], version: str) -> None:
    if missing:
        here = prerequisites.this_distribution()
        raise RuntimeMissing(prerequisites.sentence(missing, here, version))


def _library_directory(python: Path) -> str:
    """The directory of its libpython, if it has one."""
    question = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    return run([str(python), "-c", question]).strip()


def _missing_libraries(runtime: Runtime, file: Path) -> set[str]:
    ldd = find_program("ldd")
    if ldd is None:
        return set()
    try:
        output = run([str(ldd), str(file)], env=environment(runtime, {}))
    except ProcessError as error:
        raise RuntimeMissing(f"{file} cannot run on this machine: {error}") from error
    return set(re.findall(r"(\S+) => not found", output))
