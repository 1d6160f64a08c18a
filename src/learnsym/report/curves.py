"""Draw the training curves of runs with plotly, in a page that needs no network."""

import math
import statistics
from collections.abc import Sequence
from functools import partial
from html import escape

from learnsym.results.collect import Run
from learnsym.results.grouping import Group, scale_of, settings_of, slug_of
from learnsym.results.statistics import is_number
from learnsym.schema import PlainDict

COLOURS = ("#0b6e99", "#d1495b", "#3a7d44", "#8d6a9f", "#b8741a", "#5c5c5c", "#1f8478", "#a14a5f")
MAX_NUMBERS = 400_000
"""Numbers in a page; beyond that only every k-th epoch of a run, and its last, is in it."""
Rows = Sequence[PlainDict]
"""Numbers by metric, one mapping for each epoch."""
_escape = partial(escape, quote=False)
"""Plotly reads a few tags in a text, and no entities of quotes."""


def curves_html(groups: Sequence[Group], runs: Sequence[Run]) -> str:
    """Return the chart and plotly's script as HTML; nothing where no run has an epoch."""
    import plotly.io

    if not any(run.rows for run in runs):
        return ""
    config = {"displaylogo": False, "responsive": True}
    figure = make_curves(groups, [run for run in runs if run.rows])
    return plotly.io.to_html(figure, config, full_html=False, validate=False, div_id="curves")


def stride(runs: Sequence[Run]) -> int:
    """Return k where every k-th epoch of a run is drawn."""
    return max(1, math.ceil(sum(len(row) for run in runs for row in run.rows) / MAX_NUMBERS))


def make_curves(groups: Sequence[Group], runs: Sequence[Run]) -> PlainDict:
    """Return a figure in plotly's form: lines of single runs and means, and a menu of metrics.

    Runs that have not finished are drawn too, in the colour of the group that they belong to.
    """
    step = stride(runs)
    lines: list[PlainDict] = []
    rows: list[Rows] = []
    labels = [_label_of(run, groups) for run in runs]
    for index, label in enumerate(dict.fromkeys([*(g.label for g in groups), *labels])):
        members = [run for run, other in zip(runs, labels, strict=True) if other == label]
        if not members:
            continue
        means = _mean_rows([run.rows for run in members if run.status == "finished"])
        look = {"color": COLOURS[index % len(COLOURS)]}
        for run in members:
            text = f"{label}, seed {run.seed}, {run.status}<br>{run.path.name}"
            lines.append(_line(label, text, look | {"width": 1}, opacity=0.5 if means else 1.0))
            rows.append([r for i, r in enumerate(run.rows) if i % step == 0 or r is run.rows[-1]])
        if means:
            lines.append(_line(label, f"{label}, mean", look | {"width": 2.5}))
            rows.append(means[::step])
        lines[-1]["showlegend"] = True
    metrics = list(dict.fromkeys(k for some in rows for row in some for k in _metrics_of(row)))
    start = _first_metric(metrics, rows)
    for line, some in zip(lines, rows, strict=True):
        line |= {"x": _values(some, "epoch"), "y": _values(some, start)}
    return {"data": lines, "layout": _layout(metrics, start, rows)}


def _label_of(run: Run, groups: Sequence[Group]) -> str:
    """Return the label of a run's group, of the one that it will be of, or else its own name."""
    for g in groups:
        if any(run is member for member in g.runs):
            return g.label
        if run.config and g.settings == settings_of(run) and g.scale == scale_of(run):
            return g.label
    return slug_of(run)


def _line(label: str, text: str, line: PlainDict, opacity: float = 1.0) -> PlainDict:
    """Return a line without its numbers."""
    look = {"type": "scatter", "mode": "lines", "hoverinfo": "x+y+text", "showlegend": False}
    look |= {"name": _escape(label), "legendgroup": _escape(label), "line": line}
    return look | {"text": _escape(text).replace("&lt;br&gt;", "<br>", 1), "opacity": opacity}


def _mean_rows(rows_of_runs: Sequence[Rows]) -> Rows:
    """Average over runs at the epochs that all of them have; nothing of a single run."""
    if len(rows_of_runs) < 2:
        return []
    by_epoch, means = [{row.get("epoch"): row for row in rows} for rows in rows_of_runs], []
    for epoch in by_epoch[0]:
        same = [rows[epoch] for rows in by_epoch if epoch in rows]
        if len(same) == len(by_epoch):
            values: PlainDict = {k: [row.get(k) for row in same] for k in _metrics_of(same[0])}
            shared = {k: v for k, v in values.items() if None not in map(_number, v)}
            means.append({"epoch": epoch} | {k: statistics.fmean(v) for k, v in shared.items()})
    return means


def _metrics_of(row: PlainDict) -> list[str]:
    return [k for k, v in row.items() if k not in ("epoch", "step") and is_number(v)]


def _number(value: object) -> float | None:
    """Return six digits of a number; None for what is not a finite number."""
    return float(f"{value:.6g}") if is_number(value) and math.isfinite(value) else None


def _values(rows: Rows, metric: str) -> list[float | None]:
    return [_number(row.get(metric)) for row in rows]


def _first_metric(metrics: Sequence[str], rows: Sequence[Rows]) -> str:
    """Return what is shown at first, of what changes: a learned rotation, or else a loss."""
    changing = [m for m in metrics if len({row.get(m) for some in rows for row in some}) > 1]
    wanted = ("learned_rotation", "learned_", "val_loss", "loss", "")
    choices = (m for part in wanted for m in changing or metrics if part in m)
    return next(choices, "")


def _layout(metrics: Sequence[str], start: str, rows: Sequence[Rows]) -> PlainDict:
    def button(label: str, method: str, *changes: PlainDict) -> PlainDict:
        return {"label": _escape(label), "method": method, "args": changes}

    choices = [
        button(m, "update", {"y": [_values(r, m) for r in rows]}, {"yaxis.title.text": _escape(m)})
        for m in metrics
    ]
    scales = [button(scale, "relayout", {"yaxis.type": scale}) for scale in ("linear", "log")]
    menu = {"y": 1.02, "yanchor": "bottom", "xanchor": "left", "x": 0}
    right = {"x": 1, "xanchor": "right", "type": "buttons", "direction": "left"}
    return {
        "height": 460,
        "hovermode": "closest",
        "margin": {"l": 70, "r": 20, "t": 60, "b": 50},
        "xaxis": {"title": {"text": "epoch"}},
        "yaxis": {"title": {"text": _escape(start)}},
        "legend": {"orientation": "h", "y": -0.2},
        "updatemenus": [
            menu | {"buttons": choices, "active": metrics.index(start)},
            menu | right | {"buttons": scales},
        ],
    }
