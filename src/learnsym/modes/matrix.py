"""`mode=matrix`: which combinations of network, convolution, group, data set and recipe are valid,
and why the others are not.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from learnsym.config.search_path import choices_of
from learnsym.errors import ConfigError
from learnsym.modes.combinations import AXES, Cell, Combinations
from learnsym.run.mode import ResultsMode
from learnsym.schema import Size
from learnsym.utils.files import write_atomically

Verdicts = Mapping[Cell, str | None]
"""Combination -> the sentence that refuses it; None: valid."""


class Matrix(ResultsMode):
    """Print a table of the valid combinations and the reasons why the others are refused; write
    them to matrix.md and matrix.csv.

    What is said of a combination is what `main.py` says of it (`learnsym.modes.combinations`).
    """

    def __init__(
        self,
        nets: tuple[str, ...] = (),
        datasets: tuple[str, ...] = (),
        narrow: Mapping[str, Size] | None = None,
    ) -> None:
        """Args:
        nets: only these networks, "conv5" or, inside another, "augerino/conv5"; empty: all.
        datasets: only these data sets; empty: all.
        narrow: settings of networks -> the size with which they are tried on an example.
        """
        self.nets, self.datasets, self.narrow = nets, datasets, narrow or {}

    def __call__(self, cfg: DictConfig) -> Path:
        """The path of matrix.md."""
        check_names("datasets", self.datasets, choices_of("dataset"))
        check_names("nets", [net.partition("/")[0] for net in self.nets], choices_of("net"))
        combinations = Combinations(self.narrow)
        check_names("nets", self.nets, combinations.nets)
        cells = [c for c in combinations.cells() if self._asked(c)]
        verdicts = {cell: combinations.refusal(cell) for cell in cells}
        recipes = {pair: combinations.recipe(*pair) for pair in combinations.recipes()}
        text = report(combinations, verdicts, recipes)
        folder = Path(cfg.paths.out).absolute() / "matrix"
        write_atomically(folder / "matrix.md", text)
        write_atomically(folder / "matrix.csv", as_csv(verdicts))
        print(text)
        return folder / "matrix.md"

    def _asked(self, cell: Cell) -> bool:
        return (not self.nets or cell.net in self.nets) and (
            not self.datasets or cell.dataset in self.datasets
        )


def check_names(key: str, asked: Iterable[str], known: list[str]) -> None:
    """A ConfigError for what is asked for and does not exist."""
    if unknown := [name for name in asked if name not in known]:
        raise ConfigError(f"mode.{key}: there is no {unknown[0]}; valid: {', '.join(known)}.")


def report(
    combinations: Combinations, verdicts: Verdicts, recipes: Mapping[tuple[str, str], str | None]
) -> str:
    """All of it, as Markdown that can be read on a console."""
    valid = sum(refused is None for refused in verdicts.values())
    good = [pair for pair, refused in recipes.items() if refused is None]
    bad = [f"{pair[0]} with {pair[1]}: {refused}" for pair, refused in recipes.items() if refused]
    parts = [
        "# Combinations",
        f"{valid} of {len(verdicts)} combinations of net, conv, base_group and dataset are valid with their default settings, "
        f"each of them with {len(good)} of {len(recipes)} recipes (train/optimizer, train/schedule). What a network does not "
        "take is refused if it is typed, and counted so.",
        *bad,
        "## Valid: how many choices of conv and base_group",
        as_text(*overview(combinations, verdicts)),
        own_data(combinations),
        "## Valid: which",
        as_text(["net", *AXES, "dataset"], which(combinations, verdicts)),
        "## Refused: why",
        as_text(["combinations", "net", "sentence (of one of them)"], why(combinations, verdicts)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def own_data(combinations: Combinations) -> str:
    """What is not known of data that are read from one's own file."""
    if not combinations.own:
        return ""
    return (
        f"What fits {' and '.join(combinations.own)}, only the file can tell: here it is what fits images of the shape of some "
        "data set."
    )


def overview(combinations: Combinations, verdicts: Verdicts) -> tuple[list[str], list[list[str]]]:
    """A row for every network, a column for data sets that have the same everywhere; "." for
    none.
    """
    counts: Counter[tuple[str, str]] = Counter(
        (c.net, c.dataset) for c, refused in verdicts.items() if refused is None
    )
    nets = list(dict.fromkeys(cell.net for cell in verdicts))
    columns: dict[tuple[str, ...], list[str]] = {}
    for dataset in dict.fromkeys(cell.dataset for cell in verdicts):
        columns.setdefault(tuple(str(counts[net, dataset] or ".") for net in nets), []).append(
            dataset
        )
    rows = [[net, *(numbers[k] for numbers in columns)] for k, net in enumerate(nets)]
    return ["net", *(" ".join(names) for names in columns.values())], rows


def which(combinations: Combinations, verdicts: Verdicts) -> list[list[str]]:
    """Rows of net, conv, base_group, data sets: the valid combinations, those groups together that
    go with the same data sets.
    """
    datasets: dict[tuple[str, str, str], list[str]] = {}
    for cell in (c for c, refused in verdicts.items() if refused is None):
        datasets.setdefault((cell.net, cell.conv or "-", cell.base_group or "-"), []).append(
            cell.dataset
        )
    together: dict[tuple[str, str, str], list[str]] = {}
    for (net, conv, group), found in datasets.items():
        together.setdefault((net, conv, ", ".join(found)), []).append(group)
    return [
        [net, conv, ", ".join(groups), found] for (net, conv, found), groups in together.items()
    ]


@dataclass
class Reason:
    """Refusals for one reason: how many, of which networks, and what is said to the first."""

    example: str
    count: int = 0
    nets: dict[str, None] = field(default_factory=dict)


def why(combinations: Combinations, verdicts: Verdicts) -> list[list[str]]:
    """Rows of number, networks, sentence: refusals that differ in names and numbers alone are one
    reason.
    """
    reasons: dict[str, Reason] = {}
    for cell, refused in verdicts.items():
        if refused:
            reason = reasons.setdefault(pattern(refused), Reason(refused))
            reason.count += 1
            reason.nets[cell.net] = None
    ranked = sorted(reasons.values(), key=lambda r: -r.count)
    return [[str(r.count), ", ".join(r.nets), r.example] for r in ranked]


def pattern(sentence: str) -> str:
    """What is left of a sentence without the names and numbers of one combination."""
    said = sentence.partition("; ")[0].partition(" (")[0]  # what would be right is not the reason
    said = re.sub(r"\b(base_group|conv|dataset)=\w+", r"\1=", said)
    said = re.sub(r"\b[A-Z]\w*", "X", said)  # classes
    return re.sub(r"[\d.]+(?: x [\d.]+)*|'\w+'", "0", said)


def as_text(header: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table whose columns are in line."""
    table = [header, *rows]
    widths = [min(max(len(row[k]) for row in table), 60) for k in range(len(header))]
    lines = [
        "| "
        + " | ".join(f"{entry:<{width}}" for entry, width in zip(row, widths, strict=True))
        + " |"
        for row in table
    ]
    return "\n".join(
        [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
    )


def as_csv(verdicts: Verdicts) -> str:
    """A line for every combination."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["net", "conv", "base_group", "dataset", "valid", "reason"])
    for cell, refused in verdicts.items():
        row = [cell.net, cell.conv or "", cell.base_group or "", cell.dataset]
        writer.writerow([*row, "no" if refused else "yes", refused or ""])
    return file.getvalue()
