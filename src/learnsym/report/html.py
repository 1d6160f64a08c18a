"""The report as one HTML file that asks for nothing: style, script, data and figures are in it.

Whatever comes from a run (a label, a path, an error) is escaped; a content security policy forbids
the page to load anything.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, get_args

from learnsym.report.curves import as_json, curves
from learnsym.report.tables import Row, Table, absentees, headline, notes, number_of
from learnsym.results.collect import Run, Status
from learnsym.results.grouping import Group, differing, part_of, scale_of
from learnsym.results.statistics import name_of
from learnsym.run.summary import STATUS

ASSETS = Path(__file__).parent / "assets"
MAX_FIGURES = 20_000_000
"""Bytes of figures in a page; those beyond are named."""
PNG = b"\x89PNG\r\n\x1a\n"
FOLDED = 12
"""A table of so many differences is folded."""


def page(
    title: str,
    command: str,
    table: Table,
    groups: Sequence[Group],
    runs: Sequence[Run],
    figures: Sequence[Path],
) -> str:
    """The whole page.

    Args:
        title: of the report.
        command: what the runs were looked for with; shown.
        table: of the groups.
        groups: of the finished runs.
        runs: all.
        figures: drawn of all groups together.
    """
    data, every = curves(groups, runs)
    sections = {
        "Results": results(table),
        "Learned symmetry": learned(groups, figures),
        "Training curves": training(data, every),
        "Differences of configuration": differences(groups),
        "Runs, versions and hardware": provenance(groups, runs),
    }
    ids = {name: name.lower().replace(",", "").replace(" ", "-") for name in sections}
    body = [f'<section id="{ids[name]}" aria-labelledby="{ids[name]}-title">\n<h2 id="{ids[name]}-title">{name}</h2>\n{content}\n'
            "</section>" for name, content in sections.items()]  # fmt: skip
    found = [(s, sum(run.status == s for run in runs)) for s in get_args(Status)]
    counts = ", ".join(f"{n} {s}" for s, n in found if n)
    return Template((ASSETS / "report.html").read_text()).substitute(
        title=escape(title),
        summary=f"{len(runs)} runs: {counts}. <code>{escape(command)}</code>",
        contents="".join(f'<a href="#{ids[name]}">{name}</a>' for name in sections),
        sections="\n".join(body),
        style=(ASSETS / "report.css").read_text(),
        script=(ASSETS / "report.js").read_text(),
        data=as_json(data),
    )


def html_table(heads: Iterable[str], rows: Iterable[str], caption: str) -> str:
    """A table that scrolls by itself where the screen is narrow; heads and rows are HTML."""
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(f'<tr>{r}</tr>' for r in rows)}\n</tbody>\n</table></div>"
    )


def breakable(text: str) -> str:
    """A long name may be broken after an underscore, a dot or a slash."""
    return re.sub(r"(_|/|=|\.(?=[A-Za-z]))", r"\1<wbr>", escape(text))


# --- results


def results(table: Table) -> str:
    """The table, and who is not in it."""
    parts = []
    for block in table.blocks:
        rows = [table_row(row, block) for row in table.rows if any(m in row.cells for m in block)]
        by_layer = "/" in block[0]
        parts += ["<h3>By layer, or by group</h3>"] if by_layer and len(table.blocks) > 1 else []
        parts.append(
            html_table(
                ["run", "n", *map(breakable, block)],
                rows,
                "Metrics by layer or group" if by_layer else "Metrics",
            )
        )
    parts += [f'<p class="note">{escape(note)}</p>' for note in notes(table)]
    if table.absent:
        named = "".join(
            f'<li><code>{escape(name)}</code> <span class="status">{status}</span>: {escape(reason)}</li>'
            for name, status, reason in absentees(table)
        )
        parts.append(f'<div class="absent"><p>{headline(table)}</p>\n<ul>{named}</ul></div>')
    return "\n".join(parts)


def table_row(row: Row, metrics: Sequence[str]) -> str:
    """One group; below a number the paper's with its status."""
    cells = []
    for metric in metrics:
        found = row.cells.get(metric)
        paper = (
            "".join(f'<span class="published">{published(e)}</span>' for e in found.paper)
            if found
            else ""
        )
        cells.append(
            f'<td class="value">{escape(number_of(found, row.n)) if found else ""}{paper}</td>'
        )
    return f'<th scope="row">{breakable(row.label)}</th><td>{row.n}</td>{"".join(cells)}'


def published(entry: Mapping[str, Any]) -> str:
    """paper: value, status, and where it stands."""
    status = str(entry.get("status"))
    about = "; ".join(filter(None, (STATUS.get(status, ""), str(entry.get("where") or ""))))
    return f'paper: {escape(str(entry.get("value")))} <abbr title="{escape(about)}">[{escape(status)}]</abbr>'


# --- figures


def learned(groups: Sequence[Group], figures: Sequence[Path]) -> str:
    """Figures of all groups together, and those that each run drew; of every group the first
    seed's, then the others' while there is room.
    """
    shown = "".join(filter(None, (figure(path, "all rows of the table") for path in figures)))
    size = sum(path.stat().st_size for path in figures)
    kept: dict[Path, str] = {}
    left_out: list[Path] = []
    for _, path, alt in sorted(figures_of(groups), key=lambda f: f[0]):
        size += path.stat().st_size
        drawn = figure(path, alt) if size <= MAX_FIGURES else ""
        if drawn:
            kept[path] = drawn
        else:
            left_out.append(path)
    parts = (
        [
            f'<div class="scroll overview" role="region" aria-label="All rows" tabindex="0">{shown}</div>'
        ]
        if shown
        else []
    )
    for n, g in enumerate(groups):
        own = [
            html
            for path, html in kept.items()
            if any(path.is_relative_to(run.path) for run in g.runs)
        ]
        if own:
            opened = " open" if n == 0 else ""
            many = f"{len(own)} figure{'s' * (len(own) > 1)}"
            parts.append(f"<details{opened}><summary>{breakable(g.label)}: {many}</summary>\n")
            parts.append(f'<div class="figures">{"".join(own)}</div></details>')
    if left_out:
        named = ", ".join(f"<code>{escape(str(p))}</code>" for p in left_out)
        parts.append(
            f'<p class="note">Not in this page, for its size or because they cannot be read as PNG: {named}.</p>'
        )
    return "\n".join(parts) or "<p>The runs drew no figure.</p>"


def figures_of(groups: Sequence[Group]) -> Iterable[tuple[int, Path, str]]:
    """The place of a run in its group, a figure of it, and what it shows."""
    for g in groups:
        for place, run in enumerate(g.runs):
            for path in sorted((run.path / "figures").glob("*.png")):
                yield (
                    place,
                    path,
                    f"{path.stem.replace('_', ' ')}: {g.label}, seed {run.config.get('seed', '?')}",
                )


def figure(path: Path, alt: str) -> str:
    """An image with its data; empty where the file is no PNG."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    if not content.startswith(PNG):
        return ""
    address = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return f'<figure><img src="{address}" alt="{escape(alt)}" loading="lazy"><figcaption>{escape(alt)}</figcaption></figure>\n'


# --- curves


def training(data: Mapping[str, Any], every: int) -> str:
    """The controls and an empty chart, which the page's script fills."""
    if not data["runs"]:
        return "<p>No run has recorded an epoch.</p>"
    thinned = (
        f" Every {every}th epoch of a run, and its last, is in this page; metrics.jsonl has all."
        if every > 1
        else ""
    )
    return f"""<div class="controls">
<div class="field"><label for="metric">Metric</label><select id="metric"></select></div>
<div class="field"><label for="filter">Only runs with</label>
<input type="search" id="filter" placeholder="words of a label, seed 1, finished"></div>
<label><input type="checkbox" id="log"> logarithmic</label></div>
<div id="chart" tabindex="0" role="group" aria-label="Training curves; arrow keys move along a curve and between curves">
<div id="tip" role="status" hidden></div></div>
<p class="note"><span id="count" role="status"></span> Thin: single runs; thick: the mean of the finished ones, at epochs that
all of them have. Point at a curve, or use the arrow keys, for its run, epoch and value.{thinned}</p>
<div class="legend" id="legend" role="group" aria-label="Rows that are drawn"></div>
<noscript><p>Curves are drawn by a script of this page, which is switched off here.</p></noscript>"""


# --- configuration


def differences(groups: Sequence[Group]) -> str:
    """Settings that differ between rows of the table; keys that differ alike (a group and its
    network's) share a line.
    """
    lines: dict[tuple[str, ...], list[str]] = {}
    for key in differing(groups):
        values = tuple(
            json.dumps(g.settings[key], default=str) if key in g.settings else "" for g in groups
        )
        lines.setdefault((key.rpartition(".")[2], *values), []).append(key)
    if not lines:
        return (
            "<p>The rows of the table differ in no setting.</p>"
            if groups
            else "<p>No run has finished.</p>"
        )
    rows = [
        f'<th scope="row" class="key"><code>{"<br>".join(map(breakable, keys))}</code></th>'
        + "".join(
            f'<td class="setting"><code>{breakable(v.strip(chr(34)))}</code></td>' for v in values
        )
        for (_, *values), keys in lines.items()
    ]
    made = html_table(
        ["setting", *(breakable(g.label) for g in groups)], rows, "Differences of configuration"
    )
    return f"<details{'' if len(rows) > FOLDED else ' open'}><summary>Settings that differ: {len(rows)}</summary>\n{made}</details>"


# --- versions and hardware


def provenance(groups: Sequence[Group], runs: Sequence[Run]) -> str:
    """Each combination of versions and hardware once, and every run with its time and command."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.status == "finished":
            machine = {
                "device": run.result.get("device", "?"),
                "processes": run.result.get("processes", 1),
            }
            found.setdefault(
                json.dumps(machine | part_of(run, "versions"), default=str), []
            ).append(run)
    made = [(json.loads(key), own) for key, own in found.items()]
    heads = list(dict.fromkeys(k for known, _ in made for k in known))
    rows = [
        f"<td>{len(own)}</td>{''.join(f'<td>{escape(str(known.get(h, chr(8211))))}</td>' for h in heads)}"
        for known, own in made
    ]
    number = {run.path: n for n, (_, own) in enumerate(made, 1) for run in own}
    label = {run.path: g.label for g in groups for run in g.runs}
    if len(made) > 1:
        rows = [f"<td>{n}</td>{row}" for n, row in enumerate(rows, 1)]
    parts = (
        [
            html_table(
                [*(["no."] if len(made) > 1 else []), "runs", *map(escape, heads)],
                rows,
                "Versions and hardware",
            )
        ]
        if made
        else []
    )
    lines = [run_row(n, run, label.get(run.path, ""), str(number.get(run.path, "")) if len(made) > 1 else None)
             for n, run in enumerate(runs)]  # fmt: skip
    heads = [
        "run",
        "row",
        "status",
        "seed",
        "scale",
        "seconds",
        *(["no."] if len(made) > 1 else []),
        "command",
    ]
    listed = html_table(heads, lines, "Runs")
    return "\n".join(
        [
            *parts,
            f"<details><summary>{len(runs)} runs with their commands</summary>{listed}</details>",
        ]
    )


def run_row(place: int, run: Run, label: str, number: str | None) -> str:
    """One run: what it is, how long it took, and the command that makes it again."""
    command = str(
        run.result.get("command") or (f"main.py {' '.join(run.overrides)}" if run.overrides else "")
    )
    copy = f'<code id="command-{place}">{escape(command)}</code> '
    copy += f'<button type="button" class="copy" aria-controls="command-{place}">copy</button>'
    facts = [
        run.status,
        run.config.get("seed", ""),
        scale_of(run) if run.config else "",
        run.result.get("seconds", ""),
    ]
    facts += [] if number is None else [number]
    name = f'<code title="{escape(str(run.path))}">{breakable(name_of(run))}</code>'
    return (
        f'<th scope="row">{name}</th><td class="wide">{breakable(label)}</td>'
        + "".join(f"<td>{escape(str(f))}</td>" for f in facts)
        + f'<td class="wide">{copy if command else ""}</td>'
    )
