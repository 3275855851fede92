"""Checks a checkpoint's tensors against its configuration, and which engine kinds can run it.

Reads headers and the scales of whole layers, never the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from enginix.checkpoint.architecture import (
    FAMILIES,
    Family,
    LinearLayer,
    Sizes,
    linear_layers,
    other_tensors,
    read_sizes,
)
from enginix.checkpoint.check import TensorCheck, fits, found_layers
from enginix.checkpoint.estimate import Estimate, estimate
from enginix.checkpoint.load import Checkpoint
from enginix.checkpoint.support import CheckedModel, KindVerdict, judge_kinds
from enginix.errors import CheckpointDamaged, CheckpointUnsupported
from enginix.hub_files import CONFIG_FILE
from enginix.manifest import Limits


@dataclass(frozen=True, slots=True)
class Inspection:
    """The findings. `damage` makes a checkpoint unusable for every kind; `kinds` has the verdict of
    each engine kind."""

    checkpoint: Checkpoint
    tensor_parallel: int
    limits: Limits
    sizes: Sizes | None
    layers: tuple[LinearLayer, ...]
    algorithms: Mapping[str, str | None]
    """Layer -> the algorithm it is stored in, None if it is not quantized."""
    damage: tuple[str, ...]
    kinds: Mapping[str, KindVerdict]
    notes: tuple[str, ...]
    estimate: Estimate

    @property
    def usable_by(self) -> list[str]:
        return [kind for kind in self.kinds if not self.refusals(kind)]

    def refusals(self, kind: str) -> list[str]:
        """Why an engine of that kind cannot be built; empty if it can."""
        return [*self.damage, *self.kinds[kind].refusals]

    def require(self, kind: str) -> None:
        """Raise the first refusal, with the number of further ones."""
        refusals = self.refusals(kind)
        if not refusals:
            return
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        message = f"{self.checkpoint.directory}: {refusals[0]}{more}; see "
        message += f"`enginix checkpoint inspect {self.checkpoint.directory}`"
        raise CheckpointDamaged(message) if self.damage else CheckpointUnsupported(message)


def inspect_checkpoint(
    checkpoint: Checkpoint,
    *,
    tensor_parallel: int = 1,
    limits: Limits | None = None,
    tensorrt_llm: str | None = None,
) -> Inspection:
    """`tensorrt_llm` is the release to build with, if known."""
    family = FAMILIES.get(checkpoint.architecture)
    sizes = read_sizes(checkpoint.directory / CONFIG_FILE, checkpoint.config) if family else None
    check = TensorCheck(checkpoint)
    if family and sizes:
        layers = _check_known(check, checkpoint, family, sizes)
    else:
        layers = _check_unknown(check, checkpoint)
    check.scale_values()
    limits = limits or default_limits(sizes)
    if sizes and 0 < sizes.context < limits.max_seq_len:
        check.notes.add(
            f"the limits ask for a context of {limits.max_seq_len}, but the model was made for "
            f"{sizes.context}"
        )
    model = CheckedModel(
        checkpoint, sizes, layers, check.algorithms, check.values, tensor_parallel, tensorrt_llm
    )
    return Inspection(
        checkpoint=checkpoint,
        tensor_parallel=tensor_parallel,
        limits=limits,
        sizes=sizes,
        layers=layers,
        algorithms=check.algorithms,
        damage=check.damage.sentences(),
        kinds=judge_kinds(model),
        notes=check.notes.sentences(),
        estimate=estimate(checkpoint, layers, sizes, limits, tensor_parallel),
    )


def _check_known(
    check: TensorCheck, checkpoint: Checkpoint, family: Family, sizes: Sizes
) -> tuple[LinearLayer, ...]:
    if not fits(checkpoint, sizes, check.damage):
        return ()
    layers = tuple(linear_layers(family, sizes, checkpoint.config))
    for layer in layers:
        check.layer(layer)
    for name, shape in other_tensors(family, sizes):
        check.plain(name, shape)
    check.kv_scales(sizes)
    check.leftovers(sizes)
    return layers


def _check_unknown(check: TensorCheck, checkpoint: Checkpoint) -> tuple[LinearLayer, ...]:
    check.notes.add(
        f"enginix does not know which tensors {checkpoint.architecture} must have; only the "
        "existing ones were checked"
    )
    check.undeclared()
    layers = tuple(found_layers(checkpoint))
    for layer in layers:
        check.layer(layer)
    return layers


def default_limits(sizes: Sizes | None) -> Limits:
    """The limits to check a directory with, if none are given."""
    context = sizes.context if sizes and sizes.context else 16384
    return Limits(max_batch_size=8, max_seq_len=min(context, 16384), max_num_tokens=8192)
