"""TODO."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnsym.results.collect import Run
from learnsym.results.grouping import Group, part_of
from learnsym.results.statistics import is_number, mean_and_sd

if TYPE_CHECKING:
    pass


DISTANCE = re.compile(r"(relative_)?distance_to_equivariance(?:_(\w+))?(?:/(.+))?")
"""In total, of an arm; of a layer or, in the dynamics, of a group."""


ERROR = re.compile(r"(initial_)?equivariance_error_(-?[\d.]+)deg/logits")


@dataclass(frozen=True)
class Entry:
    """One thing known of the symmetry of a group of runs that differ in nothing but the seed."""

    run: str
    where: str
    """input, a layer, all layers, output."""
    what: str
    """rotation, reflection, ..., distance to E, equivariance error."""
    values: tuple[float, ...]
    """One for each seed."""
    unit: str
    learned: bool | None = None
    """Of an extent: whether training moved it."""
    angle: float | None = None
    """Of an equivariance error: by how many degrees the input was turned."""
    before: bool = False
    """Of an equivariance error: measured before the training."""

    @property
    def turns(self) -> bool:
        """Whether it is an extent of rotations; of space there are three."""
        return self.what == "rotation" or self.what.startswith("rotation_")

    @property
    def part(self) -> float | None:
        """The mean as part of the group, of rotations and reflections."""
        mean = mean_and_sd(self.values)[0]
        if self.unit == "fraction":
            return mean
        return min(1.0, mean / (2 * math.pi)) if self.turns and self.unit == "rad" else None


def with_errors(runs: Sequence[Run]) -> list[Run]:
    """The runs, the errors that mode=equivariance measured of one of them among its own metrics instead of by themselves."""
    at = {run.path.resolve(): number for number, run in enumerate(runs)}
    found, moved = list(runs), set()
    for number, run in enumerate(runs):
        checkpoint = run.config.get("checkpoint")
        owner = at.get(Path(checkpoint).resolve().parent.parent) if checkpoint else None
        errors = {k: v for k, v in part_of(run, "metrics").items() if ERROR.fullmatch(k)}
        if owner is not None and errors:
            result = found[owner].result
            found[owner] = replace(
                found[owner], result=result | {"metrics": part_of(found[owner], "metrics") | errors}
            )
            moved.add(number)
    return [run for number, run in enumerate(found) if number not in moved]


def named(groups: Sequence[Group]) -> list[Group]:
    """Groups named after their experiment, which is what differs here, and by their label where several are of one."""
    slugs = [
        re.sub(r"-(full|cpu|smoke)-seed\d+-[0-9a-f]{8}", "", g.runs[0].path.name) for g in groups
    ]
    return [
        replace(g, label=g.label if slugs.count(slug) > 1 else slug)
        for g, slug in zip(groups, slugs, strict=True)
    ]


def entries(g: Group) -> Iterator[Entry]:
    """Learned extents in the order of the layers, then distances from E, then errors of the output by angle."""
    seen: dict[tuple[str, str, str], list[float]] = {}
    learned: dict[tuple[str, str, str], bool] = {}
    for run in g.runs:
        for layer, extents in run.result.get("learned_symmetry", {}).items():
            for extent in extents.values():
                key = (place_of(layer), extent["generator"], extent["unit"])
                seen.setdefault(key, []).append(float(extent["value"]))
                learned[key] = bool(extent["learned"])
    moved = any(learned.values())
    for (where, what, unit), values in seen.items():
        if moved:
            yield Entry(g.label, where, what, tuple(values), unit, learned[where, what, unit])
    for metric in dict.fromkeys(m for run in g.runs for m in run.result.get("metrics", {})):
        values = [v for run in g.runs if is_number(v := run.result["metrics"].get(metric))]
        if found := DISTANCE.fullmatch(metric):
            relative, arm, layer = found.groups()
            where = " ".join(
                filter(None, (short(layer) if layer else "all layers", f"({arm})" if arm else ""))
            )
            yield Entry(
                g.label, where, "distance to E", tuple(values), "of the norm" if relative else ""
            )
        elif found := ERROR.fullmatch(metric):
            before = bool(found[1])
            what = f"equivariance error at {found[2]} deg" + (" before training" if before else "")
            yield Entry(
                g.label, "output", what, tuple(values), "", angle=float(found[2]), before=before
            )


def place_of(layer: str) -> str:
    """The name of a distribution's place: Augerino's is the input."""
    return "input" if layer in ("augmentation", "input") else short(layer)


def parts_over_training(run: Run) -> dict[str, list[tuple[float, float]]]:
    """Place -> (part of the training, part of the rotations), for places where rotations are learned."""
    found: dict[str, list[tuple[float, float]]] = {}
    last = max((row["epoch"] for row in run.rows), default=1)
    for layer, extents in run.result.get("learned_symmetry", {}).items():
        extent: dict[str, Any] = extents.get("rotation", {})
        if not extent.get("learned"):
            continue  # of space there are three generators, and no one part of the circle
        scale = 1.0 if extent["unit"] == "fraction" else 1 / (2 * math.pi)
        names = (f"{extent['metric']}/{layer}", extent["metric"])
        points = (
            (row["epoch"] / last, next((row[n] for n in names if n in row), None))
            for row in run.rows
        )
        found[place_of(layer)] = [
            (time, min(1.0, scale * value)) for time, value in points if value is not None
        ]
    return found


def distances_over_training(run: Run) -> dict[str, list[tuple[float, float]]]:
    """Arm and group (or nothing) -> (part of the training, distance to E relative to the norm of all layers)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in run.rows:
        for key, value in row.items():
            match = DISTANCE.fullmatch(key)
            if not match or match[3]:
                continue
            arm = match[2] or ""
            norm = 1.0 if match[1] else row.get(f"norm_{arm}") if arm else None
            if norm:
                name = " ".join(filter(None, (arm, row.get("group", ""))))
                found.setdefault(name, []).append((row["epoch"], value / norm))
    for points in found.values():
        start = (
            points[0][0] if points[0][0] != 1 else 0
        )  # a training's first row is after one epoch, a flow's before any step
        points[:] = [
            ((epoch - start) / max(points[-1][0] - start, 1), value) for epoch, value in points
        ]
    return found


def short(layer: str) -> str:
    """blocks.0.conv1.elements -> block 1 conv1; convs.3.elements -> conv 4; lift.elements -> lift; augmentation -> input."""
    if layer == "augmentation":
        return "input"
    words = [w for w in layer.split(".") if w != "elements"]
    named = [
        str(int(w) + 1) if w.isdigit() else w.removesuffix("s") if n.isdigit() else w
        for w, n in zip(words, [*words[1:], ""], strict=True)
    ]
    return " ".join(named)
