"""Tables of grouped runs: mean and standard deviation over seeds, the paper's value and its status,
and who is missing.

One set of numbers, written as Markdown and CSV here, by `learnsym.report.latex` and by
`learnsym.report.html`.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from learnsym.errors import ConfigError
from learnsym.results.collect import Run
from learnsym.results.grouping import Group, part_of, remarks
from learnsym.results.statistics import is_number, mean_and_sd, name_of
from learnsym.run.summary import STATUS

SHOWN = tuple(
    f"{name}_"
    for name in (
        "test",
        "median",
        "learned",
        "gradient",
        "accuracy",
        "distance_to",
        "change",
        "n_eff",
    )
)
SHOWN += ("largest_eigenvalue", "trace", "equivariance_error_")
"""How metrics begin that tables show, in this order; the CSV has all."""
LONG_REASON = 400
"""Characters of an error that are shown; error.txt has the rest."""


@dataclass(frozen=True)
class Cell:
    """One metric of one group."""

    mean: float
    sd: float | None
    """With n - 1 in the denominator; None of a single run."""
    n: int
    paper: tuple[Mapping[str, Any], ...] = ()
    """What the paper reports of it: value, status, where."""


@dataclass(frozen=True)
class Row:
    """One group."""

    label: str
    n: int
    scale: str
    code: str
    seeds: tuple[Any, ...]
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Table:
    """All groups, and what is not in them."""

    rows: Sequence[Row]
    blocks: Sequence[Sequence[str]]
    """Metrics that are shown: those of a run, then those of its layers."""
    absent: Sequence[Run]
    """Runs that have not finished, and those that cannot be read."""
    total: int
    """Runs altogether."""
    remarks: Sequence[str] = field(default_factory=tuple)


def make_table(
    groups: Sequence[Group], runs: Sequence[Run], wanted: Sequence[str] | None = None
) -> Table:
    """The numbers of a table.

    Args:
        groups: of the finished ones among the runs.
        runs: all of them.
        wanted: names or patterns (`learned_*`) of the metrics to show, in this order; None: those
            of testing and learning.

    Raises:
        ConfigError: no run has a metric of such a name.
    """
    rows = [row_of(g) for g in groups]
    every = list(dict.fromkeys(m for row in rows for m in row.cells))
    fixed = given(groups) if wanted is None else set()
    chosen = (
        by_default([m for m in every if m not in fixed])
        if wanted is None
        else _chosen(every, wanted)
    )
    blocks = [[m for m in chosen if "/" not in m], [m for m in chosen if "/" in m]]
    absent = [run for run in runs if run.status != "finished"]
    said = (
        ["Extents that were given and not learned are in table.csv."] if fixed & set(every) else []
    )
    return Table(rows, [b for b in blocks if b], absent, len(runs), said + remarks(groups))


def given(groups: Sequence[Group]) -> set[str]:
    """Metrics of extents that no run has learned: they are as the configuration says."""
    learned: dict[str, bool] = {}
    for run in (run for g in groups for run in g.runs):
        for layer, extents in part_of(run, "learned_symmetry").items():
            for extent in extents.values():
                for name in (extent["metric"], f"{extent['metric']}/{layer}"):
                    learned[name] = learned.get(name, False) or extent["learned"]
    return {name for name, is_learned in learned.items() if not is_learned}


def by_default(metrics: Sequence[str]) -> list[str]:
    """Those that are shown, the test's first; all, where none of them has such a name."""
    shown = [m for prefix in SHOWN for m in metrics if m.startswith(prefix)]
    return shown or list(metrics)


def _chosen(metrics: Sequence[str], wanted: Sequence[str]) -> list[str]:
    found = {pattern: [m for m in metrics if fnmatchcase(m, pattern)] for pattern in wanted}
    nothing = [pattern for pattern, names in found.items() if not names]
    if nothing and metrics:
        raise ConfigError(
            f"mode.metrics={nothing[0]}: no run has such a metric; valid: {', '.join(sorted(metrics))}."
        )
    return list(dict.fromkeys(m for names in found.values() for m in names))


def row_of(group: Group) -> Row:
    """Means and deviations of a group's metrics."""
    metrics = [
        {k: float(v) for k, v in part_of(r, "metrics").items() if is_number(v)} for r in group.runs
    ]
    published = [e for r in group.runs for e in r.result.get("paper") or [] if isinstance(e, dict)]
    cells = {}
    for metric in dict.fromkeys(k for m in metrics for k in m):
        values = [m[metric] for m in metrics if metric in m]
        entries = [
            e
            for n, e in enumerate(published)
            if e.get("metric") == metric and e not in published[:n]
        ]
        cells[metric] = Cell(*mean_and_sd(values), len(values), tuple(entries))
    seeds = tuple(r.config.get("seed", r.result.get("seed")) for r in group.runs)
    return Row(group.label, len(group.runs), group.scale, group.code, seeds, cells)


# --- pieces of text


def number_of(cell: Cell, n: int, plus_minus: str = " ± ") -> str:
    """Mean and deviation; how many runs have the metric, where not all of the group do."""
    deviation = f"{plus_minus}{cell.sd:.2g}" if cell.sd is not None else ""
    return f"{cell.mean:.4g}{deviation}" + (f" (n={cell.n})" if cell.n != n else "")


def published(cell: Cell) -> str:
    """The paper's value, its status and where it stands: a run of a sweep may have another
    setting.
    """
    return "; ".join(f"{e.get('value')} [{e.get('status')}{_where(e)}]" for e in cell.paper)


def _where(entry: Mapping[str, Any]) -> str:
    return f", {entry['where']}" if entry.get("where") else ""


def absentees(table: Table) -> list[tuple[str, str, str]]:
    """Name, status and reason of every run that is not in the table; of two directories of one name
    their paths.
    """
    names = [name_of(run) for run in table.absent]
    named = [
        name if names.count(name) == 1 else str(run.path)
        for name, run in zip(names, table.absent, strict=True)
    ]
    reasons = [(run.error or "no reason is known.").strip() for run in table.absent]
    cut = [text if len(text) <= LONG_REASON else f"{text[:LONG_REASON]} ..." for text in reasons]
    return [
        (name, run.status, text) for name, run, text in zip(named, table.absent, cut, strict=True)
    ]


def notes(table: Table) -> list[str]:
    """Sentences under the table."""
    statuses = dict.fromkeys(
        str(e.get("status")) for row in table.rows for c in row.cells.values() for e in c.paper
    )
    said = ["Mean ± standard deviation over seeds (n runs)."]
    if statuses:
        meanings = ", ".join(f"{s}: {STATUS[s]}" for s in statuses if s in STATUS)
        said = [
            f"{said[0]} In brackets: the paper's value and its status{f' ({meanings})' if meanings else ''}."
        ]
    return said + list(table.remarks) if table.rows else ["No run has finished."]


def headline(table: Table) -> str:
    """Above the list of those that are not in the table."""
    return f"Not in the table, {len(table.absent)} of {table.total} runs:"


# --- Markdown and CSV


def markdown(table: Table) -> str:
    """A table of what the runs came to, and one of their layers."""
    lines = []
    for block in table.blocks:
        lines += [
            "| run | n | " + " | ".join(map(escaped, block)) + " |",
            "| --- " * (len(block) + 2) + "|",
        ]
        for row in table.rows:
            if any(m in row.cells for m in block):
                lines.append(
                    f"| {escaped(row.label)} | {row.n} | "
                    + " | ".join(escaped(cell(row, m)) for m in block)
                    + " |"
                )
        lines.append("")
    lines.append("\n\n".join(map(escaped, notes(table))))
    if table.absent:
        lines += ["", headline(table), ""]
        lines += [
            f"- {escaped(name)} ({status}): {escaped(reason)}"
            for name, status, reason in absentees(table)
        ]
    return "\n".join(lines) + "\n"


def cell(row: Row, metric: str, plus_minus: str = " ± ") -> str:
    """What stands in a cell: the number, and the paper's in brackets."""
    if metric not in row.cells:
        return ""
    found = row.cells[metric]
    return number_of(found, row.n, plus_minus) + (f" ({published(found)})" if found.paper else "")


def escaped(text: str) -> str:
    """Text that makes neither cells nor HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def as_csv(table: Table) -> str:
    """A line for every group and metric, all metrics; and one for every run that is missing."""
    file = io.StringIO()
    fields = (
        "run",
        "metric",
        "mean",
        "sd",
        "n",
        "seeds",
        "scale",
        "code",
        "paper",
        "paper_status",
        "status",
        "reason",
    )
    writer = csv.DictWriter(file, fields, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        for metric, found in row.cells.items():
            values = {
                "run": row.label,
                "metric": metric,
                "mean": found.mean,
                "sd": found.sd,
                "n": found.n,
            }
            values |= {
                "seeds": " ".join(map(str, row.seeds)),
                "scale": row.scale,
                "code": row.code,
                "status": "finished",
            }
            values |= {"paper": "; ".join(str(e.get("value")) for e in found.paper)}
            writer.writerow(
                values | {"paper_status": "; ".join(str(e.get("status")) for e in found.paper)}
            )
    for name, status, reason in absentees(table):
        writer.writerow({"run": name, "n": 0, "status": status, "reason": reason})
    return file.getvalue()
