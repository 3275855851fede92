"""`enginix envoy render PROFILE|ADDRESS...`: writes Envoy's configuration for several gateways."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from enginix.cli.rendered import add_out, write_or_print
from enginix.deploy.envoy import EnvoyOptions, envoy_config
from enginix.deploy.yaml_text import to_yaml
from enginix.errors import UsageError
from enginix.serve.profile import load_profile, profile_names
from enginix.triton.client.address import parse_addresses

# An address to listen on -> the address that reaches it from this machine.
REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    render = commands.add_parser(
        "render", help="write a configuration that spreads requests over gateways"
    )
    options = EnvoyOptions(())
    add = render.add_argument
    add(
        "gateways",
        nargs="+",
        metavar="PROFILE|ADDRESS",
        help="a profile's gateway on this machine, or HOST:PORT; all serve the same models",
    )
    add("--host", default=options.host, help="address that Envoy listens on (%(default)s)")
    add("--port", type=int, default=options.port, help="%(default)s")
    add("--admin-port", type=int, default=options.admin_port, help="on 127.0.0.1 (%(default)s)")
    add_out(render)


def run(args: argparse.Namespace) -> int:
    for flag, port in (("--port", args.port), ("--admin-port", args.admin_port)):
        if not 0 < port < 65536:
            raise UsageError(f"{flag} is {port}; expected a number from 1 to 65535")
    gateways = gateways_of(args.gateways)
    for port in {args.port, args.admin_port} & {port for host, port in gateways if is_local(host)}:
        raise UsageError(f"port {port} is a gateway's on this machine; give Envoy another one")
    if args.port == args.admin_port:
        raise UsageError(f"--port and --admin-port are both {args.port}; expected two ports")
    text = to_yaml(envoy_config(EnvoyOptions(gateways, args.host, args.port, args.admin_port)))
    write_or_print(text, args.out, f"run it: envoy -c {args.out}")
    return 0


def gateways_of(words: Sequence[str]) -> list[tuple[str, int]]:
    """The addresses that profiles and addresses name; UsageError for any that comes twice."""
    found: list[tuple[str, int]] = []
    for word in words:
        for gateway in _gateways(word):
            if gateway in found:
                raise UsageError(f"{word}: the gateway at port {gateway[1]} is named twice")
            found.append(gateway)
    return found


def is_local(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


def _gateways(word: str) -> list[tuple[str, int]]:
    if ":" in word:
        text = word.removeprefix("http://").rstrip("/")
        return [(each.host, each.port) for each in parse_addresses(text, "a gateway")]
    if word not in profile_names():
        raise UsageError(
            f"{word!r} is neither an address nor a profile; expected HOST:PORT of a gateway, "
            f"or one of {', '.join(profile_names())}"
        )
    gateway = load_profile(word).gateway
    return [(REACHED_AT.get(gateway.host, gateway.host), gateway.port)]
