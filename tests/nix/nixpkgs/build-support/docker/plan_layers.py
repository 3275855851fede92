"""Says which store paths are in which layer: each in its own, as long as there are layers.

usage: plan_layers.py SETTINGS GRAPH... >CONF      GRAPH is nix' list of paths and their references
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    wanted = {path for graph in sys.argv[2:] for path in paths(Path(graph))}
    # They are in the image in another form.
    wanted -= {settings["baseJson"], settings["customisationLayer"]}
    # One layer holds the links.
    single = settings.pop("maxLayers") - 2
    ordered = sorted(wanted)
    layers = [[path] for path in ordered[:single]]
    if rest := ordered[single:]:
        layers.append(rest)
    print(json.dumps({**settings, "layers": layers}, indent=2))


def paths(graph: Path) -> Iterator[str]:
    """Entries are: the path, its derivation, the number of references, the references."""
    lines = iter(graph.read_text(encoding="utf-8").splitlines())
    for path in lines:
        yield path
        next(lines)
        for _ in range(int(next(lines))):
            next(lines)


if __name__ == "__main__":
    main()
