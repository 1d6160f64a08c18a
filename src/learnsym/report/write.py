"""Write the report of some runs: tables, figure and page."""

from collections.abc import Sequence
from pathlib import Path

from learnsym.report import tables
from learnsym.report.html import report_page
from learnsym.report.latex import latex
from learnsym.results.collect import Run
from learnsym.results.grouping import Group, numbered
from learnsym.utils.files import write_atomically


def write_report(
    folder: Path,
    title: str,
    command: str,
    runs: Sequence[Run],
    groups: Sequence[Group],
    metrics: Sequence[str] | None = None,
) -> Path:
    """Write table.md, table.csv, table.tex, sweep.png and report.html; print the table.

    `groups` are those of the finished ones among the runs, `metrics` names or patterns of those
    that the tables show (None: `tables.SHOWN`); the page shows the command. Return its path.
    """
    table = tables.make_table(groups, runs, metrics)
    texts = {"table.md": tables.markdown(table), "table.csv": tables.csv_text(table)}
    texts |= {"table.tex": latex(table)}
    for name, text in texts.items():
        write_atomically(folder / name, text)
    print(f"\n{texts['table.md']}")
    figures, report = [], folder / "report.html"
    if any(run.rows or run.curves for g in groups for run in g.runs):
        from learnsym.figures.sweep import draw_sweep

        short = [x if len(x) <= 40 else f"{x[:19]}…{x[-20:]}" for x in (g.label for g in groups)]
        runs_of = {x: g.runs for x, g in zip(numbered(short), groups, strict=True)}
        figures = [folder / "sweep.png"] if draw_sweep(folder / "sweep.png", runs_of) else []
    write_atomically(report, report_page(title, command, table, groups, runs, figures))
    for path in [*(folder / name for name in texts), *figures, report]:
        kind = {".png": "figure", ".html": "report"}.get(path.suffix, "table")
        print(f"{kind}: {path.absolute()}")
    return report
