"""The dashboard's PromQL, over the series that its variables choose, and panels made of it."""

from __future__ import annotations

from collections.abc import Mapping

from enginix.deploy.grafana import Limits, Panel, Variable, Words

# Which series are meant; $NAME is one of VARIABLES.
GATEWAY = 'job=~"$job", instance=~"$instance"'
CHOSEN = f'{GATEWAY}, model=~"$model"'
KEY = f'{CHOSEN}, key=~"$key"'
ANSWERED = 'model!=""'
"""Requests for models, not those for pages and health."""
QUANTILES = (0.5, 0.9, 0.99)
STATES = (
    (0.0, "idle", "text"),
    (1.0, "loading", "blue"),
    (2.0, "loaded", "green"),
    (3.0, "error", "red"),
)
YES_OR_NO = ((0.0, "no", "red"), (1.0, "yes", "green"))

VARIABLES = [
    Variable("job", "Job", "label_values(enginix_running_requests, job)"),
    Variable(
        "instance", "Gateway", 'label_values(enginix_running_requests{job=~"$job"}, instance)'
    ),
    Variable("model", "Model", f"label_values(enginix_running_requests{{{GATEWAY}}}, model)"),
    Variable("key", "API key", f"label_values(enginix_key_requests_total{{{GATEWAY}}}, key)"),
]


def series(metric: str, more: str = "", chosen: str = CHOSEN) -> str:
    return f"{metric}{{{chosen}{', ' if more else ''}{more}}}"


def total(by: str, metric: str, more: str = "", chosen: str = CHOSEN) -> str:
    """Its sum for each value of the labels `by`; empty for one sum."""
    return f"sum{f' by ({by})' if by else ''} ({series(metric, more, chosen)})"


def per_second(by: str, metric: str, more: str = "", chosen: str = CHOSEN) -> str:
    rate = f"rate({series(metric, more, chosen)}[$__rate_interval])"
    return f"sum{f' by ({by})' if by else ''} ({rate})"


def quantile(of: float, metric: str, by: str = "model") -> str:
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({of:g}, {per_second(labels, f'{metric}_bucket')})"


def number(title: str, text: str, query: str, unit: str = "short", limits: Limits = ()) -> Panel:
    return Panel(title, text, {"": query}, unit, "stat", 3, limits)


def timeline(
    title: str, text: str, queries: Mapping[str, str], words: Words, width: int = 8
) -> Panel:
    return Panel(title, text, queries, kind="state-timeline", width=width, words=words)


def latency(title: str, metric: str, text: str) -> Panel:
    queries = {f"p{of * 100:g} {{{{model}}}}": quantile(of, metric) for of in QUANTILES}
    return Panel(title, text, queries, "s")


def share(part: str, whole: str) -> str:
    """`part` of `whole`; nothing where there is no whole."""
    return f"{part} / ({whole} > 0)"


def state_number() -> str:
    """0 to 3, as in STATES."""
    each = (
        f"{series('enginix_server_state', f'state={chr(34)}{state}{chr(34)}')} * {value:g}"
        for value, state, _ in STATES
    )
    return f"sum by (instance, model) ({' or '.join(each)})"
