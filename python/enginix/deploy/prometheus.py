"""Alert rules for Prometheus, over the gateway's metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from enginix.deploy.yaml_text import to_yaml
from enginix.errors import RequestError


def _family(kind: type[Exception]) -> Iterator[str]:
    yield kind.__name__
    for each in kind.__subclasses__():
        yield from _family(each)


# What is not a client's mistake, of the label `kind`. Exceptions that are bugs are such, too.
FAULTS = f'model!="", kind!~"{"|".join(_family(RequestError))}"'
WAITING_IN_SERVER = ("nv_trt_llm_request_metrics", 'request_type="waiting"')

ONE_MODEL = "job, instance, model"


@dataclass(frozen=True, slots=True)
class Alert:
    name: str
    expr: str
    lasts: str
    """How long it has to be so."""
    severity: str
    summary: str
    action: str
    """What to do."""


def _grows(series: str) -> str:
    return f"({series} > 0 and deriv({series}[5m]) > 0)"


def _used(share: float) -> str:
    return f"enginix_disk_free_bytes / enginix_disk_size_bytes < {1 - share:.2g}"


ALERTS = (
    Alert(
        "EnginixGatewayDown",
        # Whatever its job is called: it has had these series.
        "up == 0 and on (job, instance) count_over_time(enginix_running_requests[6h]) > 0",
        "2m",
        "critical",
        "The gateway {{ $labels.instance }} does not answer",
        "Clients get no answer from it, and the other alerts know nothing of it. See whether it "
        "runs (enginix ps, systemctl status, kubectl get pods), and its log.",
    ),
    Alert(
        "EnginixModelWedged",
        "enginix_model_healthy == 0",
        "1m",
        "critical",
        "No tokens come out of {{ $labels.model }} at {{ $labels.instance }}",
        "Its reason is in /v1/status, its server's log in `enginix logs`. A supervisor starts the "
        "server again by itself; without one, restart Triton.",
    ),
    Alert(
        "EnginixNoTokens",
        "min_over_time(enginix_running_requests[5m]) > 0 "
        f"and on ({ONE_MODEL}) rate(enginix_generated_tokens_total[5m]) == 0 "
        # Embeddings, and answers that are passed on whole: their tokens are counted at the end.
        f"unless on ({ONE_MODEL}) "
        f'sum by ({ONE_MODEL}) (rate(enginix_requests_total{{status="200"}}[5m])) > 0',
        "1m",
        "critical",
        "Requests of {{ $labels.model }} at {{ $labels.instance }} run, and no token comes",
        "No token for five minutes, and no request has ended well: the server hangs, or reads a "
        "prompt that is too long for it. `enginix restart MODEL` replaces it; /v1/requests shows "
        "what runs.",
    ),
    Alert(
        "EnginixQueueGrowing",
        f"max by ({ONE_MODEL}) ({_grows('enginix_waiting_requests')} or "
        f"{_grows(f'{WAITING_IN_SERVER[0]}{{{WAITING_IN_SERVER[1]}}}')}) > 0",
        "10m",
        "warning",
        "The queue of {{ $labels.model }} at {{ $labels.instance }} has grown for ten minutes",
        "Requests come faster than they are answered. Add a replica, limit the key that sends the "
        "most (row API keys of the dashboard), or lower --max-waiting.",
    ),
    Alert(
        "EnginixErrorRate",
        f"sum by (job, model) (rate(enginix_errors_total{{{FAULTS}}}[5m])) / "
        'sum by (job, model) (rate(enginix_requests_total{model!=""}[5m])) > 0.05',
        "5m",
        "critical",
        "{{ $value | humanizePercentage }} of the requests for {{ $labels.model }} fail",
        "Not by mistakes of clients. The row Errors of the dashboard has the kinds: of Backend* "
        "and GenerationFailed the server's log says more, of others the gateway's.",
    ),
    Alert(
        "EnginixServerRestarts",
        "increase(enginix_server_restarts_total[30m]) > 2",
        "0m",
        "warning",
        "The server of {{ $labels.model }} at {{ $labels.instance }} was started again and again",
        "More than twice in half an hour it ended, or was wedged. last_error in /v1/status and "
        "`enginix logs MODEL` say why; `enginix doctor` checks GPU, memory and engine.",
    ),
    Alert(
        "EnginixDiskFilling",
        f"{_used(0.95)} or "
        f"({_used(0.8)} and predict_linear(enginix_disk_free_bytes[6h], 86400) < 0)",
        "15m",
        "warning",
        "The disk of the gateway {{ $labels.instance }} is full soon",
        "Below 5% free, or full within a day at the pace of the last six hours. `enginix list` "
        "shows what is large; `enginix gc` and `enginix rm` free some.",
    ),
)


def rule_groups() -> dict[str, Any]:
    """The content of a rule file, and the `spec` of a PrometheusRule."""
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expr,
            "for": alert.lasts,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "description": alert.action},
        }
        for alert in ALERTS
    ]
    return {"groups": [{"name": "enginix", "rules": rules}]}


def rules_text() -> str:
    """The file that `rule_files` of prometheus.yml names."""
    return to_yaml(rule_groups())
