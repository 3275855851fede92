"""`enginix engine oci`: an engine as an OCI image, for a Kubernetes image volume."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

from enginix import __version__
from enginix.cli.find_engine import find_directory
from enginix.cli.signals import terminated_as_exit
from enginix.engine.oci_image import image_name, write_image
from enginix.errors import UsageError

# As Go and with it all registries spell them.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "engine", type=find_directory, metavar="DIR|NAME", help="the engine to write"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new directory")
    parser.set_defaults(action=write_engine_image)


def write_engine_image(args: argparse.Namespace) -> int:
    out: Path = args.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} is not empty; name a new directory, or remove this one")
    machine = platform.machine()
    with terminated_as_exit():
        manifest = write_image(args.engine, out, ARCHITECTURES.get(machine, machine))
    image = f"{image_name(manifest)}:{__version__}"
    print(
        f"{out} is the image of {manifest.name}, kind {manifest.kind}\n"
        f"skopeo copy --preserve-digests oci:{out} docker://YOUR_REGISTRY/{image}"
    )
    return 0
