"""How requests come to the pods, and what else may: services, route, pool, policies, monitor."""

from __future__ import annotations

from typing import Any

from enginix.deploy.kubernetes.endpoint_picker import EXT_PROC_PORT
from enginix.deploy.kubernetes.release import PORTS, Release, made
from enginix.deploy.prometheus import rule_groups

# What clients use. Health and metrics, which need no API key, stay inside the cluster.
ROUTED = ("/v1", "/v2/rerank", "/rerank", "/api", "/tokenize", "/detokenize")


def service(release: Release) -> dict[str, Any]:
    """For clients in the cluster, without the endpoint picker: pods are drawn by chance."""
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    spec = {"selector": release.labels, "ports": ports}
    return made("v1", "Service", release.name, labels=release.labels, spec=spec)


def inference_pool(release: Release) -> dict[str, Any]:
    spec = {
        "selector": {"matchLabels": release.labels},
        "targetPorts": [{"number": PORTS.gateway}],
        "endpointPickerRef": {
            "name": release.picker,
            "port": {"number": EXT_PROC_PORT},
            # Without the picker any ready pod is better than none.
            "failureMode": "FailOpen",
        },
    }
    return made("inference.networking.k8s.io/v1", "InferencePool", release.name, spec=spec)


def http_route(release: Release) -> dict[str, Any]:
    pool = {
        "group": "inference.networking.k8s.io",
        "kind": "InferencePool",
        "name": release.name,
    }
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": path}} for path in ROUTED],
        "backendRefs": [pool],
        # A stream lasts as long as its tokens.
        "timeouts": {"request": "0s"},
    }
    spec = {"parentRefs": [{"name": release.gateway}], "rules": [rule]}
    return made("gateway.networking.k8s.io/v1", "HTTPRoute", release.name, spec=spec)


def disruption_budget(release: Release) -> dict[str, Any]:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": release.labels}}
    return made("policy/v1", "PodDisruptionBudget", release.name, spec=spec)


def network_policy(release: Release) -> dict[str, Any]:
    """The pods accept requests and send none: the engine is all they need."""
    spec = {
        "podSelector": {"matchLabels": release.labels},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": PORTS.gateway}]}],
        "egress": [],
    }
    return made("networking.k8s.io/v1", "NetworkPolicy", release.name, spec=spec)


def pod_monitor(release: Release) -> dict[str, Any]:
    """For the Prometheus operator."""
    spec = {
        "selector": {"matchLabels": release.labels},
        "podMetricsEndpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
    }
    return made("monitoring.coreos.com/v1", "PodMonitor", release.name, spec=spec)


def prometheus_rule(release: Release) -> dict[str, Any]:
    """Likewise. Of several releases all have the same rules: Alertmanager sends each alert once."""
    kind = "PrometheusRule"
    return made("monitoring.coreos.com/v1", kind, release.name, spec=rule_groups())
