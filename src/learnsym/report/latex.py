"""The table as LaTeX: booktabs, as many columns beside each other as a page is wide, every
character as in the results.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from learnsym.report.tables import Table, absentees, cell, headline, notes

PAGE = 84
"""Characters beside each other in \footnotesize on a page of the article class (345 pt wide)."""
HEAD = 14
"""Characters of a line of a column's head."""
SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "[": "{[}",  # after \\ it would open an argument
    "±": r"$\pm$",
}
PREAMBLE = (
    r"% \usepackage[T1]{fontenc}, \usepackage{textcomp} and \usepackage{booktabs} are needed."
)


def latex(table: Table) -> str:
    """A `table` to be \\input. What does not fit beside each other comes below, with the runs'
    names again.
    """
    lines = [PREAMBLE, r"\begin{table}", r"\centering\footnotesize"]
    for place, metrics in enumerate(m for block in table.blocks for m in packed(table, block)):
        lines += ([r"\par\medskip"] if place else []) + _tabular(table, metrics)
    lines.append(rf"\caption{{{' '.join(map(tex, notes(table)))}}}")
    if table.absent:
        lines.append(rf"\par\smallskip\raggedright {tex(headline(table))}")
        lines += [
            rf"\par {tex(f'{name} ({status}): {reason}')}"
            for name, status, reason in absentees(table)
        ]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def packed(table: Table, metrics: Sequence[str]) -> Iterator[list[str]]:
    """The metrics in groups that fit beside each other on a page; one that is too wide stands
    alone.
    """
    rows = [row for row in table.rows if any(m in row.cells for m in metrics)]
    room = PAGE - max((len(row.label) for row in rows), default=0) - 7
    part: list[str] = []
    left = room
    for metric in metrics:
        width = 3 + max(
            *(len(line) for line in head(metric)), *(len(cell(row, metric)) for row in rows)
        )
        if part and width > left:
            yield part
            part, left = [], room
        part.append(metric)
        left -= width
    if part:
        yield part


def _tabular(table: Table, metrics: Sequence[str]) -> list[str]:
    heads = " & ".join(r"\shortstack[l]{" + r"\\".join(map(tex, head(m))) + "}" for m in metrics)
    lines = [
        rf"\begin{{tabular}}{{lr{'l' * len(metrics)}}}",
        r"\toprule",
        rf"run & $n$ & {heads} \\",
        r"\midrule",
    ]
    for row in table.rows:
        if any(m in row.cells for m in metrics):
            lines.append(
                f"{tex(row.label)} & {row.n} & {' & '.join(tex(cell(row, m)) for m in metrics)} \\\\"
            )
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def head(metric: str) -> list[str]:
    """The lines of a column's head.

    >>> head("learned_rotation_fraction/blocks.0.conv1.elements")
    ['learned', 'rotation', 'fraction/', 'blocks.0.', 'conv1.elements']
    """
    lines = [""]
    for word in re.findall(r"[^_./]+[_./]?", metric) or [metric]:
        if lines[-1] and len(lines[-1]) + len(word.rstrip("_")) > HEAD:
            lines.append("")
        lines[-1] += word.replace("_", " ")
    return [line.strip() for line in lines]


def tex(text: Any) -> str:
    """Text as LaTeX shows it, character by character; what its fonts lack by its number.

    >>> print(tex("50 % of a_b"))
    50 \\% of a\\_b
    """
    shown = "".join(c if c.isprintable() else " " for c in " ".join(str(text).split()))
    known = re.sub(
        r"(?<=-)(?=-)", "{}", "".join(SPECIAL.get(c, c) for c in shown)
    )  # two hyphens are no dash
    return re.sub(r"[^\x20-\x7e\xc0-\u017e]", lambda c: f"[U+{ord(c[0]):04X}]", known)
