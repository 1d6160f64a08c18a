"""What ends a sweep: a table with mean and standard deviation over seeds, one figure, the names of those that failed."""

import json
import math
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from learnsym.errors import LearnSymError
from learnsym.results.record import read_rows, write_atomically

failed_jobs: list[str] = []
"""Failures of the sweep of this process; `learnsym.cli` makes an exit code of them."""
SHOWN = tuple(f"{name}_" for name in ("test", "median", "learned", "gradient", "accuracy", "distance_to", "change", "n_eff"))
SHOWN += ("largest_eigenvalue", "trace")
"""How metrics begin that the table shows; the CSV has all."""
NOT_A_LABEL = ("seed=", "scale=", "paths.", "fresh=", "table=", "launcher=", "hydra", "trainer.", "logger=", "debug=")


class SweepTable(Callback):
    """Hydra's callback around a multirun. The jobs leave a record each (see `learnsym.cli.job`), on whatever machine they ran."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget the records of an earlier call of the same sweep (the runs themselves stay), and tell all jobs its directory.

        It is named after the overrides of the whole sweep, and a job knows only its own.
        """
        with read_write(config), open_dict(config):
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={config.hydra.sweep.dir}")
        for record in (Path(config.hydra.sweep.dir) / "jobs").glob("*.json"):
            record.unlink()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write and print the table, draw the figure, name the failures."""
        folder = Path(config.hydra.sweep.dir)
        records = [json.loads(p.read_text()) for p in sorted((folder / "jobs").glob("*.json"), key=lambda p: int(p.stem))]
        finished = [r for r in records if r["status"] == "finished"]
        failures = [r for r in records if r["status"] != "finished"]
        failed_jobs.extend(" ".join(r["overrides"]) for r in failures)
        if finished and not config.get("debug"):
            _try(summarise, folder, finished)
        if failures:
            print(f"\n{len(failures)} of {len(records)} jobs failed; the same command again does only these:")
            for record in failures:
                print(f"  {' '.join(record['overrides'])}\n    {record['error']}")


def _try(work: Callable[..., None], *arguments: Any) -> None:
    """Do it; a failure counts as one of the sweep. (Hydra makes a warning of what a callback raises, and exits with 0.)"""
    try:
        work(*arguments)
    except Exception as error:
        if not isinstance(error, LearnSymError):
            traceback.print_exc()
        failed_jobs.append("the table")
        print(f"error: {error}", file=sys.stderr)


def summarise(folder: Path, records: list[dict[str, Any]]) -> None:
    """table.md, table.csv and sweep.png of finished jobs, and the table on the console."""
    groups = group(records)
    markdown, csv = tables(groups)
    write_atomically(folder / "table.md", markdown)
    write_atomically(folder / "table.csv", csv)
    print(f"\n{markdown}")
    drawn = draw_sweep(folder / "sweep.png", groups)
    for what, path in (("table", folder / "table.md"), ("table", folder / "table.csv"), *([("figure", drawn)] if drawn else [])):
        print(f"{what}: {path.absolute()}")


def group(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Runs by what distinguishes them besides the seed; each with its result, rows and curves."""
    common = set.intersection(*(set(r["overrides"]) for r in records)) if len(records) > 1 else set()
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        run = Path(record["directory"])
        curves = run / "curves.json"
        words = [o for o in record["overrides"] if o not in common and not o.startswith(NOT_A_LABEL)]
        label = ", ".join(_short(w) for w in words) or "all runs"
        groups.setdefault(label, []).append(
            {
                "result": json.loads((run / "result.json").read_text()),
                "rows": read_rows(run / "metrics.jsonl"),
                "curves": json.loads(curves.read_text()) if curves.exists() else {},
            }
        )
    return groups


def _short(override: str) -> str:
    """experiment=augerino/mario_iggy/low -> mario_iggy/low; net.regularisation=0.1 -> regularisation=0.1."""
    key, _, value = override.partition("=")
    return "/".join(value.split("/")[1:]) or value if key == "experiment" else f"{key.rpartition('.')[2]}={value}"


def tables(groups: Mapping[str, list[dict[str, Any]]]) -> tuple[str, str]:
    """Markdown (mean +- standard deviation, the paper's value below) and CSV (one line a group and metric)."""
    import pandas as pd

    rows = []
    for label, runs in groups.items():
        metrics = dict.fromkeys(k for run in runs for k in run["result"]["metrics"])
        published = {e["metric"]: e for run in runs for e in run["result"].get("paper") or []}
        for metric in metrics:
            values = pd.Series(
                [run["result"]["metrics"][metric] for run in runs if metric in run["result"]["metrics"]], dtype=float
            )
            paper = published.get(metric, {})
            rows.append(
                {
                    "run": label,
                    "metric": metric,
                    "mean": values.mean(),
                    "sd": values.std(ddof=1) if len(values) > 1 else math.nan,
                    "n": len(values),
                    "paper": paper.get("value"),
                    "paper_status": paper.get("status"),
                }
            )
    frame = pd.DataFrame(rows)
    chosen = [m for m in frame["metric"].unique() if m.startswith(SHOWN)]
    lines = ["| run | n | " + " | ".join(chosen) + " |", "| --- " * (len(chosen) + 2) + "|"]
    for label, part in frame.groupby("run", sort=False):
        cells = {row["metric"]: _cell(row) for _, row in part.iterrows()}
        lines.append(f"| {label} | {int(part['n'].max())} | " + " | ".join(cells.get(m, "") for m in chosen) + " |")
    note = "\nMean ± standard deviation over seeds (n runs)." + (
        " In brackets: the paper's value and its status." if frame["paper"].notna().any() else ""
    )
    return "\n".join(lines) + "\n" + note + "\n", frame.to_csv(index=False)


def _cell(row: Any) -> str:
    text = f"{row['mean']:.4g}" + (f" ± {row['sd']:.2g}" if not math.isnan(row["sd"]) else "")
    return text + (
        f" ({row['paper']} [{row['paper_status']}])" if row["paper"] is not None and row["paper"] == row["paper"] else ""
    )


def draw_sweep(path: Path, groups: Mapping[str, list[dict[str, Any]]]) -> Path | None:
    """One figure of all groups: learned rotation over training, its final width beside the truth, the fractions that layers have
    learned, responses to rotation."""
    from learnsym.results.dynamics_figures import draw_drift
    from learnsym.results.figures import COLOURS, draw_bands, draw_responses, new_figure, save
    from learnsym.results.spectrum_figures import draw_spectra
    from learnsym.results.symmetry_figures import draw_final_fractions, final_fractions

    drifts = {label: [r["curves"]["drift"] for r in runs if "drift" in r["curves"]] for label, runs in groups.items()}
    if all(drifts.values()):
        draw_drift(path, drifts)
        return path
    spectra = {label: [r["curves"]["spectrum"] for r in runs if "spectrum" in r["curves"]] for label, runs in groups.items()}
    if all(spectra.values()):
        draw_spectra(path, spectra)
        return path
    key = "learned_rotation_width_rad"
    learned = {label: [r["rows"] for r in runs if r["rows"] and key in r["rows"][-1]] for label, runs in groups.items()}
    learned = {label: rows for label, rows in learned.items() if rows}
    responses = {
        label: [r["curves"]["angle_response"] for r in runs if "angle_response" in r["curves"]] for label, runs in groups.items()
    }
    responses = {label: curves for label, curves in responses.items() if curves}
    fractions = {label: found for label, runs in groups.items() if (found := final_fractions(runs))}
    colours = {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(groups)}
    truths = {label: runs[0]["result"].get("true_widths", {}).get("rotation") for label, runs in groups.items()}
    wanted = (("bands", learned), ("final", learned), ("fractions", fractions), ("responses", responses))
    panels = [name for name, there in wanted if there]
    if not panels:
        return None
    figure = new_figure(4.2 * len(panels), 3.4)
    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        if name == "bands":
            shared = {truths[label] for label in learned}
            draw_bands(axes, learned, key, shared.pop() if len(shared) == 1 else None)
        elif name == "final":
            draw_final(axes, {label: [rows[-1][key] for rows in runs] for label, runs in learned.items()}, truths)
        elif name == "fractions":
            draw_final_fractions(axes, fractions, colours)
        else:
            draw_responses(axes, responses, [colours[label] for label in responses])
    save(figure, path)
    return path


def draw_final(axes: Any, widths: Mapping[str, list[float]], truths: Mapping[str, float | None]) -> None:
    """The final rotation width of every run, the mean as a bar, the truth as a dash."""
    from learnsym.results.figures import COLOURS, style

    for place, (label, values) in enumerate(widths.items()):
        colour = COLOURS[place % len(COLOURS)]
        axes.bar(place, sum(values) / len(values), color=colour, alpha=0.3, width=0.7)
        axes.plot([place] * len(values), values, "o", color=colour, markersize=4)
        if truths[label] is not None:
            axes.hlines(truths[label], place - 0.42, place + 0.42, color="black", linestyle="--", linewidth=1)
    axes.set_xticks(range(len(widths)), list(widths), rotation=20, ha="right", fontsize=7)
    style(axes, "final width of the rotation (dashes: truth)", "", "width (rad)")
