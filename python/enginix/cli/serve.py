"""`enginix serve MODEL...`: fetches, builds and serves any model as this machine allows."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from enginix.cli import environment
from enginix.cli.checkpoint_fetch import fetch_listing
from enginix.cli.chosen_profile import Origin
from enginix.cli.gateway_options import gateway_entry, settings_of
from enginix.cli.model_source import ModelSource, find_source, kept_engine, limits_for, offer_of
from enginix.cli.serve_engine import engine_for
from enginix.cli.up import (
    add_serving_arguments,
    own_environment,
    run_profile,
)
from enginix.cli.up_prepare import prepare_runtime
from enginix.cli.views.sizes import human_size
from enginix.cli.views.told import tell
from enginix.errors import CheckpointUnsupported, EnginixError, RuntimeMissing, UsageError
from enginix.manifest import read_manifest
from enginix.memory import available_memory
from enginix.ports import require_port_free
from enginix.runtimes.find import runtime_root
from enginix.serve.choose_server import Machine, Offer, Verdict, choose, judge
from enginix.serve.environment import Environment
from enginix.serve.load_request import new_entry
from enginix.serve.model_entry import ModelEntry
from enginix.serve.models_file import NAME
from enginix.serve.profile import GatewayEntry, Profile
from enginix.serve.servers import SERVERS, server_called
from enginix.serve.servers.program import Reads
from enginix.triton.server.gpus import query_gpus, visible_gpus


@dataclass(frozen=True, slots=True)
class Plan:
    """A model, its server program, and the user's limits."""

    source: ModelSource
    offer: Offer
    verdict: Verdict
    context: int | None

    @property
    def is_built(self) -> bool:
        """Whether its checkpoint is made into an engine."""
        return self.source.reads is Reads.CHECKPOINT and not self.reads_checkpoints

    @property
    def needs_llama_cpp(self) -> bool:
        return not self.reads_checkpoints and self.offer.kind != "tensorrt-llm"

    @property
    def reads_checkpoints(self) -> bool:
        return self.verdict.server.reads is Reads.CHECKPOINT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "models",
        nargs="+",
        metavar="MODEL",
        help="a catalogue name, org/name (@revision) at the hub, a checkpoint's or an engine's "
        "directory, or a .gguf file",
    )
    add("--engine", metavar="E", help=f"the server, one of: {', '.join(SERVERS)}")
    add("--tp", "--tensor-parallel", type=int, metavar="N", help="GPUs to split the model across")
    add("--context", type=int, metavar="N", help="tokens of a prompt and its answer")
    add("--name", help="what clients call it (default: its own name)")
    add("--dry-run", action="store_true", help="print what would be done, and stop")
    add_serving_arguments(parser)


def run(args: argparse.Namespace) -> int:
    _check(args)
    here = own_environment()
    # Raise these errors before any download.
    gateway = gateway_entry(args, GatewayEntry())
    settings_of(gateway)
    if not args.dry_run:
        require_port_free(gateway.host, gateway.port, "--port")
    plans = _plans(args, here)
    if args.dry_run:
        for plan in plans:
            _show(plan)
    else:
        plans = [_made(plan, args, here) for plan in plans]
    entries = [_entry(plan, len(plans)) for plan in plans]
    # No sample question: not every model is a chat model.
    profile = Profile("serve", "what `enginix serve` serves", entries, hello="")
    return run_profile(Origin([], (), lambda: profile), here, args)


def _check(args: argparse.Namespace) -> None:
    if args.engine is not None:
        args.engine = server_called(args.engine, "--engine").name
    for flag, value in (("--tp", args.tp), ("--context", args.context)):
        if value is not None and value < 1:
            raise UsageError(f"{flag}: expected at least 1, got {value}")
    if args.name is not None and len(args.models) > 1:
        raise UsageError(f"--name names one model, and {len(args.models)} are given")


def _plans(args: argparse.Namespace, here: Environment) -> list[Plan]:
    """A plan for each model; UsageError if no server here can serve it."""
    machine = look_at_machine(here, len(args.models))
    plans = []
    for word in args.models:
        source = find_source(word)
        source = replace(source, name=args.name or source.name)
        if not NAME.fullmatch(source.name):
            raise UsageError(
                f"{source.name!r} is no name for a model; give it one with --name NAME"
            )
        plan = _plan(source, machine, args)
        plans.append(plan)
        if not plan.verdict.ranks:
            machine = replace(machine, memory=machine.memory - plan.offer.host_memory)
        disk = plan.offer.fetches + (plan.offer.builds if plan.is_built else 0)
        machine = replace(machine, disk=machine.disk - disk)
    return plans


def _plan(source: ModelSource, machine: Machine, args: argparse.Namespace) -> Plan:
    """Choose a server, and print the reason for each program."""
    offer = offer_of(source, args.tp or 1, args.context)
    verdicts = judge(offer, machine, args.tp)
    chosen = choose(verdicts, offer, args.engine)
    # Standard output of a dry run is a script.
    say = _comment if args.dry_run else tell
    fetches = f", {human_size(offer.fetches)} to fetch" if offer.fetches else ""
    say(source.name, f"{source.described}, {human_size(offer.weights)} of weights{fetches}")
    for each in verdicts:
        text = each.line
        if each is chosen:
            although = f", although {each.obstacle}" if each.obstacle else ""
            text = f"serves it {each.how}{although}"
        say(f"  {each.server.name:<8}", text)
    if chosen is None:
        raise UsageError(_nothing_serves(source, verdicts, machine, args.engine))
    if args.context is not None:
        _check_context(source, offer, chosen, args.context)
    return Plan(source, offer, chosen, args.context)


def _comment(subject: str, text: str) -> None:
    print(f"# {subject:<10} {text}")


def _nothing_serves(
    source: ModelSource, verdicts: Sequence[Verdict], machine: Machine, engine: str | None
) -> str:
    if engine is not None:
        why = next(each.obstacle for each in verdicts if engine in each.server.names)
        return f"{engine} cannot serve {source.name}: {why}"
    text = f"no server program here can serve {source.name}; the reasons are above"
    if machine.gpus and source.spec and source.spec.kind == "tensorrt-llm":
        text += f"; Triton can, with an engine: `enginix engine build {source.spec.name} --tp N`"
    return text


def _check_context(source: ModelSource, offer: Offer, chosen: Verdict, context: int) -> None:
    if 0 < offer.context < context:
        raise UsageError(
            f"{source.name} was made for {offer.context} tokens, and --context asks for {context}; "
            "expected at most that"
        )
    if source.reads is Reads.ENGINE and chosen.server.reads is Reads.ENGINE:
        built = read_manifest(source.path).limits.max_seq_len
        if context != built:
            raise UsageError(
                f"{source.path} was built for {built} tokens, and --context asks for {context}; "
                "leave it out, or serve the checkpoint that the engine was made of"
            )


def look_at_machine(here: Environment, models: int) -> Machine:
    """For one of so many models, which share the GPUs."""
    gpus = visible_gpus(query_gpus(), environment.everything().get("CUDA_VISIBLE_DEVICES"))
    home = next(path for path in (here.home, *here.home.parents) if path.exists())
    return Machine(
        gpus=tuple(gpu.memory_free * 2**20 // models for gpu in gpus),
        memory=available_memory(),
        disk=shutil.disk_usage(home).free,
        installed=_installed(here),
        lacks=_lacks(),
    )


def _installed(here: Environment) -> dict[str, str]:
    found = {}
    for server in SERVERS.values():
        try:
            program = Path(server.find(here, ModelEntry("", server.name))[0])
        except RuntimeMissing:
            continue
        kinds = [
            recipe.kind
            for recipe in server.recipes
            if program.is_relative_to(runtime_root(recipe, here.home))
        ]
        found[server.name] = kinds[0] if kinds else ""
    return found


def _lacks() -> dict[str, str]:
    found = {}
    for server in SERVERS.values():
        try:
            server.require_machine()
        except EnginixError as error:
            found[server.name] = str(error)
    return found


def _made(plan: Plan, args: argparse.Namespace, here: Environment) -> Plan:
    """Fetch and build what is missing; the downloaded weights may change the decision."""
    source = plan.source
    if plan.needs_llama_cpp:
        # Before the download: there may be no wheels for this machine.
        prepare_runtime(here)
    if source.listing is not None:
        fetch_listing(source.listing, source.path, with_origin=True)
        tell("fetched", str(source.path))
        source = replace(source, listing=None)
        offer = offer_of(source, plan.verdict.ranks or 1, plan.context)
        machine = look_at_machine(here, len(args.models))
        verdict = next(
            each for each in judge(offer, machine, args.tp) if each.server is plan.verdict.server
        )
        if verdict.is_final:
            raise CheckpointUnsupported(
                f"{verdict.server.name} cannot serve {source.name}: {verdict.obstacle}"
            )
        plan = Plan(source, offer, verdict, plan.context)
    if plan.is_built:
        engine = kept_engine(source.name)
        was_built = engine_for(source, engine, plan.context)
        tell("engine", f"{engine}{'' if was_built else ', as it was built before'}")
    return plan


def _entry(plan: Plan, models: int) -> ModelEntry:
    source, server = plan.source, plan.verdict.server
    path = kept_engine(source.name) if plan.is_built else source.path
    if server.reads is Reads.GGUF and path.suffix != ".gguf":
        path /= Reads.GGUF.value
    entry = new_entry(source.name, server.name, str(path))
    changes: dict[str, object] = {"memory": round(entry.memory / models, 2)}
    if server.reads is not Reads.ENGINE:
        longest = plan.offer.context or entry.max_model_len
        changes["max_model_len"] = plan.context or min(entry.max_model_len, longest)
    if source.repo and source.repo != source.name:
        changes["aliases"] = [source.repo]
    if source.spec and source.spec.name != source.name:
        changes["source"] = source.spec.name
    if server.ranks and plan.verdict.ranks > 1:
        changes["options"] = {server.ranks: plan.verdict.ranks}
    return replace(entry, **changes)  # type: ignore[arg-type]


def _show(plan: Plan) -> None:
    """Print the commands that precede those of `up --dry-run`."""
    source = plan.source
    if source.listing is not None:
        print(f"enginix pull {source.listing.repo}@{source.listing.revision}")
    if plan.is_built:
        out = kept_engine(source.name)
        batch, length = limits_for(source, plan.context)
        context = f" --max-batch-size {batch} --max-seq-len {length}" if plan.context else ""
        print(
            f"enginix engine build --checkpoint {source.path} --name {source.name} --out {out}",
            end="",
        )
        print(context)
