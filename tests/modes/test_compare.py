"""Symmetries of all three methods in one table and one figure: what is read, how widths and arcs
share an axis."""

import csv
import json
import math
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from learnsym.errors import ConfigError
from learnsym.modes.compare import Compare
from learnsym.results.collect import collect
from learnsym.results.symmetry import distances_over_training, fractions_over_training


def extent(generator, value, unit, learned=True):
    suffix = "_fraction" if unit == "fraction" else "_width" + (f"_{unit}" if unit else "")
    return {
        "generator": generator,
        "value": value,
        "unit": unit,
        "learned": learned,
        "metric": f"learned_{generator}{suffix}",
    }


def write(folder: Path, name: str, config=None, rows=(), **result) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(json.dumps({"scale": "cpu", **(config or {})}))
    (path / "result.json").write_text(
        json.dumps({"metrics": {}, "command": "main.py", "scale": "cpu", **result})
    )
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """One run of each method (of Augerino two seeds), an error measured of one, a plain one, one
    that failed."""
    for seed, width in enumerate((math.pi / 2, math.pi)):
        learned = {
            "rotation": extent("rotation", width, "rad"),
            "scale": extent("scale", 0.1, "", learned=False),
        }
        rows = [{"epoch": e, "learned_rotation_width_rad": width * e / 2} for e in (1, 2)]
        name = f"augerino-sprites-cpu-seed{seed}-0123456{seed}"
        augerino = write(
            tmp_path, name, {"seed": seed}, rows, learned_symmetry={"augmentation": learned}
        )
    layers = {
        "lift.elements": {"rotation": extent("rotation", 1.0, "fraction", learned=False)},
        "blocks.0.conv1.elements": {
            "rotation": extent("rotation", 0.4, "fraction"),
            "reflection": extent("reflection", 0.2, "fraction"),
        },
    }
    rows = [{"epoch": 1, "learned_rotation_fraction/blocks.0.conv1.elements": 0.4}]
    write(
        tmp_path, "partial-digits-cpu-seed0-aaaaaaaa", {"net": "p"}, rows, learned_symmetry=layers
    )
    arms = {
        "relative_distance_to_equivariance_nominal": 0.01,
        "relative_distance_to_equivariance_equivariant": 0.0,
    }
    flow = [
        {"epoch": s, "distance_to_equivariance_nominal": 2.0 * s, "norm_nominal": 100}
        for s in (0, 1, 2)
    ]
    write(tmp_path, "dynamics-rotation-cpu-seed0-bbbbbbbb", {"net": "d"}, flow, metrics=arms)
    errors = {
        "equivariance_error_90deg/logits": 0.3,
        "equivariance_error_45deg/logits": 0.1,
        "equivariance_error_90deg/lift": 9.0,
    }
    checkpoint = {"checkpoint": str(augerino / "checkpoints/last.pt")}
    write(tmp_path, f"{augerino.name}-equivariance-full-seed0-cccccccc", checkpoint, metrics=errors)
    write(tmp_path, "plain-digits-cpu-seed0-dddddddd", {"net": "q"}, metrics={"test_loss": 1.0})
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/error.txt").write_text("RunError: it diverged\n")
    return tmp_path


def compared(runs: Path, out: Path, patterns=None) -> tuple[list[dict[str, str]], str]:
    path = Compare(out=str(out))(
        OmegaConf.create({"runs": patterns or str(runs), "paths": {"out": str(out)}})
    )
    assert path.read_bytes()[:4] == b"\x89PNG"
    return list(csv.DictReader((out / "compare.csv").read_text().splitlines())), (
        out / "compare.md"
    ).read_text()


def test_all_three_methods_are_side_by_side(runs, tmp_path):
    rows, text = compared(runs, tmp_path / "out")
    found = {(r["run"], r["where"], r["what"]): r for r in rows}
    width = found["augerino-sprites", "input", "rotation"]
    assert float(width["mean"]) == pytest.approx(0.75 * math.pi)
    assert (float(width["sd"]), width["n"]) == (pytest.approx(math.pi / 2 / math.sqrt(2)), "2")
    assert float(width["part_of_group"]) == pytest.approx(0.375)
    arc = found["partial-digits", "block 1 conv1", "rotation"]
    assert (float(arc["part_of_group"]), arc["learned"]) == (0.4, "True")
    assert float(found["partial-digits", "block 1 conv1", "reflection"]["part_of_group"]) == 0.2
    assert found["partial-digits", "lift", "rotation"]["learned"] == "False"
    assert (
        float(found["dynamics-rotation", "all layers (nominal)", "distance to E"]["mean"]) == 0.01
    )
    assert (
        float(found["dynamics-rotation", "all layers (equivariant)", "distance to E"]["mean"])
        == 0.0
    )
    assert "| augerino-sprites | 2 | input | rotation | 2.356 ± 1.1 | rad | 0.375 |" in text
    assert "scale" not in text, (
        "what was never learned and is no part of a group is in the CSV alone"
    )
    assert "plain-digits (finished): no learned symmetry" in text
    assert "torn (failed): RunError: it diverged" in text


def test_errors_measured_of_a_run_are_its_own(runs, tmp_path):
    rows, _ = compared(runs, tmp_path / "out")
    errors = {
        r["what"]: float(r["mean"])
        for r in rows
        if r["run"] == "augerino-sprites" and r["where"] == "output"
    }
    assert errors == {"equivariance error at 90 deg": 0.3, "equivariance error at 45 deg": 0.1}
    assert not any("equivariance" in r["run"] for r in rows)
    alone, _ = compared(runs, tmp_path / "alone", str(runs / "*equivariance*"))
    assert {r["run"] for r in alone} == {"augerino-sprites-equivariance"}


def test_widths_and_arcs_share_an_axis_and_a_wide_box_is_the_whole_circle(runs):
    augerino, partial, flow = (
        collect(str(runs / p))[0]
        for p in ("augerino-sprites-cpu-seed1-01234561", "partial*", "dyn*")
    )
    assert fractions_over_training(augerino)["input"] == [
        (0.5, pytest.approx(0.25)),
        (1.0, pytest.approx(0.5)),
    ]
    assert fractions_over_training(partial) == {"block 1 conv1": [(1.0, 0.4)]}
    assert distances_over_training(flow) == {"nominal": [(0.0, 0.0), (0.5, 0.02), (1.0, 0.04)]}
    augerino.rows[-1]["learned_rotation_width_rad"] = 9.0
    assert fractions_over_training(augerino)["input"][-1] == (1.0, 1.0)


def test_runs_of_which_no_symmetry_is_known(runs, tmp_path):
    with pytest.raises(
        ConfigError, match=r"no symmetry is known of these 1 runs. Try .* mode=equivariance"
    ):
        compared(runs, tmp_path / "out", str(runs / "plain*"))
