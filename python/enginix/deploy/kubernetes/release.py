"""What is deployed: one variant of a catalogue model, its images, and how its pods stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from enginix import __version__
from enginix.catalog.load import ModelSpec, Ports
from enginix.errors import UsageError

PORTS = Ports()
# Kinds that Triton serves.
KINDS = ("gguf", "tensorrt-llm")


@dataclass(frozen=True, slots=True)
class Release:
    name: str
    """Of all its objects, as `qwen3-32b-tp4`."""
    title: str
    gpus: int
    """Per pod; 0 for engines on the CPU."""
    batch: int
    """Requests that one pod generates for at a time."""
    server_image: str
    gateway_image: str
    engine_image: str
    """Its root holds the engine's files; it is mounted, not run."""
    gateway: str
    """The Gateway of the Gateway API that requests come through."""
    replicas: int

    @property
    def picker(self) -> str:
        return f"{self.name}-epp"

    @property
    def labels(self) -> dict[str, str]:
        """The pods' own, by which everything else selects them."""
        return {"app.kubernetes.io/name": "enginix", "app.kubernetes.io/instance": self.name}

    @property
    def picker_labels(self) -> dict[str, str]:
        name = "enginix-endpoint-picker"
        return {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": self.name}


def release_of(
    spec: ModelSpec,
    tensor_parallel: int | None,
    *,
    gpus_per_node: int,
    registry: str,
    gateway: str,
    replicas: int,
) -> Release:
    """UsageError: the model cannot be deployed so; CatalogError: it has no such variant."""
    if spec.kind not in KINDS:
        raise UsageError(
            f"{spec.name} is of kind {spec.kind}, which enginix does not serve with Triton; "
            f"expected a model of kind {' or '.join(KINDS)} (see `enginix models`)"
        )
    variant = spec.variant(tensor_parallel)
    ranks = variant.tensor_parallel
    gpus = 0 if spec.kind == "gguf" else ranks
    if gpus > gpus_per_node:
        fitting = [v.tensor_parallel for v in spec.variants.values() if v.tensor_parallel < gpus]
        instead = [f"--tp {max(fitting)}"] if fitting else []
        raise UsageError(
            f"{spec.name} with tensor parallel {ranks} needs {gpus} GPUs in one pod, a node has "
            f"{gpus_per_node}; use {' or '.join([*instead, 'nodes with more GPUs'])}"
        )
    suffix = "" if ranks == 1 else f"-tp{ranks}"
    images = f"{registry.rstrip('/')}/{{}}:{__version__}"
    return Release(
        # A Service's name has no dots.
        name=f"{spec.name.replace('.', '-')}{suffix}",
        title=spec.title,
        gpus=gpus,
        batch=variant.max_batch_size,
        server_image=images.format(f"tritonserver-{spec.app}{suffix}"),
        gateway_image=images.format("gateway"),
        engine_image=images.format(f"{spec.name}-engine{suffix}"),
        gateway=gateway,
        replicas=replicas,
    )


def made(api: str, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    """An object; `labels` are its own, everything else is as Kubernetes names it."""
    labels = fields.pop("labels", None)
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}
