"""`enginix grafana render`: writes the dashboard that Grafana imports."""

from __future__ import annotations

import argparse

from enginix.cli.rendered import add_out, write_or_print
from enginix.deploy.dashboard import dashboard_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    add_out(commands.add_parser("render", help="write the dashboard of gateways and models"))


def run(args: argparse.Namespace) -> int:
    write_or_print(dashboard_text(), args.out, "import it in Grafana: Dashboards, New, Import")
    return 0
