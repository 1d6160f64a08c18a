"""`mode=compare`: how much symmetry each run has, whichever of the three methods it came by, in one
table and one figure.

Three things can be known of a run:

* learned extents: Augerino's width at the input, the part of the group of every partial layer. A
  width of rotations w is the part w / (2 pi) of the circle, so that both share an axis; other
  generators keep their own units;
* the distance from equivariant weights, of a network that is free to leave them (per arm, in the
  optimisation dynamics);
* the equivariance error of its output against the angle (`mode=equivariance`,
  `analysis.equivariance_angles`): one ruler for all.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from learnsym.errors import ConfigError
from learnsym.report.tables import escaped
from learnsym.results.collect import Run, collect
from learnsym.results.grouping import group
from learnsym.results.statistics import mean_and_sd, name_of
from learnsym.results.symmetry import Entry, entries, named, with_errors
from learnsym.run.mode import ResultsMode
from learnsym.utils.files import write_atomically


class Compare(ResultsMode):
    """compare.png, compare.md and compare.csv of the runs that `runs=` stands for."""

    needs_runs = True

    def __init__(self, out: str | None = None, across_code: bool = False) -> None:
        """Args:
        out: folder that takes the files; None: compare/ under paths.out.
        across_code: means are taken over runs of several versions of the code.
        """
        self.out, self.across_code = out, across_code

    def __call__(self, cfg: DictConfig) -> Path:
        """Write everything; the path of compare.png."""
        from learnsym.figures.compare import draw_comparison

        patterns = OmegaConf.to_container(cfg.runs) if OmegaConf.is_list(cfg.runs) else cfg.runs
        assert isinstance(patterns, str | list)
        runs = collect(patterns)
        groups = named(group(with_errors(runs), self.across_code))
        known = {g.label: found for g in groups if (found := list(entries(g)))}
        if not known:
            raise ConfigError(
                f"runs={cfg.runs}: no symmetry is known of these {len(runs)} runs; runs of net=augerino or conv=partial, with "
                "analysis.distance_to_equivariance=true, or of mode=dynamics or mode=equivariance would be right."
            )
        folder = Path(self.out or Path(cfg.paths.out) / "compare").absolute()
        text = markdown(known) + absent(runs, [g.label for g in groups if g.label not in known])
        write_atomically(folder / "compare.md", text)
        write_atomically(folder / "compare.csv", as_csv(known))
        draw_comparison(folder / "compare.png", [g for g in groups if g.label in known], known)
        print(
            f"\n{text}\ntable: {folder / 'compare.md'}\ntable: {folder / 'compare.csv'}\nfigure: {folder / 'compare.png'}"
        )
        return folder / "compare.png"


# --- what is known


# --- tables


def markdown(known: dict[str, list[Entry]]) -> str:
    """One row for each thing known."""
    lines = [
        "| run | n | where | what | mean ± sd | unit | part of the group |",
        "| --- " * 7 + "|",
    ]
    for label, found in known.items():
        for e in found:
            if e.learned is False and not e.turns and e.what != "reflection":
                continue  # what was never learned and has no part of a group says nothing here; the CSV has it
            mean, sd = mean_and_sd(e.values)
            number = (
                f"{mean:.4g}"
                + (f" ± {sd:.2g}" if sd is not None else "")
                + (" (fixed)" if e.learned is False else "")
            )
            part = "" if e.part is None else f"{e.part:.3f}"
            lines.append(
                f"| {escaped(label)} | {len(e.values)} | {e.where} | {e.what} | {number} | {e.unit} | {part} |"
            )
    note = "Mean ± standard deviation over seeds. A width of rotations w (rad) is the part w / 2π of the circle, at most all of it."
    return "\n".join(lines) + f"\n\n{note}\n"


def absent(runs: Sequence[Run], silent: Sequence[str]) -> str:
    """Who is not in the table, and why."""
    lines = [
        f"- {escaped(name_of(run))} ({run.status}): {escaped(run.error or '')}"
        for run in runs
        if run.status != "finished"
    ]
    lines += [
        f"- {escaped(label)}: no learned symmetry, no distance to E, no equivariance error is known of it."
        for label in silent
    ]
    return "\nNot in the table:\n\n" + "\n".join(lines) + "\n" if lines else ""


def as_csv(known: dict[str, list[Entry]]) -> str:
    """A line for each entry, all of them."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["run", "where", "what", "mean", "sd", "n", "unit", "part_of_group", "learned"])
    for found in known.values():
        for e in found:
            writer.writerow(
                [
                    e.run,
                    e.where,
                    e.what,
                    *mean_and_sd(e.values),
                    len(e.values),
                    e.unit,
                    e.part,
                    e.learned,
                ]
            )
    return file.getvalue()


# --- over training
