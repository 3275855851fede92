"""The dashboard and the alert rules: every query of them asks for what gateways really show."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from enginix.cli.main import main
from enginix.deploy.dashboard import dashboard_text
from enginix.deploy.prometheus import ALERTS, rules_text
from tests.conftest import free_ports
from tests.deploy.monitored import ask_all, monitored_gateway

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    not (PROMETHEUS and PROMTOOL), reason="Prometheus is not installed: apt-get install prometheus"
)

DASHBOARD = json.loads(dashboard_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
# Labels that Prometheus gives to every series of a target.
OF_TARGET = {"job", "instance"}
# What Grafana puts in for its variables. `All` stands for everything.
FILLED_IN = {
    "$__rate_interval": "5m",
    "$__range": "1h",
    **{f"${name}": each.get("allValue", "") for name, each in VARIABLES.items()},
}


def filled_in(query: str) -> str:
    for variable, value in FILLED_IN.items():
        query = query.replace(variable, value)
    assert "$" not in query, query
    return query


def variable_queries() -> Iterator[str]:
    """What the variables take their values from, as queries."""
    for variable in VARIABLES.values():
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            assert found
            yield filled_in(f"count by ({found[2]}) ({found[1]})")


QUERIES = {
    **{
        f"{panel['title']} {target['refId']}": filled_in(target["expr"])
        for panel in PANELS
        for target in panel["targets"]
    },
    **{f"variable {number}": query for number, query in enumerate(variable_queries())},
}


def nodes(query: str) -> list[promql_parser.Expr]:
    found: list[promql_parser.Expr] = []
    promql_parser.walk(promql_parser.parse(query), found.append)
    return found


def labels_asked_for(node: promql_parser.Expr) -> set[str]:
    modifier = getattr(node, "modifier", None)
    lists = [modifier, getattr(modifier, "matching", None)]
    return {label for each in lists if each for label in getattr(each, "labels", [])}


def fits(sample: Sample, matcher: promql_parser.Matcher) -> bool:
    value, wanted = sample.labels.get(matcher.name, ""), matcher.value
    match matcher.op:
        case promql_parser.MatchOp.Equal:
            return value == wanted
        case promql_parser.MatchOp.NotEqual:
            return value != wanted
        case promql_parser.MatchOp.Re:
            return re.fullmatch(wanted, value) is not None
    return re.fullmatch(wanted, value) is None


def faults(query: str, samples: list[Sample]) -> list[str]:
    """What a query asks for that is not there."""
    found = nodes(query)
    selectors = [node for node in found if isinstance(node, promql_parser.VectorSelector)]
    wrong, known = [], set(OF_TARGET)
    for selector in selectors:
        if selector.name == "up":
            # Prometheus' own.
            continue
        matchers = [one for one in selector.matchers.matchers if one.name not in OF_TARGET]
        named = [sample for sample in samples if sample.name == selector.name]
        known |= {label for sample in named for label in sample.labels}
        wrong += [f"label {one.name}" for one in matchers if one.name not in known]
        if not any(all(fits(sample, one) for one in matchers) for sample in named):
            wrong.append(f"no series {selector}")
    asked = {label for node in found for label in labels_asked_for(node)}
    return [*wrong, *(f"label {label}" for label in asked - known)]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Of a real gateway's /metrics, after requests."""

    async def scrape() -> str:
        with tempfile.TemporaryDirectory() as directory:
            async with monitored_gateway(Path(directory)) as client, asyncio.timeout(60):
                await ask_all(client)
                text = ""
                # On a busy machine the page of the model's server may not come in time at first.
                while "nv_trt_llm_kv_cache_block_metrics{" not in text:
                    text = (await client.get("/metrics")).text
                return text

    families = text_string_to_metric_families(asyncio.run(scrape()))
    return [sample for family in families for sample in family.samples]


def test_panels_and_variables_ask_only_for_metrics_and_labels_that_a_gateway_has(
    samples: list[Sample],
) -> None:
    wrong = {name: faults(query, samples) for name, query in QUERIES.items()}
    assert not {name: found for name, found in wrong.items() if found}


def test_alerts_ask_only_for_metrics_and_labels_that_a_gateway_has(samples: list[Sample]) -> None:
    wrong = {alert.name: faults(alert.expr, samples) for alert in ALERTS}
    assert not {name: found for name, found in wrong.items() if found}


def test_a_metric_a_label_or_a_value_that_is_not_there_is_found(samples: list[Sample]) -> None:
    for query in (
        "enginix_running",
        'enginix_running_requests{key="alice"}',
        "sum by (route) (enginix_running_requests)",
        'enginix_server_state{state="down"}',
        "up == 0 and on (model) enginix_disk_free_bytes",
    ):
        assert faults(query, samples), query


def test_every_legend_and_message_names_labels_that_its_series_have(samples: list[Sample]) -> None:
    known = OF_TARGET | {label for sample in samples for label in sample.labels}
    for panel in PANELS:
        for target in panel["targets"]:
            for label in re.findall(r"{{(.+?)}}", target["legendFormat"]):
                # An aggregation keeps the labels that it names, and no others.
                kept = re.findall(r"by \((.+?)\)", target["expr"])
                assert all(label in each.split(", ") for each in kept[:1]), panel["title"]
                assert label in known
    for alert in ALERTS:
        assert set(re.findall(r"\$labels\.(\w+)", alert.summary)) <= known


def test_every_metric_of_the_gateway_that_matters_is_in_a_panel(samples: list[Sample]) -> None:
    shown = {
        node.name
        for query in QUERIES.values()
        for node in nodes(query)
        if isinstance(node, promql_parser.VectorSelector)
    }
    # Parts of histograms, and the time that prometheus-client adds.
    rest = re.compile(r".*_(sum|count|created)")
    ours = {one.name for one in samples if one.name.startswith("enginix_")}
    assert not {name for name in ours - shown if not rest.fullmatch(name)}


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    assert (DASHBOARD["id"], DASHBOARD["uid"], DASHBOARD["schemaVersion"]) == (None, "enginix", 39)
    assert VARIABLES["datasource"]["type"] == "datasource"
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    cells = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in cells, panel["title"]
                cells.add((x, y))
    for panel in PANELS:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({panel["title"] for panel in PANELS if panel["type"] == "stat"}) == 8


def test_the_page_explains_every_alert_and_every_row() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for alert in ALERTS:
        assert f"| `{alert.name}` ({alert.severity}) |" in page
    for row in (panel for panel in DASHBOARD["panels"] if panel["type"] == "row"):
        assert f"| {row['title']} |" in page


@pytest.mark.parametrize(
    ("command", "text"), [("grafana", dashboard_text()), ("prometheus", rules_text())]
)
def test_the_commands_print_and_write_the_same(
    command: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "render"]) == 0
    assert capsys.readouterr().out == text
    out = tmp_path / "file"
    out.write_text("what was there before")
    link = tmp_path / "link"
    link.symlink_to(out)
    for written in (out, link, Path("/dev/null")):
        assert main([command, "render", f"--out={written}"]) == 0
    assert out.read_text() == text
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [out, link]
    for wrong, complaint in (
        (tmp_path, "cannot be written: Is a directory"),
        (tmp_path / "no" / "file", "cannot be written: No such file or directory"),
    ):
        assert main([command, "render", f"--out={wrong}"]) == 2
        assert complaint in capsys.readouterr().err


class RealPrometheus:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, path: str, **parameters: str) -> Any:
        """None while it does not answer; the test fails for an error."""
        try:
            answer = await self._client.get(path, params=parameters)
        except httpx.TransportError:
            return None
        if answer.status_code == 503:
            return None
        body = answer.json()
        assert body["status"] == "success", body
        return body["data"]

    async def ask(self, query: str) -> list[Any]:
        return ((await self.get("/query", query=query)) or {"result": []})["result"]

    async def until(self, query: str, holds: Callable[[float], bool]) -> None:
        """Return once a query has one value that will do."""

        def will_do(one: Any) -> bool:
            return holds(float(one["value"][1]))

        while not any(map(will_do, await self.ask(query))):  # noqa: ASYNC110, it has no event
            await asyncio.sleep(0.1)


@asynccontextmanager
async def real_prometheus(directory: Path, target: str) -> AsyncIterator[RealPrometheus]:
    """It scrapes the target every two seconds, and is killed at the end."""
    (port,) = free_ports(1)
    rules, config = directory / "rules.yaml", directory / "prometheus.yml"
    rules.write_text(rules_text())
    scrape = {"job_name": "enginix", "static_configs": [{"targets": [target]}]}
    interval = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
    content = {"global": interval, "rule_files": [str(rules)], "scrape_configs": [scrape]}
    config.write_text(yaml.safe_dump(content))
    assert PROMETHEUS
    arguments = [
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PROMETHEUS, *arguments, stdout=log, stderr=log
        )
        url = f"http://127.0.0.1:{port}/api/v1"
        try:
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
                yield RealPrometheus(client)
        finally:
            process.kill()
            await process.wait()


@needs_prometheus
async def test_a_real_prometheus_that_scrapes_a_gateway_answers_every_query(tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    async with (
        monitored_gateway(tmp_path / "gateway") as client,
        real_prometheus(tmp_path, client.base_url.netloc.decode()) as prometheus,
        asyncio.timeout(180),
    ):
        await ask_all(client)
        # rate() needs series that were there before what it counts.
        await prometheus.until("count_over_time(enginix_errors_total[5m])", lambda n: n >= 1)
        await ask_all(client)
        await prometheus.until(QUERIES["Tokens per second A"], lambda n: n > 0)
        for name, query in QUERIES.items():
            try:
                async with asyncio.timeout(30):
                    # What a slow scrape lacks is in the next one.
                    await prometheus.until(f"count({query})", bool)
            except TimeoutError:
                pytest.fail(f"{name} has no answer: {query}")
        # The rules as they are evaluated: all requests for `broken` fail.
        await prometheus.until('ALERTS{alertname="EnginixErrorRate", model="broken"}', bool)
        (group,) = (await prometheus.get("/rules"))["groups"]
        assert {rule["name"]: rule["health"] for rule in group["rules"]} == {
            alert.name: "ok" for alert in ALERTS
        }


MODEL = '{job="j", instance="i", model="m"}'
GATEWAY = '{job="j", instance="i"}'
EMBEDS = '{job="j", instance="i", model="embeds"}'
REQUESTS = 'enginix_requests_total{job="j", instance="i", model="m", status="200"}'
FAILED = 'enginix_errors_total{job="j", instance="i", model="m", kind="BackendUnavailable"}'
IN_SERVER = 'nv_trt_llm_request_metrics{job="j", instance="i", model="m", request_type="waiting"}'
MINUTES = 120
"""That are simulated; a sample each."""

# A gateway in order: clients make mistakes, requests wait now and then, the disk is well filled,
# one server was started again, and a model makes no tokens at all.
GOOD = {
    f"up{GATEWAY}": f"1x{MINUTES}",
    f"enginix_running_requests{MODEL}": f"3x{MINUTES}",
    f"enginix_generated_tokens_total{MODEL}": f"0+100x{MINUTES}",
    f"enginix_model_healthy{MODEL}": f"1x{MINUTES}",
    f"enginix_waiting_requests{MODEL}": "0 2 4 1 0 3 0 0 " * (MINUTES // 8),
    IN_SERVER: f"7x{MINUTES}",
    REQUESTS: f"0+10x{MINUTES}",
    FAILED.replace("BackendUnavailable", "PromptTooLong"): f"0+9x{MINUTES}",
    FAILED: f"0x{MINUTES}",
    f"enginix_server_restarts_total{MODEL}": f"0x60 1x{MINUTES - 61}",
    f"enginix_running_requests{EMBEDS}": f"3x{MINUTES}",
    f"enginix_generated_tokens_total{EMBEDS}": f"0x{MINUTES}",
    REQUESTS.replace('"m"', '"embeds"'): f"0+10x{MINUTES}",
    f"enginix_disk_free_bytes{GATEWAY}": f"10x{MINUTES}",
    f"enginix_disk_size_bytes{GATEWAY}": f"100x{MINUTES}",
}
# Alert -> what becomes bad an hour later.
BAD: dict[str, Mapping[str, str]] = {
    "EnginixGatewayDown": {
        f"up{GATEWAY}": "1x60 0x60",
        f"enginix_running_requests{MODEL}": "3x60 stale",
    },
    "EnginixModelWedged": {f"enginix_model_healthy{MODEL}": "1x60 0x60"},
    "EnginixNoTokens": {
        f"enginix_generated_tokens_total{MODEL}": "0+100x60 6000x60",
        REQUESTS: "0+10x60 600x60",
    },
    "EnginixQueueGrowing": {f"enginix_waiting_requests{MODEL}": "0x60 1+1x60"},
    "EnginixErrorRate": {FAILED: "0x60 1+1x60"},
    "EnginixServerRestarts": {f"enginix_server_restarts_total{MODEL}": "0x60 1+1x60"},
    "EnginixDiskFilling": {f"enginix_disk_free_bytes{GATEWAY}": "60-0.5x120"},
}


def rule_test(series: Mapping[str, str], firing: str | None) -> dict[str, Any]:
    """At the end only that alert fires, once; or none ever has."""
    samples = [{"labels": f'{{alertname="{firing}"}}', "value": 1}] if firing else []
    query = 'count by (alertname) (ALERTS{alertstate="firing"})'
    return {
        "name": firing or "good",
        "interval": "1m",
        "input_series": [{"series": name, "values": value} for name, value in series.items()],
        "promql_expr_test": [
            {"expr": query, "eval_time": f"{minute}m", "exp_samples": samples}
            for minute in ([MINUTES - 1] if firing else range(10, MINUTES, 10))
        ],
    }


@needs_prometheus
def test_each_alert_fires_when_it_should_and_none_in_good_times(tmp_path: Path) -> None:
    assert BAD.keys() == {alert.name for alert in ALERTS}
    (tmp_path / "rules.yaml").write_text(rules_text())
    tests = [rule_test(GOOD, None), *(rule_test({**GOOD, **bad}, one) for one, bad in BAD.items())]
    content = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]):
        assert PROMTOOL
        done = subprocess.run([PROMTOOL, *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
