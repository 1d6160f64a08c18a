"""Tables of grouped runs: mean and standard deviation over seeds beside the paper's values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pandas as pd

from learnsym.errors import ConfigError
from learnsym.results.collect import Run
from learnsym.results.grouping import Group, remarks
from learnsym.results.statistics import is_number, mean_and_sd
from learnsym.run.summary import STATUS
from learnsym.schema import PlainDict

SHOWN = ["test_", "median_", "learned_", "gradient_", "accuracy_", "distance_to_", "change_"]
SHOWN += ["n_eff_", "largest_eigenvalue", "trace", "equivariance_error_"]
"""Beginnings of the metrics that tables show, in this order; the CSV has all metrics."""
COLUMNS = ["run", "metric", "mean", "sd", "n", "seeds", "scale", "code", "paper", "paper_status"]
COLUMNS += ["status", "reason"]
"""Columns of table.csv."""
_LONG_REASON = 400


@dataclass(frozen=True)
class RunTable:
    """Numbers of groups of runs.

    Attributes:
        values: a line for each group and metric; the columns of table.csv, `runs` (how many the
            group has) and `text` (what a cell shows).
        blocks: metrics that are shown: those of a run, then those of its layers.
        absent: name, status and reason of the runs that are not in the table, under a `headline`.
        notes: sentences under the table.
    """

    values: pd.DataFrame
    blocks: Sequence[Sequence[str]]
    absent: pd.DataFrame
    notes: Sequence[str]
    headline: str

    def block_frame(self, block: Sequence[str]) -> pd.DataFrame:
        """Return the cells of a block as text: run, n, then a column for each metric."""
        shown = self.values[self.values["metric"].isin(block)]
        cells = shown.set_index(["run", "runs", "metric"])["text"].unstack(sort=False)
        cells = cells.reindex(columns=pd.Index(block)).fillna("")
        return cells.reset_index(names=["run", "n"])


def make_table(
    groups: Sequence[Group], runs: Sequence[Run], wanted: Sequence[str] | None = None
) -> RunTable:
    """Compute the numbers of a table of groups, those of the finished ones among all runs.

    `wanted`: names or patterns (`learned_*`) of the metrics to show, in this order, of which some
    run has each; None: those of testing and learning.
    """
    lines = [line for g in groups for line in _lines(g)]
    values = pd.DataFrame(lines, columns=[*COLUMNS, "runs", "text"])
    metrics = list(dict.fromkeys(values["metric"]))
    fixed = _fixed_metrics(groups) & set(metrics) if wanted is None else set()
    kept = [m for m in metrics if m not in fixed]
    shown = [m for prefix in SHOWN for m in kept if m.startswith(prefix)] or kept
    chosen = shown if wanted is None else _chosen(metrics, wanted)
    blocks = [[m for m in chosen if "/" not in m], [m for m in chosen if "/" in m]]
    absent = pd.DataFrame(_absent_runs(runs), columns=["run", "status", "reason"])
    headline = f"Not in the table, {len(absent)} of {len(runs)} runs:"
    return RunTable(values, [b for b in blocks if b], absent, _notes(groups, bool(fixed)), headline)


def _lines(group: Group) -> list[PlainDict]:
    """Return a line of numbers for each metric of a group."""
    metrics = [run.section("metrics") for run in group.runs]
    common = {"run": group.label, "scale": group.scale, "code": group.code, "status": "finished"}
    common |= {"seeds": " ".join(str(run.seed) for run in group.runs), "reason": ""}
    lines = []
    for name in dict.fromkeys(k for m in metrics for k, v in m.items() if is_number(v)):
        values = [float(m[name]) for m in metrics if is_number(m.get(name))]
        mean, sd = mean_and_sd(values)
        paper = [e for e in _paper(group) if e.get("metric") == name]
        line = {"metric": name, "mean": mean, "sd": "" if sd is None else sd, "n": len(values)}
        line |= {"paper": "; ".join(str(e.get("value")) for e in paper)}
        line |= {"paper_status": "; ".join(str(e.get("status")) for e in paper)}
        text = f"{mean:.4g}" + (f" ± {sd:.2g}" if sd is not None else "")
        text += f" (n={len(values)})" if len(values) != len(group.runs) else ""
        text += f" ({'; '.join(map(_paper_text, paper))})" if paper else ""
        lines.append(common | line | {"runs": len(group.runs), "text": text})
    return lines


def _paper(group: Group) -> list[PlainDict]:
    """Return the different values that papers report for the runs of a group."""
    entries = [e for r in group.runs for e in r.result.get("paper") or [] if isinstance(e, dict)]
    return [e for index, e in enumerate(entries) if e not in entries[:index]]


def _paper_text(entry: PlainDict) -> str:
    where = f", {entry['where']}" if entry.get("where") else ""
    return f"{entry.get('value')} [{entry.get('status')}{where}]"


def _fixed_metrics(groups: Sequence[Group]) -> set[str]:
    """Return metrics of extents that no run has learned: they are as the configuration says."""
    learned: dict[str, bool] = {}
    for run in (run for g in groups for run in g.runs):
        for layer, extents in run.section("learned_symmetry").items():
            for extent in extents.values():
                for name in (extent["metric"], f"{extent['metric']}/{layer}"):
                    learned[name] = learned.get(name, False) or extent["learned"]
    return {name for name, is_learned in learned.items() if not is_learned}


def _chosen(metrics: Sequence[str], wanted: Sequence[str]) -> list[str]:
    matches = {pattern: [m for m in metrics if fnmatchcase(m, pattern)] for pattern in wanted}
    unmatched = [pattern for pattern, names in matches.items() if not names]
    if unmatched and metrics:
        raise ConfigError(
            f"mode.metrics={unmatched[0]}: no run has such a metric; "
            f"valid: {', '.join(sorted(metrics))}."
        )
    return list(dict.fromkeys(m for names in matches.values() for m in names))


def _absent_runs(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    """Return name (or path, if two have one name), status and reason of runs not finished."""
    absent = [run for run in runs if run.status != "finished"]
    names = [run.name for run in absent]
    lines: list[tuple[str, str, str]] = []
    for name, run in zip(names, absent, strict=True):
        reason = (run.error or "no reason is known.").strip()
        short = f"{reason[:_LONG_REASON]} ..." if len(reason) > _LONG_REASON else reason
        lines.append((name if names.count(name) == 1 else str(run.path), run.status, short))
    return lines


def _notes(groups: Sequence[Group], omits_fixed: bool) -> list[str]:
    if not groups:
        return ["No run has finished."]
    note = "Mean ± standard deviation over seeds (n runs)."
    if statuses := dict.fromkeys(str(e.get("status")) for g in groups for e in _paper(g)):
        meanings = ", ".join(f"{s}: {STATUS[s]}" for s in statuses if s in STATUS)
        note += " In brackets: the paper's value and its status"
        note += f" ({meanings})." if meanings else "."
    fixed = ["Extents that were given and not learned are in table.csv."] if omits_fixed else []
    return [note, *fixed, *remarks(groups)]


def markdown(table: RunTable) -> str:
    """Return a table of what the runs came to, one of their layers, notes and absent runs."""
    parts = [to_markdown(table.block_frame(block)) for block in table.blocks]
    parts += map(_escape, table.notes)
    if len(table.absent):
        parts += [table.headline, absent_list(table.absent.itertuples(index=False))]
    return "\n\n".join(parts) + "\n"


def absent_list(absent: Iterable[Sequence[str]]) -> str:
    """Return a Markdown list of (name, status, reason)."""
    return "\n".join(f"- {_escape(n)} ({s}): {_escape(reason)}" for n, s, reason in absent)


def csv_text(table: RunTable) -> str:
    """Return a line for every group and metric, and one for every absent run, as CSV."""
    absent = table.absent.assign(n=0).reindex(columns=COLUMNS, fill_value="")
    lines = pd.concat([table.values[COLUMNS].astype(object), absent])
    return lines.to_csv(index=False, na_rep="nan")


def to_markdown(frame: pd.DataFrame) -> str:
    """Return a Markdown table, its cells as they are written; no text in it opens a cell or tag."""
    cells = frame.map(_escape).rename(columns=_escape)
    text = cells.to_markdown(index=False, stralign=None, numalign=None, disable_numparse=True)
    head, _, *rows = text.splitlines()
    return "\n".join([head, "| --- " * len(cells.columns) + "|", *rows])


def _escape(text: object) -> str:
    line = " ".join(str(text).split()).replace("|", "\\|")
    return line if line.startswith("`") else line.replace("<", "&lt;")
