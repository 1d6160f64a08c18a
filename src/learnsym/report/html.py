"""The report as one HTML file that loads nothing: style, script, data and figures are in it.

The template escapes whatever comes from a run (a label, a path, an error); a content security
policy forbids the page to load anything.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

from learnsym.report.curves import curves_html, stride
from learnsym.report.tables import RunTable
from learnsym.results.collect import Run, Status
from learnsym.results.grouping import Group, differing_keys, scale_of
from learnsym.schema import PlainDict

if TYPE_CHECKING:
    from pandas import DataFrame

ASSETS = Path(__file__).parent / "assets"
MAX_FIGURES = 20_000_000
"""Bytes of figures in a page; those beyond are named."""
_PNG = b"\x89PNG\r\n\x1a\n"


class Image(NamedTuple):
    """A figure in the page: what it shows, its data in base64, and the group it is of."""

    caption: str
    data: str
    label: str


def report_page(
    title: str,
    command: str,
    table: RunTable,
    groups: Sequence[Group],
    runs: Sequence[Run],
    figures: Sequence[Path],
) -> str:
    """Return the whole page.

    Args:
        title: of the report.
        command: what the runs were looked for with; shown.
        table: of the groups.
        groups: of the finished runs.
        runs: all.
        figures: drawn of all groups together.
    """
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
    images, omitted = _images(groups, figures)
    counts = [(status, sum(run.status == status for run in runs)) for status in get_args(Status)]
    return environment.get_template("report.html").render(
        title=title,
        command=command,
        summary=f"{len(runs)} runs: {', '.join(f'{n} {status}' for status, n in counts if n)}.",
        style=Markup((ASSETS / "report.css").read_text()),
        blocks=[table.block_frame(block) for block in table.blocks],
        table=table,
        overview=[image for image in images if not image.label],
        images={g.label: [i for i in images if i.label == g.label] for g in groups},
        omitted=omitted,
        curves=Markup(curves_html(groups, runs)),
        stride=stride(runs),
        differences=_differences(groups),
        versions=_versions(runs),
        runs=_run_list(groups, runs),
    )


def _images(groups: Sequence[Group], figures: Sequence[Path]) -> tuple[list[Image], list[Path]]:
    """Return figures while there is room, the first seeds' before others, and those left out."""
    images, omitted, size = [], [], 0
    for label, path, caption in [*_overview(figures), *_figures_of_runs(groups)]:
        content = path.read_bytes() if path.is_file() else b""
        size += len(content)
        if content.startswith(_PNG) and size <= MAX_FIGURES:
            images.append(Image(caption, base64.b64encode(content).decode(), label))
        else:
            omitted.append(path)
    return images, omitted


def _overview(figures: Sequence[Path]) -> Iterator[tuple[str, Path, str]]:
    yield from (("", path, "all rows of the table") for path in figures)


def _figures_of_runs(groups: Sequence[Group]) -> Iterator[tuple[str, Path, str]]:
    for index in range(max((len(g.runs) for g in groups), default=0)):
        for g in groups:
            for run in g.runs[index : index + 1]:
                for path in sorted((run.path / "figures").glob("*.png")):
                    caption = f"{path.stem.replace('_', ' ')}: {g.label}, seed {run.seed}"
                    yield g.label, path, caption


def _differences(groups: Sequence[Group]) -> "DataFrame":
    """Return settings that differ between groups; keys that differ alike share a line."""
    from pandas import DataFrame

    rows: dict[tuple[str, ...], list[str]] = {}
    for key in differing_keys(groups):
        values = [
            json.dumps(g.settings[key], default=str) if key in g.settings else "" for g in groups
        ]
        name = key.rpartition(".")[2]
        rows.setdefault((name, *(v.strip('"') for v in values)), []).append(key)
    lines = [[", ".join(keys), *values] for (_, *values), keys in rows.items()]
    return DataFrame(lines, columns=["setting", *(g.label for g in groups)])


def _versions(runs: Sequence[Run]) -> "DataFrame":
    """Return each combination of versions and hardware, and how many runs it made."""
    from pandas import DataFrame

    rows = [
        {"device": run.result.get("device", "?"), "processes": run.result.get("processes", 1)}
        | run.section("versions")
        for run in runs
        if run.status == "finished"
    ]
    frame = DataFrame(rows).fillna("–").astype(str)
    return frame.value_counts(sort=False).reset_index(name="runs") if rows else frame


def _run_list(groups: Sequence[Group], runs: Sequence[Run]) -> "DataFrame":
    """Return one line for each run, with the command that makes it again."""
    from pandas import DataFrame

    label_of = {run.path: g.label for g in groups for run in g.runs}

    def line(run: Run) -> PlainDict:
        typed = f"main.py {' '.join(run.overrides)}" if run.overrides else ""
        return {
            "run": run.name,
            "row": label_of.get(run.path, ""),
            "status": run.status,
            "seed": run.seed,
            "scale": scale_of(run) if run.config else "",
            "seconds": run.result.get("seconds", ""),
            "command": run.result.get("command") or typed,
        }

    return DataFrame([line(run) for run in runs])
