"""`mode=book`: record finished runs under results/, and write the pages made from it."""

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from learnsym.config.search_path import CONFIG_DIR
from learnsym.errors import ConfigError
from learnsym.report import experiments_page as page
from learnsym.report.fidelity import fidelity_page, read_facts
from learnsym.results.collect import Run, collect
from learnsym.results.grouping import settings_of
from learnsym.results.statistics import is_number, mean_and_sd
from learnsym.run.mode import ResultsMode
from learnsym.schema import PlainDict
from learnsym.utils.files import write_atomically

_FOLDERS = ("dataset.data_dir", "dataset.file", "dataset.path", "debug")


class Book(ResultsMode):
    """Write EXPERIMENTS.md and docs/fidelity.md; `runs=` are recorded first.

    Args:
        folder: where results/, EXPERIMENTS.md and docs/ are; None: this checkout.
    """

    takes_runs = True

    def __init__(self, folder: str | None = None) -> None:
        self.folder = CONFIG_DIR.parent if folder is None else Path(folder).absolute()

    def __call__(self, cfg: DictConfig) -> Path:
        """Do the work; return the path of EXPERIMENTS.md.

        Raises:
            ConfigError: a file of results/ is damaged, or none of the runs can be recorded.
        """
        results = self.folder / "results"
        if not (results / "book.yaml").is_file():
            raise ConfigError(
                f"mode.folder: there is no results/book.yaml in {self.folder}. "
                "Try the folder of a checkout of LearnSym."
            )
        if cfg.runs:
            runs = collect(cfg.runs if isinstance(cfg.runs, str) else list(cfg.runs))
            record(results, runs)
        path = self.folder / "EXPERIMENTS.md"
        write_atomically(path, page.experiments_page(results))
        fidelity = fidelity_page(read_facts(results))
        write_atomically(self.folder / "docs" / "fidelity.md", fidelity)
        return path


def record(results: Path, runs: Sequence[Run]) -> None:
    """Add finished runs to measured.csv, and print what became of each.

    Runs that differ in the seed alone are one entry. It replaces an older one of the same command,
    scale and hardware.

    Raises:
        ConfigError: none of the runs can be recorded.
    """
    sections = list(page.read_sections(results).values())
    measured = page.read_measured(results)
    finished = []
    for run in runs:
        try:
            finished.append(_finished_run(run, sections))
        except (ValueError, KeyError, TypeError) as error:
            print(f"left out: {run.path.name}: {page.one_line(error)}.")
    if not finished:
        raise ConfigError("None of these runs can be recorded; the lines above say why.")
    table = pd.DataFrame(finished).sort_values("date", ascending=False, kind="stable")
    for _, group in table.groupby(["key", "hardware"], sort=False):
        measured = _merge(measured, _entry(_newest_of_each_seed(group)))
    write_atomically(results / "measured.csv", measured[page.MEASURED].to_csv(index=False))


def _finished_run(run: Run, sections: Sequence[page.Section]) -> PlainDict:
    """Return what is recorded of a run.

    Raises:
        ValueError, KeyError, TypeError: the run cannot be recorded.
    """
    if run.status != "finished":
        raise ValueError(f"it is {run.status}: {run.error}")
    if run.config.get("checkpoint"):
        raise ValueError("it started from a checkpoint, which its command does not make")
    result, words = run.result, page.canonical(run.overrides)
    key = page.key_of(words)
    if result["scale"] == "smoke":
        raise ValueError("scale=smoke shows that everything runs, and measures nothing")
    if result["scale"] != key.scale:
        raise ValueError(f"its command says scale={key.scale}, its result {result['scale']}")
    if key.preset == "none" and key.changes:
        raise ValueError(f"it is of no preset, and not the default: {', '.join(key.changes)}")
    sections = [s for s in sections if _listed_name(s, key.preset)]
    if not sections:
        raise ValueError(f"experiment={key.preset} is in no table of results/")
    preset = _listed_name(sections[0], key.preset)
    words = tuple(f"experiment={preset}" if w.startswith("experiment=") else w for w in words)
    names = [c[k] for c in sections[0]["columns"] for k in ("metric", "error") if k in c]
    seconds = max(result["seconds"], result.get("seconds_of_training", 0.0))
    if not seconds > 0:
        raise ValueError(f"result.json: seconds is {seconds}")
    written = datetime.fromtimestamp((run.path / "result.json").stat().st_mtime, UTC)
    date = datetime.fromisoformat(result.get("finished") or written.isoformat())
    versions = result.get("versions", {})
    return {
        "name": run.path.name,
        "command": page.command_line(words),
        "key": page.key_of(words),
        "hardware": _short_hardware(result["device"]),
        "recipe": _recipe(run),
        "seed": int(result["seed"]),
        "metrics": _finite(result["metrics"], names),
        "seconds": seconds,
        "torch": versions.get("torch", ""),
        "date": f"{date.astimezone(UTC):%Y-%m-%d %H:%M}",
        "commit": versions.get("commit") or f"code {versions.get('code', 'unknown')}",
    }


def _listed_name(section: page.Section, preset: str) -> str | None:
    """Return the name under which a table lists a preset, or None."""
    name = section.get("aliases", {}).get(preset, preset)
    return name if name in section["presets"] else None


def _finite(metrics: PlainDict, names: Sequence[str]) -> dict[str, float]:
    """Return the metrics of some names that a run has."""
    chosen = {name: metrics[name] for name in names if name in metrics}
    for name, value in chosen.items():
        if not (is_number(value) and math.isfinite(value)):
            raise ValueError(f"{name} is {str(value)[:60]}, not a finite number")
    if not chosen:
        raise ValueError(f"it has none of the quantities that its table shows: {', '.join(names)}")
    return chosen


def _recipe(run: Run) -> str:
    """Return what decides a result, the seed apart: a preset may change between two runs."""
    settings = {k: v for k, v in settings_of(run).items() if k not in _FOLDERS}
    return json.dumps(settings, sort_keys=True, default=str)


def _short_hardware(text: str) -> str:
    """Return a device's name in one line, without what tells nothing."""
    text = re.sub(r"\((?:R|TM)\)|\bProcessor\b|\bCPU\b", "", " ".join(text.split()))
    text = re.sub(r" +(?=[ ,)])", "", text).replace(", 1 threads", ", 1 thread").strip()
    if not text:
        raise ValueError("result.json: device is empty")
    return text


def _newest_of_each_seed(group: pd.DataFrame) -> pd.DataFrame:
    """Return runs of one command, newest first, that differ in the seed alone, by seed."""
    newest = group.iloc[0]
    changed = group["recipe"] != newest["recipe"]
    for name in group[changed]["name"]:
        print(f"left out: {name}: its preset or defaults have changed; {newest['name']} is newer.")
    group = group[~changed]
    for name in group[group.duplicated("seed")]["name"]:
        print(f"left out: {name}: a newer run has the same seed.")
    return group.drop_duplicates("seed").sort_values("seed")


def _entry(group: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of measured.csv for runs that differ in the seed alone."""
    newest = group.sort_values("date").iloc[-1]
    common = newest[["key", "command", "hardware", "torch", "date"]].to_dict()
    common |= {"note": "", "seeds": " ".join(map(str, group["seed"]))}
    common |= {"seconds": rounded(group["seconds"].mean(), 3)}
    common |= {"commit": ", ".join(dict.fromkeys(group["commit"]))}
    lines = []
    for name in dict.fromkeys(name for metrics in group["metrics"] for name in metrics):
        values = [metrics[name] for metrics in group["metrics"] if name in metrics]
        mean, sd = digits(values)
        lines.append(common | {"metric": name, "mean": mean, "sd": sd, "n": str(len(values))})
    return pd.DataFrame(lines)


def _merge(measured: pd.DataFrame, entry: pd.DataFrame) -> pd.DataFrame:
    """Put an entry in the place of that with the same key and hardware, unless that is newer."""
    new, columns = entry.iloc[0], page.MEASURED
    keys = zip(measured["key"], measured["hardware"], strict=True)
    old = measured[[pair == (new["key"], new["hardware"]) for pair in keys]]
    outcome, before = "new", ""
    if len(old):
        was = old.iloc[0]
        outcome = "kept" if was["date"] > new["date"] else "replaced"
        before = f"; there was n={was['n']}, {was['date']}, {was['commit']}"
        if old[columns].to_numpy().tolist() == entry[columns].to_numpy().tolist():
            outcome, before = "unchanged", ""
    print(f"{outcome}: {new['command']} (n={new['n']}, {new['date']}, {new['hardware']}){before}.")
    if outcome in ("unchanged", "kept"):
        return measured
    return pd.concat([measured.drop(old.index), entry], ignore_index=True)


def digits(values: Sequence[float]) -> tuple[str, str]:
    """Return mean and deviation (n - 1): two digits of the deviation, the mean to the same place.

    >>> digits([1.0, 2.0, 4.0])
    ('2.3', '1.5')
    """
    mean, sd = mean_and_sd(values)
    if sd is None or sd <= 1e-12 * abs(mean):
        return rounded(mean, 4), "" if sd is None else "0"
    place = Decimal(f"{sd:.1e}")
    return _plain(Decimal(mean).quantize(place) + 0), _plain(place)


def rounded(value: float, significant: int) -> str:
    """Return a number to so many digits."""
    return _plain(Decimal(f"{value:.{significant - 1}e}")) if value else "0"


def _plain(number: Decimal) -> str:
    """Return 1234, 0.0012, 1.2e-7: only very small numbers have an exponent."""
    if number and number.adjusted() < -4:
        mantissa, _, exponent = f"{number:e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{number:f}"
