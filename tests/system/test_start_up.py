"""A mistake is answered before anything heavy is imported: libraries are counted here, not
seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WATCHED = (
    "torch",
    "lightning_fabric",
    "torchvision",
    "matplotlib",
    "pandas",
    "sklearn",
    "wandb",
    "e2cnn",
    "pooch",
)
SCRIPT = """
import io, json, runpy, sys
from contextlib import redirect_stderr, redirect_stdout
from hydra.core.global_hydra import GlobalHydra
report = []
for words in json.loads(sys.argv[1]):
    GlobalHydra.instance().clear()
    before, out, err = set(sys.modules), io.StringIO(), io.StringIO()
    sys.argv = ["main.py", *words]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            runpy.run_path(MAIN, run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    report.append([code, out.getvalue(), err.getvalue(), [m for m in WATCHED if m in sys.modules]])
print(json.dumps(report))
"""
WITHOUT_TORCH = (
    ["--help"],
    ["train.epoch=3"],
    ["net=resnet"],
    ["--no-such-flag"],
    ["seed=x"],
    ["scale=huge"],
    ["table=augerino/mario_iggy"],
    ["paths.out=null"],
    ["net.group=${nothing}"],
)
WITH_TORCH_ALONE = (
    ["train.epochs=three"],
    ["dataset=mnist", "dataset.train_size=-5"],
    ["base_group=se2", "net=conv5"],
    ["net.learn=[rotations]"],
    ["net=e2_steerable", "net.order=1"],
    ["mode=test"],
    ["train/optimizer=sgd", "train.optimizer.momentum=0"],
)


def test_a_mistake_is_answered_before_anything_heavy_is_imported(tmp_path):
    """One process after another would pay for torch each time; in one process, each command can
    only add to what is there."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"MAIN, WATCHED = {str(ROOT / 'main.py')!r}, {WATCHED!r}\n{SCRIPT}",
            json.dumps(WITHOUT_TORCH + WITH_TORCH_ALONE),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    help_, *mistakes = report
    assert help_[0] == 0
    assert "LearnSym" in help_[1]
    for word in (
        "experiment",
        "dataset",
        "net/backbone",
        "table",
        "augerino",
        "--cfg job",
        "mode=test checkpoint=",
    ):
        assert word in help_[1], word
    for words, (code, _, error, modules) in zip(
        WITHOUT_TORCH + WITH_TORCH_ALONE, report, strict=True
    ):
        if words != ["--help"]:
            assert code == 2, words
            assert error.startswith("error: "), words
        assert modules == ([] if words in WITHOUT_TORCH else ["torch"]), words
    assert len(mistakes) == len(WITHOUT_TORCH) + len(WITH_TORCH_ALONE) - 1
    assert list(tmp_path.iterdir()) == [], "nothing is written for a command that was refused"


def test_every_group_has_its_key():
    """learnsym.config.build knows the groups by name, to refuse keys that no group has."""
    from learnsym.config.validate import GROUPS

    without_a_key = {"experiment", "table", "launcher", "kind"}
    assert {p.name for p in (ROOT / "cfg").iterdir() if p.is_dir()} == set(GROUPS) | without_a_key
