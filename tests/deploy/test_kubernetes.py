"""The Kubernetes objects of every catalogue variant: valid, complete, and fitting each other."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from enginix.catalog.load import load_catalog
from enginix.cli.main import build_parser, main
from enginix.deploy.kubernetes.release import KINDS
from enginix.deploy.prometheus import rules_text
from enginix.gateway.models.metrics import Metrics
from enginix.gateway.models.server_metrics import picker_samples
from tests.gateway.models.pages import GGUF_PAGE, TENSORRT_LLM_PAGE

OVERLAYS = ("single-replica", "engine-claim", "autoscale")
CUSTOM = {"HTTPRoute", "InferencePool", "PodMonitor", "PrometheusRule"}
Objects = dict[tuple[str, str], dict[str, Any]]

DEPLOYED = [
    (spec.name, variant.tensor_parallel)
    for spec in load_catalog().values()
    if spec.kind in KINDS
    for variant in spec.variants.values()
]


# As the picker's documentation calls what it takes from a metric.
SPECS = {
    "queued": "queuedRequestsSpec",
    "running": "runningRequestsSpec",
    "kv": "kvUsageSpec",
    "block": "cacheBlockSizeSpec",
    "blocks": "cacheNumBlocksSpec",
}


def first_gauge(spec: str, exposition: str) -> float:
    """As the picker reads: the first series that has the labels, of a family typed as a gauge."""
    name, label, value = re.fullmatch(r"(\w+)\{(\w+)=(\w+)\}", spec).groups()  # type: ignore[union-attr]
    (family,) = (one for one in text_string_to_metric_families(exposition) if one.name == name)
    assert family.type == "gauge"
    return next(each.value for each in family.samples if each.labels[label] == value)


def render(out: Path, name: str, *flags: str) -> Path:
    assert main(["kubernetes", "render", name, f"--out={out}", *flags]) == 0
    return out


@pytest.fixture(params=DEPLOYED, ids=lambda each: f"{each[0]}-tp{each[1]}")
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name, ranks = request.param
    return render(tmp_path / "out", name, f"--tp={ranks}")


def resolved(directory: Path) -> Iterator[dict[str, Any]]:
    """What a kustomization consists of; fails where it names what does not exist."""
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    objects = []
    for resource in kustomization["resources"]:
        path = (directory / resource).resolve()
        objects += resolved(path) if path.is_dir() else yaml.safe_load_all(path.read_text())
    for generated in kustomization.get("configMapGenerator", []):
        data = {name: (directory / name).read_text() for name in generated["files"]}
        metadata = {"name": generated["name"]}
        objects.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        )
    by_name = {key(each): each for each in objects}
    assert len(by_name) == len(objects), "two objects have one name"
    for patch in kustomization.get("patches", []):
        change = yaml.safe_load((directory / patch["path"]).read_text())
        if change.get("$patch") == "delete":
            del by_name[key(change)]
            continue
        by_name[key(change)] = merged(by_name[key(change)], change)
    yield from by_name.values()


def key(thing: dict[str, Any]) -> tuple[str, str]:
    return thing["kind"], thing["metadata"]["name"]


def merged(value: Any, change: Any) -> Any:
    """Kustomize's strategic merge, as far as these patches need it: lists go by name."""
    if isinstance(value, list):
        changes = {each["name"]: each for each in change}
        assert changes.keys() <= {each["name"] for each in value}
        return [merged(each, changes.get(each["name"], {})) for each in value]
    if not isinstance(value, dict) or change is None:
        return change
    both = {**value, **{k: merged(value.get(k), item) for k, item in change.items()}}
    return {k: item for k, item in both.items() if item is not None}


def objects_of(directory: Path) -> Objects:
    return {key(each): each for each in resolved(directory)}


def name_in(objects: Objects) -> str:
    return next(name for kind, name in objects if kind == "InferencePool")


def pod_of(objects: Objects, name: str) -> dict[str, Any]:
    pod = objects["Deployment", name]["spec"]["template"]["spec"]
    assert isinstance(pod, dict)
    return pod


def test_every_object_that_another_names_exists(folder: Path) -> None:
    objects = objects_of(folder)
    name = name_in(objects)
    pool = objects["InferencePool", name]
    picker = pool["spec"]["endpointPickerRef"]
    ports = [port["port"] for port in objects["Service", picker["name"]]["spec"]["ports"]]
    assert picker["port"]["number"] in ports
    labels = objects["Deployment", name]["spec"]["template"]["metadata"]["labels"]
    assert pool["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (rule,) = objects["HTTPRoute", name]["spec"]["rules"]
    assert [backend["name"] for backend in rule["backendRefs"]] == [name]
    epp = pod_of(objects, picker["name"])
    assert ("ServiceAccount", epp["serviceAccountName"]) in objects
    (config,) = (volume["configMap"]["name"] for volume in epp["volumes"])
    (file,) = objects["ConfigMap", config]["data"]
    assert f"--config-file=/config/{file}" in epp["containers"][0]["args"]
    assert f"--pool-name={name}" in epp["containers"][0]["args"]


def test_everything_that_selects_pods_selects_the_models_pods(folder: Path) -> None:
    objects = objects_of(folder)
    name = name_in(objects)
    template = objects["Deployment", name]["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    picker = objects["Deployment", f"{name}-epp"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        objects["Service", name]["spec"]["selector"],
        objects["NetworkPolicy", name]["spec"]["podSelector"]["matchLabels"],
        *(
            objects[kind, name]["spec"]["selector"]["matchLabels"]
            for kind in ("Deployment", "InferencePool", "PodDisruptionBudget", "PodMonitor")
        ),
    ]
    for selector in selectors:
        assert selector.items() <= labels
        assert not selector.items() <= picker.items()
    gateway = template["spec"]["containers"][1]
    assert [port["name"] for port in gateway["ports"]] == ["http"]


def test_the_containers_run_commands_that_there_are(folder: Path) -> None:
    objects = objects_of(folder)
    name = name_in(objects)
    for container in pod_of(objects, name)["containers"]:
        program, *arguments = container["command"]
        assert program == "enginix"
        assert build_parser(arguments[:1]).parse_args(arguments).engine == "/engine"
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/engine", "/tmp"} <= mounts


def test_triton_outlives_the_gateway_and_nothing_is_killed_before_it_has_drained(
    tmp_path: Path,
) -> None:
    objects = objects_of(render(tmp_path / "out", "demo"))
    pod = pod_of(objects, "demo")
    triton, gateway = pod["containers"]
    assert "lifecycle" not in gateway
    (delay,) = (each for each in gateway["command"] if each.startswith("--shutdown-delay="))
    waits = [triton["lifecycle"]["preStop"]["sleep"]["seconds"], int(delay.partition("=")[2])]
    drains = [int(re.sub(r".*=", "", c["command"][-1])) for c in (triton, gateway)]
    ends = [wait + drain for wait, drain in zip(waits, drains, strict=True)]
    assert waits[0] > waits[1]
    assert ends[0] > ends[1]
    assert pod["terminationGracePeriodSeconds"] > max(ends)


@pytest.mark.parametrize(
    ("model", "page", "reads"),
    [
        ("demo", GGUF_PAGE, {"queued": 3, "running": 16}),
        (
            "qwen3-32b",
            TENSORRT_LLM_PAGE,
            {"queued": 2, "running": 8, "kv": 0.4875, "block": 32, "blocks": 4096},
        ),
    ],
)
def test_the_picker_reads_metrics_that_the_gateway_has(
    model: str, page: str, reads: dict[str, float], tmp_path: Path
) -> None:
    folder = render(tmp_path / "out", model)
    config = yaml.safe_load((folder / "base/endpoint-picker-config.yaml").read_text())
    plugins = {plugin["type"]: plugin.get("parameters", {}) for plugin in config["plugins"]}
    (engine,) = plugins["core-metrics-extractor"]["engineConfigs"]
    exposition = Metrics([model]).exposition(picker_samples(page, model)).decode()
    specs = {name: engine[spec] for name, spec in SPECS.items() if spec in engine}
    assert {name: first_gauge(spec, exposition) for name, spec in specs.items()} == reads
    assert engine.keys() <= {"name", *SPECS.values()}
    for profile in config["schedulingProfiles"]:
        assert {plugin["pluginRef"] for plugin in profile["plugins"]} <= plugins.keys()
    labels = objects_of(folder)["Deployment", model]["spec"]["template"]["metadata"]["labels"]
    assert labels["llm-d.ai/engine-type"] == engine["name"]


def test_each_pod_gets_the_gpus_of_its_variant(tmp_path: Path) -> None:
    four = objects_of(render(tmp_path / "four", "qwen3-32b", "--tp=4"))
    triton = pod_of(four, "qwen3-32b-tp4")["containers"][0]
    assert triton["resources"]["limits"] == {"nvidia.com/gpu": 4}
    assert triton["image"].startswith("registry.example/enginix/tritonserver-qwen3-tp4:")
    cpu = objects_of(render(tmp_path / "cpu", "demo", "--registry=images.example/"))
    triton = pod_of(cpu, "demo")["containers"][0]
    assert "limits" not in triton["resources"]
    assert triton["image"].startswith("images.example/tritonserver-demo:")


def test_the_cluster_has_the_alert_rules(tmp_path: Path) -> None:
    rule = objects_of(render(tmp_path / "out", "demo"))["PrometheusRule", "demo"]
    assert rule["spec"] == yaml.safe_load(rules_text())


def test_the_overlays_change_what_they_are_named_for(tmp_path: Path) -> None:
    folder = render(tmp_path / "out", "demo", "--replicas=3")
    base, *changed = (
        objects_of(folder / directory)
        for directory in ("base", *(f"overlays/{overlay}" for overlay in OVERLAYS))
    )
    _, claim, autoscale = changed
    deployment = ("Deployment", "demo")
    replicas = [each[deployment]["spec"].get("replicas") for each in (base, *changed)]
    assert replicas == [3, 1, 3, None]
    assert pod_of(claim, "demo")["volumes"][0] == {
        "name": "engine",
        "persistentVolumeClaim": {"claimName": "demo-engine", "readOnly": True},
    }
    scaler = autoscale["HorizontalPodAutoscaler", "demo"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == "demo"
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 12)
    for objects in changed:
        assert base.keys() <= objects.keys()
        assert {k: v for k, v in objects.items() if k in base and k != deployment} == {
            k: v for k, v in base.items() if k != deployment
        }


def test_several_nodes_share_the_ranks_of_one_engine(tmp_path: Path) -> None:
    folder = render(tmp_path / "out", "qwen3-32b", "--tp=4")
    base, objects = objects_of(folder / "base"), objects_of(folder / "overlays/multi-node")
    name = "qwen3-32b-tp4"
    assert base.keys() - objects.keys() == {("Deployment", name)}
    group = objects["LeaderWorkerSet", name]["spec"]["leaderWorkerTemplate"]
    leader, worker = group["leaderTemplate"], group["workerTemplate"]
    pods = [template["spec"] for template in (leader, worker)]
    gpus = [pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] for pod in pods]
    assert gpus == [2, 2]
    # Requests find leaders only.
    selector = objects["InferencePool", name]["spec"]["selector"]["matchLabels"].items()
    assert selector <= leader["metadata"]["labels"].items()
    assert not selector <= worker["metadata"]["labels"].items()
    commands = [pod["containers"][0]["command"] for pod in pods]
    parsed = [build_parser(["triton"]).parse_args(command[1:]) for command in commands]
    assert [each.nodes for each in parsed] == [group["size"]] * 2
    assert [each.join for each in parsed] == [None, "$(LWS_LEADER_ADDRESS)"]
    # Of a worker nothing is probed: the gateway is not there.
    assert "Probe" not in str(pods[1])
    library = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for pod in pods:
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}
        library.validate(whole, library.latest_version(), strict=True)


def test_an_engine_of_one_rank_is_not_shared(tmp_path: Path) -> None:
    folder = render(tmp_path / "out", "demo")
    assert not (folder / "overlays" / "multi-node").exists()


def test_kubernetes_own_schemas_know_every_field(folder: Path) -> None:
    library = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    found = set()
    for directory in ("base", *(f"overlays/{overlay}" for overlay in OVERLAYS)):
        for each in objects_of(folder / directory).values():
            found.add(each["kind"])
            if each["kind"] not in CUSTOM:
                library.validate(each, library.latest_version(), strict=True)
    assert found == CUSTOM | {
        *("ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy"),
        *("PodDisruptionBudget", "Role", "RoleBinding", "Service", "ServiceAccount"),
    }


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize(
    "directory", [".", *(f"overlays/{overlay}" for overlay in (*OVERLAYS, "multi-node"))]
)
def test_kustomize_makes_the_same_of_the_folder(directory: str, tmp_path: Path) -> None:
    folder = render(tmp_path / "out", "qwen3-32b", "--tp=2")
    made = subprocess.run(
        ["kubectl", "kustomize", str(folder / directory)], check=True, capture_output=True
    ).stdout
    theirs = {key(each): each for each in yaml.safe_load_all(made)}
    ours = objects_of(folder / directory)
    (config,) = (name for kind, name in theirs if kind == "ConfigMap")
    # It appends a hash of the content, so that a change restarts the picker.
    picker = "qwen3-32b-tp2-epp"
    pod_of(ours, picker)["volumes"][0]["configMap"]["name"] = config
    ours["ConfigMap", picker]["metadata"]["name"] = config
    assert {key(each): each for each in ours.values()} == theirs


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["qwen3-33b"], 1, "no model named 'qwen3-33b' in the catalogue; did you mean qwen3-32b"),
        (["qwen3-32b", "--tp=3"], 1, "qwen3-32b has no variant with tensor parallel 3; it has 1"),
        (
            ["qwen3-32b", "--tp=4", "--gpus-per-node=2"],
            2,
            "qwen3-32b with tensor parallel 4 needs 4 GPUs in one pod, a node has 2; "
            "use --tp 2 or nodes with more GPUs",
        ),
        (["phi-4"], 2, "phi-4 is of kind llmapi, which enginix does not serve with Triton"),
        (["demo", "--replicas=0"], 2, "--replicas is 0; expected 1 or more"),
    ],
)
def test_what_cannot_be_deployed_is_refused_and_nothing_is_written(
    arguments: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["kubernetes", "render", *arguments, f"--out={tmp_path / 'out'}"]) == status
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_directory_with_files_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    assert main(["kubernetes", "render", "demo", f"--out={out}"]) == 2
    assert f"--out {out} is not empty; name a new directory" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert (render(out, "demo") / "kustomization.yaml").exists()
