"""`mode=compare`: how much symmetry each run has, by whatever method, in one table and one figure.

Known may be learned extents (of the input or of partial layers: a width of rotations w is the
fraction w / (2 pi) of the circle, so that both share an axis), the distance from equivariant
weights of a network that is free to leave them, and the equivariance error of its output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from pandas import DataFrame

from learnsym.errors import ConfigError
from learnsym.figures.compare import draw_comparison
from learnsym.report.tables import absent_list, to_markdown
from learnsym.results.collect import collect
from learnsym.results.grouping import group_runs
from learnsym.results.symmetry import Measurement, measurements, named_by_experiment, with_errors
from learnsym.run.mode import ResultsMode
from learnsym.utils.files import write_atomically

_NOTE = (
    "Mean ± standard deviation over seeds. A width of rotations w (rad) is the part w / 2π of the "
    "circle, at most all of it."
)


@dataclass
class Compare(ResultsMode):
    """Write compare.png, compare.md and compare.csv of the runs of `runs=`."""

    needs_runs = True

    out: str | None = None
    across_code: bool = False

    def __call__(self, cfg: DictConfig) -> Path:
        """Write everything; return the path of compare.png."""
        runs = collect(cfg.runs)
        groups = named_by_experiment(group_runs(with_errors(runs), self.across_code))
        known = {g.label: measured for g in groups if (measured := measurements(g))}
        if not known:
            raise ConfigError(
                f"runs={cfg.runs}: no symmetry is known of these {len(runs)} runs. Try runs of "
                "net=augerino or conv=partial, with analysis.distance_to_equivariance=true, or of "
                "mode=dynamics or mode=equivariance."
            )
        folder = Path(self.out or Path(cfg.paths.out) / "compare").absolute()
        frame = _frame(known)
        text = f"{_markdown(frame)}\n\n{_NOTE}\n"
        absent = [(r.name, str(r.status), r.error or "") for r in runs if r.status != "finished"]
        reason = "no learned symmetry, no distance to E, no equivariance error is known of it."
        absent += [(g.label, "finished", reason) for g in groups if g.label not in known]
        if absent:
            text += f"\nNot in the table:\n\n{absent_list(absent)}\n"
        write_atomically(folder / "compare.md", text)
        write_atomically(folder / "compare.csv", frame.to_csv(index=False))
        draw_comparison(folder / "compare.png", [g for g in groups if g.label in known], known)
        print(f"\n{text}")
        for kind, name in (("table", "md"), ("table", "csv"), ("figure", "png")):
            print(f"{kind}: {folder / f'compare.{name}'}")
        return folder / "compare.png"


def _frame(known: Mapping[str, Sequence[Measurement]]) -> DataFrame:
    """Return all measurements, a line each, with the columns of compare.csv."""
    columns = ["run", "where", "what", "mean", "sd", "n", "unit", "part_of_group", "learned"]
    lines = [
        (m.run, m.where, m.what, m.mean, m.sd, len(m.values), m.unit, m.fraction, m.learned)
        for measured in known.values()
        for m in measured
    ]
    return DataFrame(lines, columns=columns, dtype=object)


def _markdown(frame: DataFrame) -> str:
    """Return a table, less extents that were never learned and are no fraction of a group."""
    is_fixed = frame["learned"].eq(False)
    deviation = frame["sd"].map(" ± {:.2g}".format, na_action="ignore").fillna("")
    mean = frame["mean"].map("{:.4g}".format) + deviation
    part = frame["part_of_group"].map("{:.3f}".format, na_action="ignore")
    texts = {"mean ± sd": mean + is_fixed.map({True: " (fixed)", False: ""})}
    shown = frame.assign(**texts, **{"part of the group": part})[~is_fixed | part.notna()]
    columns = ["run", "n", "where", "what", "mean ± sd", "unit", "part of the group"]
    return to_markdown(shown[columns].fillna(""))
