"""The report as one HTML file that loads nothing: style, script, data and figures are in it.

The template escapes whatever comes from a run (a label, a path, an error); a content security
policy forbids the page to load anything.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import get_args

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from learnsym.report.curves import curves_html, stride
from learnsym.report.tables import RunTable
from learnsym.results.collect import Run, Status
from learnsym.results.grouping import Group, differing_keys, scale_of
from learnsym.schema import PlainDict

ASSETS = Path(__file__).parent / "assets"
MAX_FIGURES = 20_000_000
"""Bytes of figures in a page; those beyond are named."""
_PNG = b"\x89PNG\r\n\x1a\n"


def report_page(
    title: str,
    command: str,
    table: RunTable,
    groups: Sequence[Group],
    runs: Sequence[Run],
    figures: Sequence[Path],
) -> str:
    """Return the whole page.

    `groups` are those of the finished ones among the runs, with their `table`; `figures` are drawn
    of all groups together. The `command` with which the runs were looked for is shown.
    """
    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
    images, omitted = _images(groups, figures)
    counts = [(status, sum(run.status == status for run in runs)) for status in get_args(Status)]
    return environment.get_template("report.html").render(
        title=title,
        command=command,
        summary=f"{len(runs)} runs: {', '.join(f'{n} {status}' for status, n in counts if n)}.",
        blocks=[table.block_frame(block) for block in table.blocks],
        table=table,
        overview=[image for image in images if not image["label"]],
        images={g.label: [i for i in images if i["label"] == g.label] for g in groups},
        omitted=omitted,
        curves=Markup(curves_html(groups, runs)),
        stride=stride(runs),
        differences=_differences(groups),
        versions=_versions(runs),
        runs=_run_list(groups, runs),
    )


def _images(groups: Sequence[Group], figures: Sequence[Path]) -> tuple[list[PlainDict], list[Path]]:
    """Return figures, data in base64, while there is room, and those left out."""
    images, omitted, size = [], [], 0
    overview = [("", path, "all rows of the table") for path in figures]
    for label, path, caption in [*overview, *_figures_of_runs(groups)]:
        content = path.read_bytes() if path.is_file() else b""
        size += len(content)
        if content.startswith(_PNG) and size <= MAX_FIGURES:
            data = base64.b64encode(content).decode()
            images.append({"caption": caption, "data": data, "label": label})
        else:
            omitted.append(path)
    return images, omitted


def _figures_of_runs(groups: Sequence[Group]) -> Iterator[tuple[str, Path, str]]:
    """Yield label, path and caption; the first runs of all groups before their second ones."""
    runs = [(index, g.label, run) for g in groups for index, run in enumerate(g.runs)]
    for _, label, run in sorted(runs, key=itemgetter(0)):
        for path in sorted((run.path / "figures").glob("*.png")):
            yield label, path, f"{path.stem.replace('_', ' ')}: {label}, seed {run.seed}"


def _differences(groups: Sequence[Group]) -> pd.DataFrame:
    """Return settings that differ between groups; keys that differ alike share a line."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for key in differing_keys(groups):
        values = [
            json.dumps(g.settings[key], default=str) if key in g.settings else "" for g in groups
        ]
        name = key.rpartition(".")[2]
        rows.setdefault((name, *(v.strip('"') for v in values)), []).append(key)
    lines = [[", ".join(keys), *values] for (_, *values), keys in rows.items()]
    return pd.DataFrame(lines, columns=["setting", *(g.label for g in groups)])


def _versions(runs: Sequence[Run]) -> pd.DataFrame:
    """Return each combination of versions and hardware, and how many runs it made."""
    rows = [
        {"device": run.result.get("device", "?"), "processes": run.result.get("processes", 1)}
        | run.section("versions")
        for run in runs
        if run.status == "finished"
    ]
    frame = pd.DataFrame(rows).fillna("–").astype(str)
    return frame.value_counts(sort=False).reset_index(name="runs") if rows else frame


def _run_list(groups: Sequence[Group], runs: Sequence[Run]) -> pd.DataFrame:
    """Return one line for each run, with the command that makes it again."""
    label_of = {run.path: g.label for g in groups for run in g.runs}
    lines = []
    for run in runs:
        typed = f"main.py {' '.join(run.overrides)}" if run.overrides else ""
        line: PlainDict = {"run": run.name, "row": label_of.get(run.path, ""), "status": run.status}
        line |= {"seed": run.seed, "scale": scale_of(run) if run.config else ""}
        line |= {"seconds": run.result.get("seconds", "")}
        lines.append(line | {"command": run.result.get("command") or typed})
    return pd.DataFrame(lines)
