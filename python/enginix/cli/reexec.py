"""The command that runs this same `enginix` again, for the processes it supervises."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def own_command() -> list[str]:
    # Under Nix only the script knows where its packages are; the bare interpreter does not.
    script = Path(sys.argv[0])
    if script.name == "enginix" and os.access(script, os.X_OK):
        return [str(script.absolute())]
    return [sys.executable, "-m", "enginix"]
