"""Finds the Triton that serves TensorRT-LLM engines: a runtime's or NVIDIA's container's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enginix.errors import ProcessError, RuntimeMissing
from enginix.process import find_program, run
from enginix.triton.server.command import Installation
from enginix.triton.server.repository import EXECUTOR_WORKER

CONTAINER = Path("/opt/tritonserver")
VARIABLE = "ENGINIX_RUNTIME_TENSORRT_LLM"
PRINT_VERSION = "import importlib.metadata as m; print(m.version('tensorrt_llm'))"
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class TensorrtLlmTriton:
    """`directory` is searched for programs before the caller's PATH."""

    server: Installation
    executor_worker: Path
    directory: Path

    @property
    def rank_server(self) -> Installation:
        """The server's program as mpirun starts it: by name, found on PATH.

        A runtime's commands may enter their own file system, as Nix's do: its mpirun already runs
        inside, and finds the server on the PATH there.
        """
        return Installation(Path(self.server.program.name), self.server.backends)

    def search_path(self, path: str) -> str:
        return f"{self.directory}:{path}"

    def mpirun(self, path: str) -> Path:
        found = find_program("mpirun", self.search_path(path))
        if found is None:
            raise RuntimeMissing(
                "an engine with several ranks is started by mpirun, which was not found on PATH; "
                "install the Open MPI that TensorRT-LLM was built for (Debian, Ubuntu: apt "
                "install openmpi-bin)"
            )
        return found

    def version(self, path: str) -> str | None:
        return installed_version(self.search_path(path))


def find_tensorrt_llm(runtime: Path | None, container: Path = CONTAINER) -> TensorrtLlmTriton:
    """`runtime` is a directory with bin/tritonserver. Raises RuntimeMissing, which explains."""
    for root in (runtime, container):
        if root is not None and (program := root / "bin" / "tritonserver").exists():
            return _triton(program)
    found = f", nor in {runtime} ({VARIABLE})" if runtime else ""
    raise RuntimeMissing(
        f"no Triton with TensorRT-LLM was found in {container}{found}; use the Nix app "
        "(`nix run .#tritonserver-NAME`), run inside NVIDIA's container "
        f"(nvcr.io/nvidia/tritonserver:YY.MM-trtllm-python-py3), or set {VARIABLE} to a directory "
        "with bin/tritonserver"
    )


def runtime_version(runtime: Path | None, path: str, container: Path = CONTAINER) -> str | None:
    """The TensorRT-LLM version of the Triton found, else of `runtime` or PATH."""
    try:
        return find_tensorrt_llm(runtime, container).version(path)
    except RuntimeMissing:
        return installed_version(f"{runtime / 'bin'}:{path}" if runtime else path)


def installed_version(path: str) -> str | None:
    """Query the first Python on `path` without loading anything; None if it is unknown."""
    for name in ("python", "python3"):
        if python := find_program(name, path):
            try:
                return run([str(python), "-c", PRINT_VERSION], timeout=TIMEOUT_SECONDS).split()[-1]
            except (ProcessError, IndexError):
                continue
    return None


def _triton(program: Path) -> TensorrtLlmTriton:
    backends = program.resolve().parents[1] / "backends"
    worker = backends / EXECUTOR_WORKER.parent.name / EXECUTOR_WORKER.name
    if worker.exists():
        return TensorrtLlmTriton(Installation(program, backends), worker, program.parent)
    # A command that enters NVIDIA's file system finds the rest at NVIDIA's paths.
    return TensorrtLlmTriton(Installation(program), EXECUTOR_WORKER, program.parent)
