"""Runs that differ in nothing but the seed are one row of a table; a row is named after what tells
it from the others.

Equal means: the same resolved configuration, less seed, places and what is only shown. Runs of
another scale or another version of the code are rows of their own: a mean over them would be of two
experiments.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from learnsym.results.collect import Run

NOT_A_LABEL = (
    "seed=",
    "scale=",
    "paths.",
    "fresh=",
    "table=",
    "launcher=",
    "hydra",
    "trainer.",
    "logger=",
    "debug=",
)
"""Overrides that distinguish no experiments."""
NO_DIFFERENCE = ("seed", "paths", "logger", "fresh", "launcher", "runs", "paper", "hydra")
"""Sections of a configuration that decide no result, besides `seed`, over which the means are
taken."""
LONG = 48
"""Characters of a label beyond which it leaves out what it can."""
SLUG_END = re.compile(r"-(full|cpu|smoke)-seed\d+-[0-9a-f]{8}$")
"""Of a run's directory: what comes after the experiment's name."""


@dataclass(frozen=True)
class Group:
    """Finished runs that differ in nothing but the seed."""

    label: str
    """What tells it from the other groups; unique among them."""
    runs: tuple[Run, ...]
    settings: Mapping[str, Any]
    """The configuration that they share: dotted key -> value."""
    scale: str
    code: str
    """Hash of the package's source that made them; empty where the runs' own differ
    (`across_code`)."""


def group(runs: Iterable[Run], across_code: bool = False) -> list[Group]:
    """Groups of the finished runs, in the order in which they come.

    Args:
        runs: as collected; those that have not finished make no group.
        across_code: runs made by several versions of the code are taken together.
    """
    found: dict[str, Group] = {}
    for run in runs:
        if run.status != "finished":
            continue
        settings, scale, code = settings_of(run), scale_of(run), "" if across_code else code_of(run)
        key = json.dumps([settings, scale, code], sort_keys=True, default=str)
        earlier = found[key].runs if key in found else ()
        found[key] = Group("", (*earlier, run), settings, scale, code)
    return labelled(list(found.values()))


def scale_of(run: Run) -> str:
    """full, cpu or smoke."""
    return str(run.config.get("scale") or run.result.get("scale") or "full")


def code_of(run: Run) -> str:
    """Hash of the package's source that made it, or nothing."""
    return str(part_of(run, "versions").get("code", ""))


def part_of(run: Run, name: str) -> dict[str, Any]:
    """A section of result.json; empty where it is none."""
    part = run.result.get(name)
    return part if isinstance(part, dict) else {}


def settings_of(run: Run) -> dict[str, Any]:
    """The configuration by dotted keys, less what decides no result; places under paths.data and
    paths.out by these names.
    """
    decides = {k: v for k, v in run.config.items() if k not in NO_DIFFERENCE}
    flat = flatten(decides)
    flat.pop("trainer.progress", None)
    flat.pop("scale", None)
    if not (
        flat.get("analysis.distance_to_equivariance") or flat.get("analysis.equivariance_angles")
    ):  # it measures nothing
        flat = {k: v for k, v in flat.items() if not k.startswith("analysis.")}
    paths = run.config.get("paths")
    places = (
        {f"<paths.{k}>": str(v) for k, v in paths.items() if v} if isinstance(paths, dict) else {}
    )
    return {k: _placed(v, places) if isinstance(v, str) else v for k, v in flat.items()}


def flatten(node: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested mappings as one of dotted keys; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        inner = f"{above}{key}"
        flat |= (
            flatten(value, f"{inner}.") if isinstance(value, Mapping) and value else {inner: value}
        )
    return flat


def _placed(value: str, places: Mapping[str, str]) -> str:
    for name, place in places.items():
        if value == place or value.startswith(f"{place}/"):
            return name + value[len(place) :]
    return value


# --- labels


def labelled(groups: Sequence[Group]) -> list[Group]:
    """The groups with a name each: overrides that not all of them have, and, where these are none
    or alike, settings.

    A difference in scale is always said; one in code where nothing else tells two groups apart.
    """
    words = [words_of(g.runs[0]) for g in groups]
    common = set.intersection(*(set(w) for w in words)) if len(groups) > 1 else set().union(*words)
    words = shortened([[w for w in own if w not in common] for own in words])
    typed = dict.fromkeys(key_of(w) for own in words for w in own)
    one = len({experiment_of(g) for g in groups}) == 1
    labels = [
        _joined(own) or _by_default(g, typed if one else ())
        for own, g in zip(words, groups, strict=True)
    ]
    if len({g.scale for g in groups}) > 1:
        labels = [f"{label} ({g.scale})" for label, g in zip(labels, groups, strict=True)]
    for label in [x for x in dict.fromkeys(labels) if labels.count(x) > 1]:
        alike = [n for n, other in enumerate(labels) if other == label]
        for n, addition in zip(alike, told_apart([groups[n] for n in alike]), strict=True):
            labels[n] = f"{label}, {addition}" if addition else label
    return [replace(g, label=label) for g, label in zip(groups, unique(labels), strict=True)]


def words_of(run: Run) -> list[str]:
    """The overrides of a run that may distinguish it. (A command in result.json is one string: a
    value may hold spaces.)
    """
    words = re.split(r"\s+(?=[+~]*[\w./@]+=)", " ".join(run.overrides).strip())
    return [w for w in words if w and not w.startswith(NOT_A_LABEL)]


def shortened(words: Sequence[Sequence[str]]) -> list[list[str]]:
    """Where labels get long: without the overrides of a single value that are not needed to tell
    the labels apart.
    """
    kept = [list(own) for own in words]
    values: dict[str, set[str]] = {}
    for word in (w for own in words for w in own):
        values.setdefault(key_of(word), set()).add(word)
    for word in [
        min(found) for key, found in values.items() if len(found) == 1 and key != "experiment"
    ]:
        if max(len(_joined(own)) for own in kept) <= LONG:
            break
        without = [[w for w in own if w != word] for own in kept]
        if len({tuple(w) for w in without}) == len({tuple(w) for w in kept}) and all(
            b or not a for a, b in zip(kept, without, strict=True)
        ):
            kept = without
    return kept


def key_of(override: str) -> str:
    """What it sets."""
    return override.lstrip("+~").partition("=")[0]


def _joined(words: Iterable[str]) -> str:
    return ", ".join(map(_short, words))


def experiment_of(group: Group) -> str:
    """What the first run's directory is called, less scale, seed and hash."""
    return SLUG_END.sub("", group.runs[0].path.name)


def _short(override: str) -> str:
    """experiment=augerino/mario_iggy/low -> mario_iggy/low; net.regularisation=0.1 ->
    regularisation=0.1; of a seed, whose.
    """
    key, _, value = override.partition("=")
    if key == "experiment":
        return "/".join(value.split("/")[1:]) or value
    if key == "checkpoint":
        return f"checkpoint={value.replace('/checkpoints/', '/').rpartition('runs/')[2]}"
    return f"{short_key(key)}={value}"


def short_key(key: str) -> str:
    """The last part of a dotted key; of a class whose it is; of a seed of its own all of the
    key.
    """
    parts = key.lstrip("+~").split(".")
    if parts[-1] == "_target_" and len(parts) > 1:
        return parts[-2]
    return key if parts[-1] == "seed" else parts[-1]


def _by_default(group: Group, typed: Iterable[str]) -> str:
    """Of a group that typed nothing of its own: the values of what others typed, or else the name
    of its experiment.
    """
    known = [setting(key, group) for key in typed if key in group.settings]
    return ", ".join(known) or experiment_of(group)


def setting(key: str, group: Group) -> str:
    """key=value as it stands in a label."""
    value = group.settings.get(key)
    shown = (
        str(value).rpartition(".")[2]
        if key.endswith("_target_")
        else "null"
        if value is None
        else str(value)
    )
    return f"{short_key(key)}={shown}"


def told_apart(groups: Sequence[Group]) -> list[str]:
    """As few settings as tell groups of one label apart, those first that tell most; then the
    code's version.
    """
    additions: list[list[str]] = [[] for _ in groups]
    left = differing(groups)
    while left and len({tuple(a) for a in additions}) < len(groups):
        apart = {
            key: len({(*a, setting(key, g)) for a, g in zip(additions, groups, strict=True)})
            for key in left
        }
        best = max(left, key=lambda k: (apart[k], -k.count(".")))
        if apart[best] == len({tuple(a) for a in additions}):
            break
        left.remove(best)
        for addition, g in zip(additions, groups, strict=True):
            addition.append(setting(best, g))
    told = [", ".join(a) for a in additions]
    alike = [told.count(x) > 1 and bool(g.code) for x, g in zip(told, groups, strict=True)]
    return [
        ", ".join(filter(None, (x, f"code {g.code[:7]}" * a)))
        for x, a, g in zip(told, alike, groups, strict=True)
    ]


def unique(labels: Sequence[str]) -> list[str]:
    """Labels that are alike all the same are numbered."""
    return [
        f"{x} #{labels[: n + 1].count(x)}" if labels.count(x) > 1 else x
        for n, x in enumerate(labels)
    ]


def differing(groups: Sequence[Group]) -> list[str]:
    """Keys whose values are not the same in all groups."""
    keys = dict.fromkeys(k for g in groups for k in g.settings)
    return [
        k
        for k in keys
        if len({json.dumps(g.settings.get(k), default=str, sort_keys=True) for g in groups}) > 1
    ]


# --- remarks


def remarks(groups: Sequence[Group]) -> list[str]:
    """What a reader of the table has to know of its rows, in sentences."""
    said = []
    for g in groups:
        seeds = [run.config.get("seed", run.result.get("seed")) for run in g.runs]
        twice = sorted({str(s) for s in seeds if seeds.count(s) > 1})
        if twice:
            said.append(
                f"{g.label}: seed {', '.join(twice)} occurs more than once, and each of these runs counts."
            )
    codes = {
        code: [g.label for g in groups for run in g.runs if code_of(run) == code]
        for code in _codes(groups)
    }
    if len(codes) > 1:
        parts = [
            f"{code[:7] or 'unknown'} ({'; '.join(dict.fromkeys(of))})"
            for code, of in codes.items()
        ]
        said.append(f"The runs were made by {len(codes)} versions of the code: {', '.join(parts)}.")
    if any(g.scale != "full" for g in groups) and any(
        run.result.get("paper") for g in groups for run in g.runs
    ):
        scales = ", ".join(dict.fromkeys(g.scale for g in groups if g.scale != "full"))
        said.append(
            f"The paper's values are those of scale=full; these runs are of scale={scales}."
        )
    sources = dict.fromkeys(
        str(part_of(r, "data").get("provenance", "")) for g in groups for r in g.runs
    )
    return said + [source for source in sources if source.startswith("STAND-IN")]


def _codes(groups: Sequence[Group]) -> list[str]:
    return list(dict.fromkeys(code_of(run) for g in groups for run in g.runs))
