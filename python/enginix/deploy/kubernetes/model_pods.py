"""The pods that serve a model: Triton and a gateway side by side, with one engine."""

from __future__ import annotations

from typing import Any

from enginix.deploy.kubernetes.endpoint_picker import ENGINE_TYPE
from enginix.deploy.kubernetes.release import PORTS, Release, made

# A pod that is to stop still gets requests until everybody knows it; its gateway accepts them, and
# says on /readyz that it leaves. Then it lets its answers finish; Triton must outlive it.
LEAVING_SECONDS = 10
DRAIN_SECONDS = 120
TRITON_LATER_SECONDS = 5
GRACE_SECONDS = LEAVING_SECONDS + TRITON_LATER_SECONDS + DRAIN_SECONDS + 15

# Loading an engine may take this long, from a disk that has not read it before.
START_SECONDS = 1800
CHECK_SECONDS = 5
# /health answers within 1.5 s.
TIMEOUT_SECONDS = 3
# How long a model may generate nothing before its Triton is started again. A gateway that is
# started again answers sooner.
WEDGED_SECONDS = 60

ENGINE = "engine"
# Nothing else in the image is writable.
HOME = {"name": "HOME", "value": "/tmp"}


def deployment(release: Release) -> dict[str, Any]:
    spec = {
        "replicas": release.replicas,
        # A new pod may find no free GPUs before an old one has ended.
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
        },
        "progressDeadlineSeconds": START_SECONDS + GRACE_SECONDS,
        "selector": {"matchLabels": release.labels},
        "template": {"metadata": {"labels": pod_labels(release)}, "spec": pod(release)},
    }
    return made("apps/v1", "Deployment", release.name, labels=release.labels, spec=spec)


def pod(release: Release) -> dict[str, Any]:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": release.labels},
    }
    shared = "8Gi" if release.gpus else "1Gi"
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "topologySpreadConstraints": [spread],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_triton(release), _gateway(release)],
        "volumes": [
            {"name": ENGINE, "image": {"reference": release.engine_image}},
            # Triton's processes and NCCL exchange data here; the default has 64 MB.
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def pod_labels(release: Release) -> dict[str, str]:
    # Any picker that knows this type reads the gateway's metrics, not ours alone.
    return {**release.labels, "llm-d.ai/engine-type": ENGINE_TYPE}


def _triton(release: Release) -> dict[str, Any]:
    requests = {"cpu": "4", "memory": "16Gi"} if release.gpus else {"cpu": "2", "memory": "1Gi"}
    gpus = {"limits": {"nvidia.com/gpu": release.gpus}} if release.gpus else {}
    mounts = {ENGINE: "/engine", "shm": "/dev/shm", "tmp": "/tmp"}
    return {
        # It listens on the pod's loopback address: Triton has no authorization.
        **_container("triton", release.server_image, mounts),
        "command": ["enginix", "triton", "/engine", f"--exit-timeout={DRAIN_SECONDS}"],
        "resources": {"requests": requests, **gpus},
        # Tokens come out, or it is started again. Triton's own readiness is true without any.
        "startupProbe": _probe("/health", START_SECONDS),
        "livenessProbe": _probe("/health", WEDGED_SECONDS),
        # Delays the SIGTERM: unlike the gateway, Triton accepts nothing after it.
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVING_SECONDS + TRITON_LATER_SECONDS}}},
    }


def _gateway(release: Release) -> dict[str, Any]:
    command = [
        *("enginix", "openai", "/engine", "--host=0.0.0.0", f"--port={PORTS.gateway}"),
        f"--triton=127.0.0.1:{PORTS.grpc}",
        f"--triton-metrics=http://127.0.0.1:{PORTS.metrics}/metrics",
        *(f"--shutdown-delay={LEAVING_SECONDS}", f"--drain-seconds={DRAIN_SECONDS}"),
    ]
    keys = {"name": f"{release.name}-api-keys", "key": "keys"}
    return {
        **_container("gateway", release.gateway_image, {ENGINE: "/engine", "tmp": "/tmp"}),
        "command": command,
        "ports": [{"name": "http", "containerPort": PORTS.gateway}],
        "env": [
            HOME,
            {"name": "ENGINIX_API_KEYS", "valueFrom": {"secretKeyRef": keys}},
        ],
        "resources": {
            "requests": {"cpu": "1", "memory": "512Mi"},
            "limits": {"memory": "4Gi"},
        },
        "startupProbe": _probe("/livez", 120),
        "livenessProbe": _probe("/livez", 30),
        "readinessProbe": {**_probe("/readyz", 2 * CHECK_SECONDS), "periodSeconds": 2},
    }


def _container(name: str, image: str, mounts: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "env": [HOME],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": name, "mountPath": path, **({"readOnly": True} if name == ENGINE else {})}
            for name, path in mounts.items()
        ],
    }


def _probe(path: str, seconds: int) -> dict[str, Any]:
    """Fails after so many seconds."""
    return {
        "httpGet": {"path": path, "port": PORTS.gateway},
        "periodSeconds": CHECK_SECONDS,
        "timeoutSeconds": TIMEOUT_SECONDS,
        "failureThreshold": seconds // CHECK_SECONDS,
    }
