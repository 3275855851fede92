"""The `enginix` command, also as `python -m enginix`."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    # Until a command runs there is nothing to clean up, and an exception in the middle of an import
    # may surface as anything. `sh` starts background jobs with SIGINT ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    _open_closed_streams()
    from enginix.cli.main import main as run

    return run()


def _open_closed_streams() -> None:
    """Whatever is opened first would get the number of a standard stream that is closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"\nenginix: interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
