"""The profile that `enginix up` is to run, and how its files are read again while it does."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enginix.cli.gateway_options import gateway_entry, settings_of
from enginix.errors import UsageError
from enginix.gateway.settings import Settings
from enginix.serve.environment import Environment
from enginix.serve.files import Stamp, WatchedFiles, stamp
from enginix.serve.gpus import with_gpus
from enginix.serve.models_file import catalogue_profile, read_models_file
from enginix.serve.overrides import overridden
from enginix.serve.profile import DIRECTORY as PROFILES
from enginix.serve.profile import GatewayEntry, Profile, load_profile
from enginix.serve.reload import Sources
from enginix.triton.client.client import TritonClient


def completed(profile: Profile, here: Environment, args: argparse.Namespace) -> Profile:
    """With everything else that the arguments say of it."""
    return with_gpus(overridden(_with_gateway(profile, args), args.set), here)


def file_of(args: argparse.Namespace) -> list[Path]:
    """The file that `chosen` reads; none for a model of the catalogue."""
    if args.profile is not None:
        return [PROFILES / f"{args.profile}.toml"]
    return [args.models.absolute()] if args.models is not None else []


def key_files(gateway: GatewayEntry) -> list[Path]:
    return [Path(gateway.api_keys).absolute()] if gateway.api_keys else []


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a profile's models come from."""

    files: Sequence[Path]
    first: Stamp
    """Of the files before they were first read."""
    read: Callable[[], Profile]


def origin_of(args: argparse.Namespace) -> Origin:
    files = file_of(args)
    return Origin(files, stamp(files), lambda: _with_ports(chosen(args), args))


def sources_of(
    origin: Origin,
    keys: Sequence[Path],
    first_keys: Stamp,
    settings: Settings,
    here: Environment,
    args: argparse.Namespace,
) -> Sources:
    """`keys` are the gateway's files of keys; `first_keys` and `settings` as they were read."""

    def read() -> Profile:
        profile = completed(origin.read(), here, args)
        if settings_of(profile.gateway).api_keys != settings.api_keys:
            raise UsageError(
                f"{profile.gateway.api_keys}: its keys are not those of the start, and keys "
                "without names are read then only; restart `enginix up`, or use a .toml file, as "
                "`enginix keys` writes it"
            )
        return profile

    files = WatchedFiles(
        [*origin.files, *keys],
        (*origin.first, *first_keys),
        watched=getattr(args, "watch", False),
    )
    return Sources(files, read, _check_row)


def _check_row(row: Mapping[str, Any]) -> None:
    # The gateway has it in memory, the supervisor only when it is needed.
    from enginix.cli.openai_models import opener_of

    opener_of(lambda address, vocabulary: TritonClient(address, vocabulary=vocabulary))(row)


def chosen(args: argparse.Namespace) -> Profile:
    """The models that the arguments name, whose ports may still be 0."""
    if args.profile is not None:
        if args.models or args.model or args.engine:
            raise UsageError(
                "a PROFILE names the models to run; leave --models, --model and --engine out"
            )
        return load_profile(args.profile)
    if args.models is not None:
        if args.engine is not None:
            raise UsageError(f"{args.models} names the server of each model; leave --engine out")
        return read_models_file(args.models, *args.model)
    if not args.model:
        if args.engine is not None:
            raise UsageError("--engine serves a model; name it with --model NAME")
        return Profile("gateway", "no model yet", [], hello="")
    return catalogue_profile(args.model, args.engine)


def _with_ports(profile: Profile, args: argparse.Namespace) -> Profile:
    ports = _given(args, "http_port", "grpc_port", "metrics_port")
    if ports and not profile.models:
        raise UsageError(
            "--http-port, --grpc-port and --metrics-port are a model's; name a PROFILE, "
            "--models FILE or --model NAME"
        )
    first = [replace(entry, **ports) for entry in profile.models[:1]]  # type: ignore[arg-type]
    return replace(profile, models=[*first, *profile.models[1:]])


def _given(args: argparse.Namespace, *names: str) -> dict[str, object]:
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _with_gateway(profile: Profile, args: argparse.Namespace) -> Profile:
    return replace(
        profile,
        gateway=gateway_entry(args, profile.gateway),
        model_roots=[*profile.model_roots, *(str(root.absolute()) for root in args.model_root)],
    )
