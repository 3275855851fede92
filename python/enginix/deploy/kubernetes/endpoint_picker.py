"""The endpoint picker of the Gateway API Inference Extension: llm-d's, and what it reads."""

from __future__ import annotations

from typing import Any

from enginix.deploy.kubernetes.release import Release, made

IMAGE = "ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.9.0"
EXT_PROC_PORT, HEALTH_PORT, METRICS_PORT = 9002, 9003, 9090
# A pod's label says so; the picker has names of metrics for each type.
ENGINE_TYPE = "triton-tensorrt-llm"
CONFIG_FILE = "endpoint-picker-config.yaml"


def picker_config(release: Release) -> dict[str, Any]:
    """Weighs a conversation's cached prefix against the load that the pods report."""
    weights = {"prefix-cache-scorer": 3, "queue-scorer": 2, "running-requests-size-scorer": 2}
    if release.gpus:
        weights["kv-cache-utilization-scorer"] = 2
    extractor = {"defaultEngine": ENGINE_TYPE, "engineConfigs": [_metrics(release)]}
    return {
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": [
            *({"type": scorer} for scorer in weights),
            {"type": "metrics-data-source", "parameters": {"scheme": "http", "path": "/metrics"}},
            {"type": "core-metrics-extractor", "parameters": extractor},
        ],
        "schedulingProfiles": [
            {
                "name": "default",
                "plugins": [
                    {"pluginRef": scorer, "weight": weight} for scorer, weight in weights.items()
                ],
            }
        ],
    }


def _metrics(release: Release) -> dict[str, str]:
    """What the picker knows by itself of this type, less what llama.cpp in Triton lacks."""
    requests = "nv_trt_llm_request_metrics{request_type=%s}"
    blocks = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=%s}"
    cache = {
        "kvUsageSpec": blocks % "fraction",
        "cacheBlockSizeSpec": blocks % "tokens_per",
        "cacheNumBlocksSpec": blocks % "max",
    }
    return {
        "name": ENGINE_TYPE,
        "queuedRequestsSpec": requests % "waiting",
        "runningRequestsSpec": requests % "scheduled",
        **(cache if release.gpus else {}),
    }


def picker_deployment(release: Release) -> dict[str, Any]:
    pod = {
        "serviceAccountName": release.picker,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(release)],
        "volumes": [{"name": "config", "configMap": {"name": release.picker}}],
    }
    labels = release.picker_labels
    spec = {
        # It remembers which pod has seen which prefix: two would each know half.
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return made("apps/v1", "Deployment", release.picker, labels=labels, spec=spec)


def picker_service(release: Release) -> dict[str, Any]:
    ports = [
        {"name": "grpc-ext-proc", "port": EXT_PROC_PORT},
        {"name": "http-metrics", "port": METRICS_PORT},
    ]
    spec = {"selector": release.picker_labels, "ports": ports}
    return made("v1", "Service", release.picker, labels=release.picker_labels, spec=spec)


def picker_account(release: Release) -> list[dict[str, Any]]:
    """What the picker may read: the pool and its pods."""
    rbac = "rbac.authorization.k8s.io"
    own = ["inferenceobjectives", "inferencemodelrewrites"]
    rules = [
        _may_read("", ["pods"]),
        _may_read("inference.networking.k8s.io", ["inferencepools"]),
        _may_read("inference.networking.x-k8s.io", own),
        _may_read("llm-d.ai", own),
    ]
    return [
        made("v1", "ServiceAccount", release.picker),
        made(f"{rbac}/v1", "Role", release.picker, rules=rules),
        made(
            f"{rbac}/v1",
            "RoleBinding",
            release.picker,
            subjects=[{"kind": "ServiceAccount", "name": release.picker}],
            roleRef={"apiGroup": rbac, "kind": "Role", "name": release.picker},
        ),
    ]


def _container(release: Release) -> dict[str, Any]:
    probe = {"grpc": {"port": HEALTH_PORT, "service": "inference-extension"}}
    return {
        "name": "epp",
        "image": IMAGE,
        "args": [
            f"--pool-name={release.name}",
            "--pool-group=inference.networking.k8s.io",
            f"--config-file=/config/{CONFIG_FILE}",
            f"--grpc-health-port={HEALTH_PORT}",
            "--zap-encoder=json",
            "--tracing=false",
            # As with the gateway's own metrics; no secrets are among them.
            "--metrics-endpoint-auth=false",
        ],
        "env": [
            {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "ports": [
            {"name": "grpc", "containerPort": EXT_PROC_PORT},
            {"name": "grpc-health", "containerPort": HEALTH_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "readinessProbe": {**probe, "periodSeconds": 2},
        "livenessProbe": {**probe, "initialDelaySeconds": 5, "periodSeconds": 10},
        "volumeMounts": [{"name": "config", "mountPath": "/config"}],
    }


def _may_read(group: str, resources: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": ["get", "watch", "list"]}
