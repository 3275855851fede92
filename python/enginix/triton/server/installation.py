"""Finds the Triton that serves TensorRT-LLM engines: a runtime's, or NVIDIA's container's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enginix.errors import ProcessError, RuntimeMissing
from enginix.process import find_program, run
from enginix.triton.server.command import Installation
from enginix.triton.server.repository import EXECUTOR_WORKER

CONTAINER = Path("/opt/tritonserver")
VARIABLE = "ENGINIX_RUNTIME_TENSORRT_LLM"
QUESTION = "import importlib.metadata as m; print(m.version('tensorrt_llm'))"
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class TensorrtLlmTriton:
    """`directory` is searched for programs before the caller's PATH."""

    server: Installation
    executor_worker: Path
    directory: Path

    @property
    def rank_server(self) -> Installation:
        """The server as mpirun's ranks name it, by PATH.

        A runtime's commands may enter a file system of their own, as Nix's do: its mpirun is in
        there already, and finds the server itself in its own PATH.
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
    """`runtime` is a directory with bin/tritonserver; RuntimeMissing says how to get one."""
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
    """The TensorRT-LLM of the Triton that would serve here, or else of a runtime without one."""
    try:
        return find_tensorrt_llm(runtime, container).version(path)
    except RuntimeMissing:
        return installed_version(f"{runtime / 'bin'}:{path}" if runtime else path)


def installed_version(path: str) -> str | None:
    """Asked of the first Python on `path` without loading anything; None when nobody knows."""
    for name in ("python", "python3"):
        if python := find_program(name, path):
            try:
                return run([str(python), "-c", QUESTION], timeout=PATIENCE).split()[-1]
            except (ProcessError, IndexError):
                continue
    return None


def _triton(program: Path) -> TensorrtLlmTriton:
    backends = program.resolve().parents[1] / "backends"
    worker = backends / EXECUTOR_WORKER.parent.name / EXECUTOR_WORKER.name
    if worker.exists():
        return TensorrtLlmTriton(Installation(program, backends), worker, program.parent)
    # A command that enters NVIDIA's file system finds everything where it is in there.
    return TensorrtLlmTriton(Installation(program), EXECUTOR_WORKER, program.parent)
