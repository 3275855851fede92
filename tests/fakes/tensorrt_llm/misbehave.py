"""The known failures of TensorRT-LLM, chosen by TRTLLM_STANDIN_MODE."""

import errno
import os
import signal
import subprocess
import sys
import time
from typing import BinaryIO

MODES = (
    "",
    "hang-after-success",
    "hang-halfway",
    "crash",
    "forget-rank",
    "truncate-rank",
    "kill-self",
    "kill-worker",
    "fill-disk",
    "grow-slowly",
    "no-driver",
    "gpu-memory",
    "forget-tensor",
    "forget-tables",
    "short-table",
    "extra-tensor",
    "kill-conversion",
    "lose-quantization",
)

MODE = os.environ.get("TRTLLM_STANDIN_MODE", "")
if MODE not in MODES:
    raise SystemExit(f"TRTLLM_STANDIN_MODE: expected one of {MODES}, got {MODE!r}")


def gpu_count() -> int:
    return int(os.environ.get("TRTLLM_STANDIN_GPUS", "4"))


def while_importing() -> None:
    if MODE == "no-driver":
        raise ImportError("libcuda.so.1: cannot open shared object file: No such file or directory")


def while_converting(tensors: dict) -> dict:
    if MODE == "kill-conversion":
        os.kill(os.getpid(), signal.SIGKILL)
    if MODE == "forget-tensor":
        return dict(list(tensors.items())[:-1])
    if MODE == "forget-tables":
        return {name: tensor for name, tensor in tensors.items() if "." in name}
    first, last = next(iter(tensors)), next(reversed(tensors))
    if MODE == "short-table":
        short = tensors[first].data[:, :-1]
        return {**tensors, first: type(tensors[first])("F32", short)}
    if MODE == "extra-tensor":
        return {**tensors, "embed_positions_local": tensors[last]}
    return tensors


def before_building(is_last: bool) -> None:
    if is_last and MODE == "crash":
        raise RuntimeError(
            "[TRT] [E] Error Code 10: Internal Error (Could not find any implementation)"
        )
    if is_last and MODE == "gpu-memory":
        raise RuntimeError("Error Code 2: OutOfMemory (Requested size was 17179869184 bytes.)")
    if is_last and MODE == "kill-worker":
        os.kill(os.getpid(), signal.SIGKILL)


def write_engine(file: BinaryIO, pieces: list[bytes], is_last: bool) -> None:
    """Write the engine's content, with the chosen fault."""
    for number, piece in enumerate(pieces):
        if is_last and number == len(pieces) // 2:
            file.flush()
            if MODE == "hang-halfway":
                sleep_for_ever()
            if MODE == "kill-self":
                os.kill(os.getpid(), signal.SIGKILL)
            if MODE == "fill-disk":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if MODE == "truncate-rank":
                return
        if MODE == "grow-slowly":
            time.sleep(float(os.environ.get("TRTLLM_STANDIN_PAUSE", "0.3")))
        file.write(piece)
        if MODE == "grow-slowly":
            file.flush()


def after_success() -> None:
    """Stay, as the original does when a thread of its MPI pool cannot be joined.

    A grandchild in a session of its own keeps standard output open, as Open MPI's daemon does.
    """
    if MODE == "hang-after-success":
        child = [sys.executable, "-c", "import time; time.sleep(3600)"]
        subprocess.Popen(child, start_new_session=True)
        sleep_for_ever()


def sleep_for_ever() -> None:
    while True:
        time.sleep(3600)
