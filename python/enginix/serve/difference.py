"""What has to be done so that a running profile becomes another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from enginix.errors import UsageError
from enginix.serve.gateway import flag_of
from enginix.serve.model_entry import ModelEntry
from enginix.serve.profile import GatewayEntry, Profile
from enginix.serve.servers import ports_of

# What a model's server does not see.
OUTSIDE = {
    *("aliases", "contains", "endpoints", "on_demand", "ttl_seconds"),
    *("reasoning", "tools", "starts_inside"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """Names of models, in the order in which they are dealt with."""

    removed: list[str]
    first_ended: list[str]
    """Changed ones whose ports an earlier one takes, and which therefore end before that starts."""
    redefined: list[str]
    """Those that change for clients only; their servers stay."""
    changed: list[str]
    """Those whose servers restart; the ones that then take less memory first."""
    added: list[str]

    def __bool__(self) -> bool:
        return bool(self.removed or self.redefined or self.changed or self.added)

    def __str__(self) -> str:
        parts = {
            "removed": self.removed,
            "renamed or redefined": self.redefined,
            "changed": self.changed,
            "added": self.added,
        }
        return ", ".join(f"{what}: {' '.join(names)}" for what, names in parts.items() if names)


def difference(old: Profile, new: Profile) -> Difference:
    """Between two profiles whose ports are all chosen."""
    before = {entry.name: entry for entry in old.models}
    after = {entry.name: entry for entry in new.models}
    both = [name for name in after if name in before and before[name] != after[name]]
    redefined = [name for name in both if _differ_outside(before[name], after[name])]
    changed = [name for name in both if name not in redefined]
    changed.sort(key=lambda name: after[name].memory - before[name].memory)
    added = [name for name in after if name not in before]
    return Difference(
        removed=[name for name in before if name not in after],
        first_ended=[
            name
            for place, name in enumerate(changed)
            if any(_ports(before[name]) & _ports(after[other]) for other in changed[:place])
        ],
        redefined=redefined,
        changed=changed,
        added=added,
    )


def with_kept_ports(new: Profile, running: Sequence[ModelEntry]) -> Profile:
    """The profile with the ports of the models that run, where it leaves them open."""
    known = {(entry.name, entry.engine): entry for entry in running}

    def kept(entry: ModelEntry) -> ModelEntry:
        old = known.get((entry.name, entry.engine))
        ports = {} if old is None else ports_of(old)
        open_ports = [name for name, port in ports_of(entry).items() if not port]
        return replace(entry, **{name: ports[name] for name in open_ports if name in ports})  # type: ignore[arg-type]

    return replace(new, models=[kept(entry) for entry in new.models])


def require_same_gateway(old: GatewayEntry, new: GatewayEntry) -> None:
    """UsageError names every setting that differs: a gateway keeps those that it started with."""
    changes = [
        f"gateway.{each.name} ({flag_of(each.name)}): found {getattr(new, each.name)!r}, expected "
        f"{getattr(old, each.name)!r}"
        for each in fields(GatewayEntry)
        if getattr(old, each.name) != getattr(new, each.name)
    ]
    if changes:
        raise UsageError(
            f"{'; '.join(changes)}, as it was at the start: the gateway's settings do not change "
            "while it runs; put them back, or restart `enginix up`"
        )


def _differ_outside(old: ModelEntry, new: ModelEntry) -> bool:
    """Whether they differ in nothing that a server is started with."""
    outside = {name: getattr(new, name) for name in OUTSIDE}
    same_place = old.replicas_here == new.replicas_here
    return same_place and replace(old, **outside) == new


def _ports(entry: ModelEntry) -> set[int]:
    return set(ports_of(entry).values())
