"""One engine on the GPUs of two nodes: a LeaderWorkerSet in place of the Deployment.

This has never run on a cluster. That Triton starts its ranks so on several machines is tested,
with the real Open MPI and a stand-in for tritonserver.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from enginix.deploy.kubernetes import model_pods
from enginix.deploy.kubernetes.release import Release, made

NODES = 2
DNS = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]


def fits(release: Release) -> bool:
    return release.gpus > 1 and release.gpus % NODES == 0


def leader_worker_set(release: Release) -> dict[str, Any]:
    """Each replica is a group of pods; the leader has rank 0 and the gateway."""
    share = replace(release, gpus=release.gpus // NODES)
    spec = {
        "replicas": release.replicas,
        "rolloutStrategy": {
            "type": "RollingUpdate",
            "rollingUpdateConfiguration": {"maxSurge": 0, "maxUnavailable": 1},
        },
        "leaderWorkerTemplate": {
            "size": NODES,
            # Without one of its pods a group generates nothing.
            "restartPolicy": "RecreateGroupOnPodRestart",
            "leaderTemplate": {
                "metadata": {"labels": model_pods.pod_labels(release)},
                "spec": _leader(share),
            },
            "workerTemplate": {
                "metadata": {"labels": _worker_labels(release)},
                "spec": _worker(share),
            },
        },
    }
    api = "leaderworkerset.x-k8s.io/v1"
    return made(api, "LeaderWorkerSet", release.name, labels=release.labels, spec=spec)


def network_policy(release: Release) -> dict[str, Any]:
    """In addition to the base's: the pods of a set reach each other, and their names."""
    own = {"matchLabels": {"leaderworkerset.sigs.k8s.io/name": release.name}}
    spec = {
        "podSelector": own,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": own}]}],
        "egress": [{"to": [{"podSelector": own}]}, {"ports": DNS}],
    }
    return made("networking.k8s.io/v1", "NetworkPolicy", f"{release.name}-nodes", spec=spec)


def _leader(share: Release) -> dict[str, Any]:
    pod = model_pods.pod(share)
    triton, gateway = pod["containers"]
    command = [*triton["command"], f"--nodes={NODES}"]
    return {**pod, "containers": [{**triton, "command": command}, gateway]}


def _worker(share: Release) -> dict[str, Any]:
    pod = model_pods.pod(share)
    triton = pod["containers"][0]
    # Its command ends with the leader's; the gateway that a probe could ask is the leader's.
    kept = {key: value for key, value in triton.items() if not key.endswith("Probe")}
    leaving = {"sleep": {"seconds": model_pods.GRACE_SECONDS - 10}}
    node = {
        **kept,
        # $(...) is the set's, which knows the leader's name.
        "command": [*triton["command"], f"--nodes={NODES}", "--join=$(LWS_LEADER_ADDRESS)"],
        # The leader finishes its requests first, and ends this one.
        "lifecycle": {"preStop": leaving},
    }
    labels = {"matchLabels": _worker_labels(share)}
    spread = [{**each, "labelSelector": labels} for each in pod["topologySpreadConstraints"]]
    return {**pod, "containers": [node], "topologySpreadConstraints": spread}


def _worker_labels(release: Release) -> dict[str, str]:
    # Not those by which requests find their pods.
    return {
        "app.kubernetes.io/name": "enginix-node",
        "app.kubernetes.io/instance": release.name,
    }
