"""Grafana's JSON for a dashboard that is described as rows of panels, in the classic model.

Grafana imports that model since version 10.4; newer ones convert it themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 39
WIDTH, HEIGHT = 24, 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Whatever Prometheus returns for a variable that is "All", also a label that is not there.
EVERYTHING = ".*"
HIDE_TIME = {"id": "organize", "options": {"excludeByName": {"Time": True}}}

Limits = Sequence[tuple[float, str]]
"""From a value on, its colour; green below the first."""
Words = Sequence[tuple[float, str, str]]
"""A value, the word that stands for it, its colour."""


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    text: str
    """What it shows, and what to do when it looks bad."""
    queries: Mapping[str, str]
    """Legend -> PromQL."""
    unit: str = "short"
    """As Grafana names it."""
    kind: str = "timeseries"
    """timeseries, stat, state-timeline or table."""
    width: int = 8
    """Of 24."""
    limits: Limits = ()
    words: Words = ()


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    label: str
    query: str


Rows = Mapping[str, Sequence[Panel]]


def dashboard(
    uid: str, title: str, text: str, variables: Sequence[Variable], rows: Rows
) -> dict[str, Any]:
    return {
        # Grafana chooses it.
        "id": None,
        "uid": uid,
        "title": title,
        "description": text,
        "tags": [uid],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_source_variable(), *map(_query_variable, variables)]},
        "panels": list(_placed(rows)),
    }


def _placed(rows: Rows) -> Iterator[dict[str, Any]]:
    """Rows below each other, a row's panels beside each other as far as they fit."""
    number, y = 0, 0
    for title, panels in rows.items():
        number += 1
        place = {"h": 1, "w": WIDTH, "x": 0, "y": y}
        row = {"id": number, "type": "row", "title": title, "collapsed": False, "panels": []}
        yield {**row, "gridPos": place}
        x, y = 0, y + 1
        height = HEIGHT // 2 if panels[0].kind == "stat" else HEIGHT
        for panel in panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + height
            number += 1
            place = {"h": height, "w": panel.width, "x": x, "y": y}
            yield {"id": number, **_panel(panel), "gridPos": place}
            x += panel.width
        y += height


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "targets": [
            _target(panel, chr(ord("A") + number), legend, query)
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel.kind),
        "transformations": [HIDE_TIME] if panel.kind == "table" else [],
    }


def _target(panel: Panel, letter: str, legend: str, query: str) -> dict[str, Any]:
    is_table = panel.kind == "table"
    return {
        "refId": letter,
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query,
        "legendFormat": legend,
        "range": not is_table,
        "instant": is_table,
        "format": "table" if is_table else "time_series",
    }


def _field(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": color, "value": value} for value, color in panel.limits]
    words = {
        f"{value:g}": {"text": word, "color": color, "index": place}
        for place, (value, word, color) in enumerate(panel.words)
    }
    by_value = panel.kind == "stat" or panel.words
    field: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if by_value else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": [{"type": "value", "options": words}] if words else [],
    }
    if panel.kind == "timeseries":
        field["min"] = 0
        field["custom"] = {"drawStyle": "line", "fillOpacity": 10, "showPoints": "never"}
    return field


def _options(kind: str) -> dict[str, Any]:
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    match kind:
        case "stat":
            last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
            return {"reduceOptions": last, "colorMode": "value", "graphMode": "area"}
        case "state-timeline":
            return {"showValue": "auto", "mergeValues": True, "legend": legend}
        case "table":
            return {"showHeader": True}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def _source_variable() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
    }


def _query_variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": SOURCE,
        "definition": variable.query,
        "query": {
            # Values of a label, of the editor's kinds.
            "qryType": 1,
            "query": variable.query,
            "refId": "PrometheusVariableQueryEditor-VariableQuery",
        },
        # Whenever the time range changes.
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": EVERYTHING,
        "current": {"text": ["All"], "value": ["$__all"]},
    }
