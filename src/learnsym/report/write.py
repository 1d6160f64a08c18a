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

    Args:
        folder: takes them.
        title: of the page.
        command: shown on the page.
        runs: all of them.
        groups: of the finished ones.
        metrics: names or patterns of those that the tables show; None: see `tables.SHOWN`.

    Returns:
        The path of report.html.
    """
    table = tables.make_table(groups, runs, metrics)
    markdown = tables.markdown(table)
    write_atomically(folder / "table.md", markdown)
    write_atomically(folder / "table.csv", tables.csv_text(table))
    write_atomically(folder / "table.tex", latex(table))
    print(f"\n{markdown}")
    figures = [folder / "sweep.png"] if _draw(folder / "sweep.png", groups) else []
    report = folder / "report.html"
    write_atomically(report, report_page(title, command, table, groups, runs, figures))
    for suffix in ("md", "csv", "tex"):
        print(f"table: {(folder / f'table.{suffix}').absolute()}")
    for path in figures:
        print(f"figure: {path.absolute()}")
    print(f"report: {report.absolute()}")
    return report


def _draw(path: Path, groups: Sequence[Group]) -> bool:
    """Draw the figure of all groups; return False where nothing that they recorded makes one."""
    if not any(run.rows or run.curves for g in groups for run in g.runs):
        return False
    from learnsym.figures.sweep import draw_sweep

    labels = [g.label for g in groups]
    short = numbered([x if len(x) <= 40 else f"{x[:19]}…{x[-20:]}" for x in labels])
    return draw_sweep(path, {x: g.runs for x, g in zip(short, groups, strict=True)})
