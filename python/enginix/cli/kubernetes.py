"""`enginix kubernetes render NAME --out DIR`: writes the objects that serve a catalogue model."""

from __future__ import annotations

import argparse
from pathlib import Path

from enginix.catalog.load import find_model
from enginix.deploy.kubernetes.folder import kustomize_folder, write_folder
from enginix.deploy.kubernetes.release import release_of
from enginix.errors import UsageError

REGISTRY = "registry.example/enginix"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    render = commands.add_parser("render", help="write a kustomize folder for a catalogue model")
    add = render.add_argument
    add("name", metavar="NAME", help="a catalogue model")
    add("--tp", type=int, metavar="N", help="GPUs per pod, a variant of it (the smallest)")
    add("--out", type=Path, required=True, metavar="DIR", help="a new directory")
    add("--replicas", type=int, default=2, help="pods (%(default)s)")
    add("--registry", default=REGISTRY, help="where the images are (%(default)s)")
    add(
        "--gateway",
        default="inference-gateway",
        metavar="NAME",
        help="the Gateway API's Gateway that requests come through (%(default)s)",
    )
    add("--gpus-per-node", type=int, default=8, metavar="N", help="of your nodes (%(default)s)")


def run(args: argparse.Namespace) -> int:
    for name in ("replicas", "gpus_per_node"):
        if getattr(args, name) < 1:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} is {getattr(args, name)}; expected 1 or more")
    release = release_of(
        find_model(args.name),
        args.tp,
        gpus_per_node=args.gpus_per_node,
        registry=args.registry,
        gateway=args.gateway,
        replicas=args.replicas,
    )
    write_folder(kustomize_folder(release), args.out)
    print(
        f"{args.out} has the objects of {release.name}; its images are "
        f"{release.gateway_image}, {release.server_image} and {release.engine_image}\n"
        f"kubectl create secret generic {release.name}-api-keys --from-literal=keys=YOUR_KEY\n"
        f"kubectl apply -k {args.out}"
    )
    return 0
