"""Read what is known of the symmetry of runs: learned extents, distances to E, errors."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from learnsym.results.collect import Run
from learnsym.results.grouping import Group, slug_of
from learnsym.results.statistics import is_number, mean_and_sd

Points = list[tuple[float, float]]
"""(fraction of the training, value)."""
_DISTANCE = re.compile(r"(relative_)?distance_to_equivariance(?:_(\w+))?(?:/(.+))?")
"""In total or of an arm; of a layer or, in the dynamics, of a group."""
_ERROR = re.compile(r"(initial_)?equivariance_error_(-?[\d.]+)deg/logits")


@dataclass(frozen=True)
class Measurement:
    """One thing known of the symmetry of a group of runs, with a value for each seed.

    Attributes:
        run: label of the group.
        where: input, a layer, all layers, or output.
        what: rotation, reflection, ..., distance to E, or equivariance error.
        learned: of an extent: training moved it.
        angle, before: of an error: rotation of the input in degrees, measured before training.
    """

    run: str
    where: str
    what: str
    values: tuple[float, ...]
    unit: str
    learned: bool | None = None
    angle: float | None = None
    before: bool = False

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return mean_and_sd(self.values)[0]

    @property
    def sd(self) -> float | None:
        """The standard deviation over seeds; None of one."""
        return mean_and_sd(self.values)[1]

    @property
    def is_rotation(self) -> bool:
        """Whether it is an extent of rotations; in space there are three."""
        return self.what == "rotation" or self.what.startswith("rotation_")

    @property
    def fraction(self) -> float | None:
        """The mean as a fraction of the group; None where there is no such thing."""
        if self.unit == "fraction":
            return self.mean
        is_width = self.is_rotation and self.unit == "rad"
        return min(1.0, self.mean / (2 * math.pi)) if is_width else None


def with_errors(runs: Sequence[Run]) -> list[Run]:
    """Move errors that mode=equivariance measured into the metrics of the run it measured."""
    merged = {run.path.resolve(): run for run in runs}
    for path, run in list(merged.items()):
        checkpoint = run.config.get("checkpoint")
        owner = merged.get(Path(checkpoint).resolve().parent.parent) if checkpoint else None
        errors = {k: v for k, v in run.section("metrics").items() if _ERROR.fullmatch(k)}
        if owner is not None and errors:
            metrics = owner.section("metrics") | errors
            merged[owner.path.resolve()] = replace(
                owner, result=owner.result | {"metrics": metrics}
            )
            del merged[path]
    return list(merged.values())


def named_by_experiment(groups: Sequence[Group]) -> list[Group]:
    """Label groups by their experiment, which is what differs here, if it is of one group only."""
    slugs = [slug_of(g.runs[0]) for g in groups]
    named = zip(groups, slugs, strict=True)
    return [g if slugs.count(slug) > 1 else replace(g, label=slug) for g, slug in named]


def measurements(group: Group) -> list[Measurement]:
    """Return learned extents layer by layer, then distances from E and errors of the output."""
    return [*_extents(group), *_distances_and_errors(group)]


def _extents(group: Group) -> Iterator[Measurement]:
    by_range: dict[tuple[str, str, str], list[tuple[float, bool]]] = {}
    for run in group.runs:
        for layer, extents in run.section("learned_symmetry").items():
            for e in extents.values():
                key = (short_name(layer), e["generator"], e["unit"])
                by_range.setdefault(key, []).append((float(e["value"]), bool(e["learned"])))
    if any(of_seeds[-1][1] for of_seeds in by_range.values()):
        for (where, what, unit), of_seeds in by_range.items():
            values, learned = zip(*of_seeds, strict=True)
            yield Measurement(group.label, where, what, values, unit, learned[-1])


def _distances_and_errors(group: Group) -> Iterator[Measurement]:
    metrics = [run.section("metrics") for run in group.runs]
    for name in dict.fromkeys(name for m in metrics for name in m):
        values = tuple(m[name] for m in metrics if is_number(m.get(name)))
        if match := _DISTANCE.fullmatch(name):
            relative, arm, layer = match.groups()
            where = (short_name(layer) if layer else "all layers") + (f" ({arm})" if arm else "")
            unit = "of the norm" if relative else ""
            yield Measurement(group.label, where, "distance to E", values, unit)
        elif match := _ERROR.fullmatch(name):
            before, angle = bool(match[1]), match[2]
            what = f"equivariance error at {angle} deg" + (" before training" if before else "")
            yield Measurement(group.label, "output", what, values, "", None, float(angle), before)


def fractions_over_training(run: Run) -> dict[str, Points]:
    """Return the fraction of the rotations over the training, by the layers that learn it."""
    fractions: dict[str, Points] = {}
    last = max((row["epoch"] for row in run.rows), default=1)
    for layer, extents in run.section("learned_symmetry").items():
        extent = extents.get("rotation", {})
        if not extent.get("learned"):
            continue  # in space there are three generators, and no one fraction of the circle
        scale = 1.0 if extent["unit"] == "fraction" else 1 / (2 * math.pi)
        names = (f"{extent['metric']}/{layer}", extent["metric"])
        fractions[short_name(layer)] = [
            (row["epoch"] / last, min(1.0, scale * row[name]))
            for row in run.rows
            for name in [n for n in names if row.get(n) is not None][:1]
        ]
    return fractions


def distances_over_training(run: Run) -> dict[str, Points]:
    """Return the distance to E, relative to the norm of all layers, by arm and group (or "")."""
    distances: dict[str, Points] = {}
    for row in run.rows:
        for key, value in row.items():
            match = _DISTANCE.fullmatch(key)
            if not match or match[3]:
                continue
            arm = match[2] or ""
            if norm := 1.0 if match[1] else row.get(f"norm_{arm}"):
                name = " ".join(filter(None, (arm, row.get("group", ""))))
                distances.setdefault(name, []).append((row["epoch"], value / norm))
    for name, points in distances.items():
        first, last = points[0][0], points[-1][0]
        start = 0 if first == 1 else first  # after one epoch of training; before any step of a flow
        length = max(last - start, 1)
        distances[name] = [((epoch - start) / length, value) for epoch, value in points]
    return distances


def short_name(layer: str) -> str:
    """Return the name of a layer as figures show it.

    >>> [short_name(x) for x in ("blocks.0.conv1.elements", "convs.3.elements", "augmentation")]
    ['block 1 conv1', 'conv 4', 'input']
    """
    if layer == "augmentation":
        return "input"
    words = [w for w in layer.split(".") if w != "elements"]
    following = [*words[1:], ""]
    return " ".join(
        str(int(word) + 1) if word.isdigit() else word.removesuffix("s") if n.isdigit() else word
        for word, n in zip(words, following, strict=True)
    )
