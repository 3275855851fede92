"""Compare two recordings: `python compare.py KEPT NEW`; exit status 1 where weights differ.

Packed weights and block scales depend on the weights alone and must be equal. An activation scale
depends on sums whose order is the processor's; a difference is reported but is no failure.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = "recording.json"
OF_ACTIVATIONS = "activation_scaling_factor"


def main(kept: Path, new: Path) -> int:
    before, after = (json.loads((path / FILE).read_text("utf-8")) for path in (kept, new))
    if before["made_with"] != after["made_with"]:
        print(f"recorded with {before['made_with']}, now {after['made_with']}")
    one, other = dict(tensors(before)), dict(tensors(after))
    different = sorted(
        name for name in one.keys() | other.keys() if one.get(name) != other.get(name)
    )
    wrong = [name for name in different if not name.endswith(OF_ACTIVATIONS)]
    print(
        f"{len(one.keys() & other.keys()):,} tensors compared, {len(different):,} differ, "
        f"{len(different) - len(wrong):,} of them scales of activations"
    )
    for name in wrong[:5]:
        print(f"  {name}: recorded {one.get(name)}, now {other.get(name)}")
    return 1 if wrong else 0


def tensors(recording: Any) -> Iterator[tuple[str, str]]:
    for family, by_ranks in recording["families"].items():
        for ranks, files in by_ranks.items():
            for rank, lines in enumerate(files):
                for name, line in lines.items():
                    yield f"{family}, rank {rank} of {ranks}: {name}", line


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
