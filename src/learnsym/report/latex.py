"""The table as LaTeX: booktabs, as many columns beside each other as fit on a page."""

import re
import textwrap
from collections.abc import Iterator

import pandas as pd

from learnsym.report.tables import RunTable

PAGE = 84
"""Characters in a line of footnotesize on a page of the article class (345 pt wide)."""
_HEAD = 14
_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
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
_PREAMBLE = (
    r"% \usepackage[T1]{fontenc}, \usepackage{textcomp} and \usepackage{booktabs} are needed."
)


def latex(table: RunTable) -> str:
    r"""Return a `table` to be \input; metrics that do not fit stand below, with the runs again."""
    blocks = [table.block_frame(block) for block in table.blocks]
    tabulars = [_tabular(columns) for frame in blocks for columns in pages_of(frame)]
    lines = [_PREAMBLE, r"\begin{table}", r"\centering\footnotesize"]
    lines.append("\\par\\medskip\n".join(tabulars))
    lines.append(rf"\caption{{{' '.join(map(tex, table.notes))}}}")
    if len(table.absent):
        lines.append(rf"\par\smallskip\raggedright {tex(table.headline)}")
        for name, status, reason in table.absent.itertuples(index=False):
            lines.append(rf"\par {tex(f'{name} ({status}): {reason}')}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def pages_of(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield run, n and as many of the metrics as fit beside each other, in turn."""
    metrics = list(frame.columns[2:])
    cells = [*(line for m in metrics for line in head(m)), *frame[metrics].to_numpy().ravel()]
    room = PAGE - frame["run"].map(len).max() - 7
    count = max(1, room // (3 + max(map(len, cells))))
    for start in range(0, len(metrics), count):
        yield frame[["run", "n", *metrics[start : start + count]]]


def _tabular(frame: pd.DataFrame) -> str:
    styler = frame.style.hide(axis="index").format(tex).format_index(_tex_head, axis=1)
    return styler.to_latex(hrules=True, column_format="lr" + "l" * (len(frame.columns) - 2))


def _tex_head(metric: object) -> str:
    lines = r"\\".join(map(tex, head(str(metric))))
    return rf"\shortstack[l]{{{lines}}}" if r"\\" in lines else lines


def head(metric: str) -> list[str]:
    """Return the lines of a column's head.

    >>> head("learned_rotation_fraction/blocks.0.conv1.elements")
    ['learned', 'rotation', 'fraction/', 'blocks.0.', 'conv1.', 'elements']
    """
    words = re.sub(r"([/.])(?=[a-zA-Z])", r"\1 ", metric.replace("_", " "))
    return textwrap.wrap(words, _HEAD) or [metric]


def tex(text: object) -> str:
    r"""Return text as LaTeX shows it, character by character; what its fonts lack by its number.

    >>> print(tex("50 % of a_b"))
    50 \% of a\_b
    """
    shown = "".join(c if c.isprintable() else " " for c in " ".join(str(text).split()))
    known = "".join(_SPECIAL.get(c, c) for c in shown)
    known = re.sub(r"(?<=-)(?=-)", "{}", known)  # two hyphens are no dash
    return re.sub(r"[^\x20-\x7e\xc0-\u017e]", lambda c: f"[U+{ord(c[0]):04X}]", known)
