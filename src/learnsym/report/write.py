"""TODO."""

from collections.abc import Sequence
from pathlib import Path

from learnsym.report import tables
from learnsym.report.html import page
from learnsym.report.latex import latex
from learnsym.results.collect import Run
from learnsym.results.grouping import Group, unique
from learnsym.utils.files import write_atomically


def write_report(
    folder: Path,
    title: str,
    command: str,
    runs: Sequence[Run],
    groups: Sequence[Group],
    metrics: Sequence[str] | None = None,
) -> dict[str, Path]:
    """table.md, table.csv, table.tex, sweep.png where there is something to draw, and report.html; the table on the console.

    Args:
        folder: takes them.
        title: of the page.
        command: shown on the page.
        runs: all of them.
        groups: of the finished ones.
        metrics: names or patterns of those that the tables show; None: see `tables.SHOWN`.

    Returns:
        Their paths: table, csv, latex, figure (where there is one), report.
    """
    table = tables.make_table(groups, runs, metrics)
    paths = {
        "table": folder / "table.md",
        "csv": folder / "table.csv",
        "latex": folder / "table.tex",
    }
    markdown = tables.markdown(table)
    for path, content in zip(
        paths.values(), (markdown, tables.as_csv(table), latex(table)), strict=True
    ):
        write_atomically(path, content)
    print(f"\n{markdown}")
    drawn = draw(folder / "sweep.png", groups)
    paths |= {"figure": drawn} if drawn else {}
    paths["report"] = folder / "report.html"
    write_atomically(
        paths["report"], page(title, command, table, groups, runs, [drawn] if drawn else [])
    )
    for what, path in paths.items():
        print(f"{ {'csv': 'table', 'latex': 'table'}.get(what, what) }: {path.absolute()}")
    return paths


def draw(path: Path, groups: Sequence[Group]) -> Path | None:
    """The figure of all groups, where what they recorded makes one."""
    if not any(run.rows or run.curves for g in groups for run in g.runs):
        return None
    from learnsym.figures.sweep import draw_sweep

    labels = unique(
        [g.label if len(g.label) <= 40 else f"{g.label[:19]}…{g.label[-20:]}" for g in groups]
    )
    drawn = [
        [{"result": r.result, "rows": r.rows, "curves": r.curves} for r in g.runs] for g in groups
    ]
    return draw_sweep(path, dict(zip(labels, drawn, strict=True)))
