"""`mode=book`: record finished runs under results/, and write the pages made from it."""

import json
import math
import re
from collections.abc import Mapping, Sequence
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

_ENTRY = [*page.Key._fields, "hardware"]
_FOLDERS = ("dataset.data_dir", "dataset.file", "dataset.path", "debug")


class Book(ResultsMode):
    """Write EXPERIMENTS.md and docs/fidelity.md; `runs=` are recorded first."""

    takes_runs = True

    def __init__(self, folder: str | None = None) -> None:
        self.folder = CONFIG_DIR.parent if folder is None else Path(folder).absolute()

    def __call__(self, cfg: DictConfig) -> Path:
        """Do the work; return the path of EXPERIMENTS.md."""
        results, path = self.folder / "results", self.folder / "EXPERIMENTS.md"
        if not (results / "book.yaml").is_file():
            raise ConfigError(
                f"mode.folder: there is no results/book.yaml in {self.folder}. "
                "Try the folder of a checkout of LearnSym."
            )
        if cfg.runs:
            record(results, collect(cfg.runs))
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
    measured, finished = page.read_measured(results), []
    listed: dict[str, tuple[PlainDict, str]] = {}
    for section in page.read_sections(results).values():
        names = {preset: preset for preset in section["presets"]} | section.get("aliases", {})
        listed |= {name: (section, preset) for name, preset in names.items()}
    for run in runs:
        try:
            finished.append(_finished_run(run, listed))
        except (ValueError, KeyError, TypeError) as error:
            print(f"left out: {run.path.name}: {page.one_line(error)}.")
    if not finished:
        raise ConfigError("None of these runs can be recorded; the lines above say why.")
    table = pd.DataFrame(finished).sort_values("date", ascending=False, kind="stable")
    for key, group in table.groupby(_ENTRY, sort=False):
        entry = _entry(group)
        new, known = entry.iloc[0], measured[_ENTRY].itertuples(index=False, name=None)
        old, outcome, before = measured[[other == key for other in known]], "new", ""
        if len(old):
            was = old.iloc[0]
            outcome = "kept" if was["date"] > new["date"] else "replaced"
            before = f"; there was n={was['n']}, {was['date']}, {was['commit']}"
            if old[page.MEASURED].to_numpy().tolist() == entry[page.MEASURED].to_numpy().tolist():
                outcome, before = "unchanged", ""
        print(
            f"{outcome}: {new['command']} (n={new['n']}, {new['date']}, {new['hardware']}){before}."
        )
        if outcome in ("new", "replaced"):
            measured = pd.concat([measured.drop(old.index), entry], ignore_index=True)
    write_atomically(results / "measured.csv", measured[page.MEASURED].to_csv(index=False))


def _finished_run(run: Run, listed: Mapping[str, tuple[PlainDict, str]]) -> PlainDict:
    """Return what is recorded of a run, or refuse it: ValueError, KeyError, TypeError."""
    if run.status != "finished":
        raise ValueError(f"it is {run.status}: {run.error}")
    result, words = run.result, page.canonical(run.overrides)
    key, scale = page.key_of(words), result["scale"]
    section, preset = listed.get(key.preset, ({"columns": []}, ""))
    names = [c[k] for c in section["columns"] for k in ("metric", "error") if k in c]
    metrics = {name: result["metrics"][name] for name in names if name in result["metrics"]}
    seconds = max(result["seconds"], result.get("seconds_of_training", 0.0))
    hardware = re.sub(r"\((?:R|TM)\)|\bProcessor\b|\bCPU\b", "", " ".join(result["device"].split()))
    hardware = re.sub(r" +(?=[ ,)])", "", hardware).replace(", 1 threads", ", 1 thread").strip()
    started, changes = run.config.get("checkpoint"), ", ".join(key.changes)
    refusals = {
        "it started from a checkpoint, which its command does not make": started,
        "scale=smoke shows that everything runs, and measures nothing": scale == "smoke",
        f"its command says scale={key.scale}, its result {scale}": scale != key.scale,
        f"it is of no preset, and not the default: {changes}": key.preset == "none" and changes,
        f"experiment={key.preset} is in no table of results/": not preset,
        f"result.json: seconds is {seconds}": not seconds > 0,
        "result.json: device is empty": not hardware,
        f"it has none of the quantities that its table shows: {', '.join(names)}": not metrics,
    }
    for name, value in metrics.items():
        reason = f"{name} is {str(value)[:60]}, not a finite number"
        refusals[reason] = not (is_number(value) and math.isfinite(value))
    for reason, refused in refusals.items():
        if refused:
            raise ValueError(reason)
    words = tuple(f"experiment={preset}" if w.startswith("experiment=") else w for w in words)
    settings = {k: v for k, v in settings_of(run).items() if k not in _FOLDERS}
    written = datetime.fromtimestamp((run.path / "result.json").stat().st_mtime, UTC)
    date = datetime.fromisoformat(result.get("finished") or written.isoformat())
    versions = result.get("versions", {})
    return page.key_of(words)._asdict() | {
        "name": run.path.name,
        "command": page.command_line(words),
        "hardware": hardware,
        "recipe": json.dumps(settings, sort_keys=True, default=str),
        "seed": int(result["seed"]),
        "metrics": metrics,
        "seconds": seconds,
        "torch": versions.get("torch", ""),
        "date": f"{date.astimezone(UTC):%Y-%m-%d %H:%M}",
        "commit": versions.get("commit") or f"code {versions.get('code', 'unknown')}",
    }


def _entry(group: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of measured.csv for runs of one command, newest first."""
    newest = group.iloc[0]
    changed = group["recipe"] != newest["recipe"]
    for name in group[changed]["name"]:
        print(f"left out: {name}: its preset or defaults have changed; {newest['name']} is newer.")
    group = group[~changed]
    for name in group[group.duplicated("seed")]["name"]:
        print(f"left out: {name}: a newer run has the same seed.")
    group = group.drop_duplicates("seed").sort_values("seed")
    common = newest[[*_ENTRY, "command", "torch", "date"]].to_dict()
    common |= {"note": "", "seeds": " ".join(map(str, group["seed"]))}
    common |= {"seconds": rounded(group["seconds"].mean(), 3)}
    common |= {"commit": ", ".join(dict.fromkeys(group["commit"]))}
    lines = []
    for name, values in pd.DataFrame(list(group["metrics"])).items():
        mean, sd = digits(values.dropna().tolist())
        lines.append(common | {"metric": name, "mean": mean, "sd": sd, "n": str(values.count())})
    return pd.DataFrame(lines)


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
    return f"{number:e}" if number and number.adjusted() < -4 else f"{number:f}"
