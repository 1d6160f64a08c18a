"""Group runs that differ in nothing but the seed; a group is named after what sets it apart.

Equal means: the same resolved configuration, less seed, folders and what is only shown. Runs of
another scale or another version of the code are groups of their own: a mean over them would be of
two experiments.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from learnsym.results.collect import Run
from learnsym.schema import PlainDict, key_of

_NOT_A_LABEL: tuple[str, ...] = ("seed=", "scale=", "paths.", "fresh=", "table=", "launcher=")
_NOT_A_LABEL += ("hydra", "trainer.", "logger=", "debug=")
_NO_DIFFERENCE = ("seed", "paths", "logger", "fresh", "launcher", "runs", "paper", "hydra", "scale")
_LONG = 48
_MEASURES = ("analysis.distance_to_equivariance", "analysis.equivariance_angles")


@dataclass(frozen=True)
class Group:
    """Finished runs that share their settings, by dotted keys; the label is unique among groups.

    `code` is the hash of the source that made them; empty where means are taken across versions.
    """

    label: str
    runs: tuple[Run, ...]
    settings: PlainDict
    scale: str
    code: str


def group_runs(runs: Iterable[Run], across_code: bool = False) -> list[Group]:
    """Return groups of the finished ones among the runs, in the order in which they come.

    `across_code`: take runs of several versions of the code together.
    """
    groups: dict[str, Group] = {}
    for run in (run for run in runs if run.status == "finished"):
        same = (settings_of(run), scale_of(run), "" if across_code else _code_of(run))
        key = json.dumps(same, sort_keys=True, default=str)
        earlier = groups[key].runs if key in groups else ()
        groups[key] = Group("", (*earlier, run), *same)
    return _labelled(list(groups.values())) if groups else []


def scale_of(run: Run) -> str:
    """Return full, cpu or smoke."""
    return str(run.config.get("scale") or run.result.get("scale") or "full")


def _code_of(run: Run) -> str:
    return str(run.section("versions").get("code", ""))


def settings_of(run: Run) -> PlainDict:
    """Return what decides a result, by dotted keys; folders by their names in `paths`."""
    flat = flatten({k: v for k, v in run.config.items() if k not in _NO_DIFFERENCE})
    flat.pop("trainer.progress", None)
    if not any(flat.get(key) for key in _MEASURES):
        flat = {k: v for k, v in flat.items() if not k.startswith("analysis.")}
    paths = run.config.get("paths")
    named = paths.items() if isinstance(paths, dict) else ()
    folders = {str(folder): f"<paths.{name}>" for name, folder in named if folder}
    for key, value in flat.items():
        inside = [f for f in folders if isinstance(value, str) and f"{value}/".startswith(f"{f}/")]
        if inside:
            flat[key] = folders[inside[0]] + value[len(inside[0]) :]
    if fingerprint := run.section("data").get("fingerprint"):
        flat["data.fingerprint"] = fingerprint
    return flat


def flatten(node: PlainDict, above: str = "") -> PlainDict:
    """Return nested mappings as one of dotted keys; lists are values.

    >>> flatten({"a": {"b": 1, "c": [2]}, "d": {}})
    {'a.b': 1, 'a.c': [2], 'd': {}}
    """
    flat: PlainDict = {}
    for key, value in node.items():
        nested = isinstance(value, Mapping) and value
        flat |= flatten(value, f"{above}{key}.") if nested else {f"{above}{key}": value}
    return flat


def differing_keys(groups: Sequence[Group]) -> list[str]:
    """Return the keys whose values are not the same in all groups."""
    keys = dict.fromkeys(k for g in groups for k in g.settings)
    return [
        k for k in keys if len({json.dumps(g.settings.get(k), default=str) for g in groups}) > 1
    ]


def _labelled(groups: Sequence[Group]) -> list[Group]:
    """Name groups by overrides that not all of them have, and, where these are alike, by settings.

    A difference in scale is always named; one in code where nothing else tells two groups apart.
    """
    typed = [_typed(g.runs[0]) for g in groups]
    common = set.intersection(*map(set, typed))
    words = _shortened([[w for w in ws if w not in common] for ws in typed])
    slugs = [slug_of(g.runs[0]) for g in groups]
    labels = [_joined(ws) for ws in words]
    if len(set(slugs)) == 1:
        keys = dict.fromkeys(key_of(w) for ws in words for w in ws)
        defaults = [", ".join(_setting(k, g) for k in keys if k in g.settings) for g in groups]
        labels = [label or default for label, default in zip(labels, defaults, strict=True)]
    labels = [label or slug for label, slug in zip(labels, slugs, strict=True)]
    if len({g.scale for g in groups}) > 1:
        labels = [f"{label} ({g.scale})" for label, g in zip(labels, groups, strict=True)]
    for label in {x for x in labels if labels.count(x) > 1}:
        alike = [index for index, other in enumerate(labels) if other == label]
        longer = _told_apart(label, [groups[i] for i in alike])
        for index, name in zip(alike, longer, strict=True):
            labels[index] = name
    return [replace(g, label=x) for g, x in zip(groups, numbered(labels), strict=True)]


def _typed(run: Run) -> list[str]:
    """Return the overrides that may name a run; values of a command in result.json hold spaces."""
    words = re.split(r"\s+(?=[+~]*[\w./@]+=)", " ".join(run.overrides).strip())
    return [w for w in words if w and not w.startswith(_NOT_A_LABEL)]


def _shortened(words: list[list[str]]) -> list[list[str]]:
    """Leave out overrides of a single value from long labels, if they are told apart without."""
    flat = dict.fromkeys(w for ws in words for w in ws)
    keys = [key_of(w) for w in flat]
    for word in [w for w in flat if keys.count(key_of(w)) == 1 and key_of(w) != "experiment"]:
        if max(len(_joined(ws)) for ws in words) <= _LONG:
            break
        shorter = [[w for w in ws if w != word] for ws in words]
        is_named = [bool(ws) for ws in shorter] == [bool(ws) for ws in words]
        if is_named and len(set(map(tuple, shorter))) == len(set(map(tuple, words))):
            words = shorter
    return words


def _joined(words: Iterable[str]) -> str:
    return ", ".join(map(_short_override, words))


def _short_override(override: str) -> str:
    """Return an override without the groups above its key.

    >>> [_short_override(o) for o in ("experiment=augerino/qm9/t3", "net.width=4")]
    ['qm9/t3', 'width=4']
    """
    key, _, value = override.partition("=")
    if key == "experiment":
        return value.partition("/")[2] or value
    if key == "checkpoint":
        return f"checkpoint={value.replace('/checkpoints/', '/').rpartition('runs/')[2]}"
    return f"{_short_key(key)}={value}"


def _short_key(key: str) -> str:
    parts = key.lstrip("+~").split(".")
    if parts[-1] == "_target_" and len(parts) > 1:
        return parts[-2]
    return key if parts[-1] == "seed" else parts[-1]


def _setting(key: str, group: Group) -> str:
    value = group.settings.get(key)
    text = "null" if value is None else str(value)
    return f"{_short_key(key)}={text.rpartition('.')[2] if key.endswith('_target_') else text}"


def _told_apart(label: str, groups: Sequence[Group]) -> list[str]:
    """Lengthen one label by settings, those first that tell most apart; then by the code."""
    keys = sorted(differing_keys(groups), key=lambda k: k.count("."))
    settings = [[_setting(key, g) for g in groups] for key in keys]
    settings.sort(key=lambda values: -len(set(values)))
    labels = [label] * len(groups)
    for suffixes in [*settings, [f"code {g.code[:7]}" for g in groups]]:
        longer = [f"{x}, {suffix}" for x, suffix in zip(labels, suffixes, strict=True)]
        if len(set(longer)) > len(set(labels)):
            labels = longer
    return labels


def slug_of(run: Run) -> str:
    """Return the name of a run's directory, less scale, seed and hash."""
    return re.sub(r"-(full|cpu|smoke)-seed\d+-[0-9a-f]{8}", "", run.path.name)


def numbered(labels: Sequence[str]) -> list[str]:
    """Return labels of which those that are alike have a number."""
    counts = [labels[: index + 1].count(x) for index, x in enumerate(labels)]
    return [f"{x} #{n}" if labels.count(x) > 1 else x for x, n in zip(labels, counts, strict=True)]


def remarks(groups: Sequence[Group]) -> list[str]:
    """Return sentences that a reader of a table of these groups needs."""
    sentences = []
    for g in groups:
        seeds = [str(run.seed) for run in g.runs]
        if repeated := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            sentences.append(
                f"{g.label}: seed {', '.join(repeated)} occurs more than once, "
                "and each of these runs counts."
            )
    labels: dict[str, list[str]] = {}
    for label, run in ((g.label, run) for g in groups for run in g.runs):
        labels.setdefault(_code_of(run)[:7] or "unknown", []).append(label)
    if len(labels) > 1:
        codes = ", ".join(f"{c} ({'; '.join(dict.fromkeys(of))})" for c, of in labels.items())
        sentences.append(f"The runs were made by {len(labels)} versions of the code: {codes}.")
    runs = [run for g in groups for run in g.runs]
    scales = ", ".join(dict.fromkeys(g.scale for g in groups if g.scale != "full"))
    if scales and any(run.result.get("paper") for run in runs):
        sentences.append(
            f"The paper's values are those of scale=full; these runs are of scale={scales}."
        )
    sources = dict.fromkeys(str(r.section("data").get("provenance", "")) for r in runs)
    return sentences + [source for source in sources if source.startswith("STAND-IN")]
