"""The kustomize folder: a base with all objects, and an overlay for each way to change them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enginix.deploy.kubernetes import endpoint_picker, model_pods, multi_node, network
from enginix.deploy.kubernetes.release import Release, made
from enginix.deploy.yaml_text import to_yaml
from enginix.errors import UsageError

Documents = Sequence[dict[str, Any]]
# Pods that autoscaling may add to those of the base, as a multiple.
MOST_REPLICAS = 4


def kustomize_folder(release: Release) -> dict[str, Documents]:
    """File name, below the folder -> the documents in it."""
    objects: dict[str, Documents] = {
        "deployment.yaml": [model_pods.deployment(release)],
        "service.yaml": [network.service(release)],
        "inference-pool.yaml": [network.inference_pool(release)],
        "http-route.yaml": [network.http_route(release)],
        "disruption-budget.yaml": [network.disruption_budget(release)],
        "network-policy.yaml": [network.network_policy(release)],
        "pod-monitor.yaml": [network.pod_monitor(release)],
        "prometheus-rule.yaml": [network.prometheus_rule(release)],
        "endpoint-picker-account.yaml": endpoint_picker.picker_account(release),
        "endpoint-picker-deployment.yaml": [endpoint_picker.picker_deployment(release)],
        "endpoint-picker-service.yaml": [endpoint_picker.picker_service(release)],
    }
    config = endpoint_picker.CONFIG_FILE
    generator = {"name": release.picker, "files": [config]}
    return {
        "kustomization.yaml": [_kustomization(["base"])],
        "base/kustomization.yaml": [_kustomization(objects, configMapGenerator=[generator])],
        f"base/{config}": [endpoint_picker.picker_config(release)],
        **{f"base/{name}": documents for name, documents in objects.items()},
        **_overlay("single-replica", _patch(release, {"replicas": 1})),
        **_overlay("engine-claim", _patch(release, _engine_claim(release))),
        # Its replicas are the autoscaler's.
        **_overlay("autoscale", _patch(release, {"replicas": None}), _autoscaler(release)),
        **(_multi_node(release) if multi_node.fits(release) else {}),
    }


def write_folder(files: Mapping[str, Documents], out: Path) -> None:
    """All files or none. Raises UsageError if `out` exists and is not an empty directory."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} is not empty; name a new directory, or remove this one")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}") from None
    try:
        for name, documents in files.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("---\n".join(map(to_yaml, documents)), encoding="utf-8")
        partial.chmod(0o755)
        os.replace(partial, out)
    except BaseException as error:
        shutil.rmtree(partial)
        if isinstance(error, OSError):
            raise UsageError(f"--out {out} cannot be written: {error.strerror}") from None
        raise


def _kustomization(resources: Sequence[str] | Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(resources),
        **more,
    }


def _overlay(name: str, patch: dict[str, Any], *added: dict[str, Any]) -> dict[str, Documents]:
    files: dict[str, Documents] = {f"{each['kind'].lower()}.yaml": [each] for each in added}
    kustomization = _kustomization(["../../base", *files], patches=[{"path": "patch.yaml"}])
    return {
        f"overlays/{name}/{file}": documents
        for file, documents in {
            "kustomization.yaml": [kustomization],
            "patch.yaml": [patch],
            **files,
        }.items()
    }


def _multi_node(release: Release) -> dict[str, Documents]:
    no_deployment = {**made("apps/v1", "Deployment", release.name), "$patch": "delete"}
    return _overlay(
        "multi-node",
        no_deployment,
        multi_node.leader_worker_set(release),
        multi_node.network_policy(release),
    )


def _patch(release: Release, spec: dict[str, Any]) -> dict[str, Any]:
    return made("apps/v1", "Deployment", release.name, spec=spec)


def _engine_claim(release: Release) -> dict[str, Any]:
    """Takes the engine from a persistent volume that holds its files."""
    claim = {"claimName": f"{release.name}-engine", "readOnly": True}
    volume = {"name": model_pods.ENGINE, "image": None, "persistentVolumeClaim": claim}
    return {"template": {"spec": {"volumes": [volume]}}}


def _autoscaler(release: Release) -> dict[str, Any]:
    """One pod for each full batch of requests; what runs beyond it waits in Triton's queue."""
    metric = {
        "type": "Pods",
        "pods": {
            "metric": {"name": "enginix_running_requests"},
            "target": {"type": "AverageValue", "averageValue": str(release.batch)},
        },
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": release.name}
    spec = {
        "scaleTargetRef": target,
        "minReplicas": release.replicas,
        "maxReplicas": release.replicas * MOST_REPLICAS,
        "metrics": [metric],
        # An engine takes minutes to load: do not end a pod that is needed again soon.
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 900}},
    }
    return made("autoscaling/v2", "HorizontalPodAutoscaler", release.name, spec=spec)
