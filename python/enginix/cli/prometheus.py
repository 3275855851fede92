"""`enginix prometheus render`: writes alert rules for Prometheus."""

from __future__ import annotations

import argparse

from enginix.cli.rendered import add_out, write_or_print
from enginix.deploy.prometheus import rules_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    add_out(commands.add_parser("render", help="write alert rules for gateways and models"))


def run(args: argparse.Namespace) -> int:
    write_or_print(rules_text(), args.out, "name it in rule_files of prometheus.yml")
    return 0
