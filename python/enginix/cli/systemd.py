"""`enginix systemd render PROFILE`: writes the unit that runs `enginix up PROFILE`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from enginix.cli.chosen_profile import chosen
from enginix.cli.environment import cache_home
from enginix.cli.gateway_options import gateway_entry, settings_of
from enginix.cli.reexec import own_command
from enginix.cli.up import add_serving_arguments
from enginix.deploy.systemd import Service, require_visible, units
from enginix.errors import UsageError
from enginix.records import replace_text
from enginix.serve.gateway import flags_for
from enginix.serve.overrides import overridden
from enginix.serve.profile import GatewayEntry, Profile, profile_names

LONGEST_DRAIN = 24 * 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    render = commands.add_parser("render", help="write the unit that runs a profile")
    add = render.add_argument
    add(
        "profile",
        nargs="?",
        metavar="PROFILE",
        help=f"one of: {', '.join(profile_names())}; without one, no model is loaded yet",
    )
    add("--models", type=_absolute, metavar="FILE", help="run the models of a models.json instead")
    add(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help="only this model of FILE; without FILE, one of the catalogue; repeatable",
    )
    add("--user", action="store_true", help="a unit for `systemctl --user`")
    add("--name", metavar="NAME", help="of the unit (default: enginix-PROFILE)")
    add("--out", type=Path, metavar="DIR", help="default: standard output")
    add(
        "--prepare",
        action="store_true",
        help="also a unit that runs before, and fetches and builds what is missing",
    )
    add("--hf-token", type=_absolute, metavar="FILE", help="with the token for the hub")
    add("--no-gpu", action="store_true", help="keep the devices of GPUs from it")
    add("--no-hardening", action="store_true", help="leave out all that only takes rights away")
    add_serving_arguments(render)
    render.set_defaults(engine=None)


def run(args: argparse.Namespace) -> int:
    service = _service(args)
    files = units(service)
    if args.out is None:
        # The name of each, if there are two.
        print("\n".join(f"# {name}\n{text}" for name, text in files.items()), end="")
        return 0
    for name, text in files.items():
        try:
            args.out.mkdir(parents=True, exist_ok=True)
            replace_text(args.out / name, text)
        except FileExistsError:
            raise UsageError(f"--out {args.out} is a file; expected a directory") from None
        except OSError as error:
            raise UsageError(f"--out {args.out} cannot be written: {error.strerror}") from None
        print(args.out / name)
    systemctl = "systemctl --user" if args.user else "systemctl"
    print(f"{systemctl} daemon-reload && {systemctl} enable --now {service.name}")
    return 0


def _service(args: argparse.Namespace) -> Service:
    """Checked like what `enginix up` is given."""
    if args.user and args.no_gpu:
        raise UsageError("--no-gpu is for a service of the system; leave it out, or --user")
    program = _program(args)
    profile = chosen(args)
    profile = overridden(replace(profile, gateway=gateway_entry(args, profile.gateway)), args.set)
    # Its file of keys may be one that only root reads.
    settings = settings_of(replace(profile.gateway, api_keys=""))
    drain = settings.load.shutdown_delay + settings.load.drain
    if drain >= LONGEST_DRAIN:
        raise UsageError(
            f"--drain-seconds and --shutdown-delay are {drain:g} together; expected less than a "
            "day, which systemd is to wait"
        )
    return Service(
        name=args.name or f"enginix-{profile.name}",
        description=f"enginix: {profile.title}",
        argv=[*program, "up", *_arguments(args)],
        user=args.user,
        drain_seconds=drain,
        api_keys=_key_file(profile),
        token=args.hf_token,
        environment=_environment(args),
        hardening=not args.no_hardening,
        gpu=not args.no_gpu,
        prepare=args.prepare,
    )


def _program(args: argparse.Namespace) -> list[str]:
    command = own_command()
    if not args.user:
        models = [args.models] if args.models else []
        roots = [root.absolute() for root in args.model_root]
        # Hardening or not: a service's own user may not read them either.
        require_visible([Path(command[0]), *models, *roots])
    return command


def _arguments(args: argparse.Namespace) -> list[str]:
    """What `enginix up` is given, except for the keys."""
    names = (field for field in GatewayEntry.__slots__ if field != "api_keys")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    return [
        *([args.profile] if args.profile else []),
        *([f"--models={args.models}"] if args.models else []),
        *(f"--model={name}" for name in args.model),
        *(f"--set={setting}" for setting in args.set),
        *(f"--model-root={root.absolute()}" for root in args.model_root),
        *flags_for(given),
    ]


def _key_file(profile: Profile) -> Path | None:
    return Path(profile.gateway.api_keys) if profile.gateway.api_keys else None


def _environment(args: argparse.Namespace) -> dict[str, str]:
    """A user's service finds the engines where this command does."""
    usual = Path("~/.cache/enginix").expanduser()
    return {"ENGINIX_HOME": str(home)} if args.user and (home := cache_home()) != usual else {}


def _absolute(text: str) -> Path:
    return Path(text).expanduser().absolute()
