"""Wrong command lines: each is answered by one sentence that says what was found and what would be
right, and loses nothing."""

import gzip
import json
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import check_one_sentence
from filelock import FileLock

ROOT = Path(__file__).parents[2]

MEASURED = "analysis.distance_to_equivariance=true"
RESNET = ["net=ckresnet", "base_group=se2"]
PLANAR = "net.backbone.group._target_=learnsym.groups.planar."

# What is typed, and what the sentence must hold: the key with its value, and something that would
# be valid.
SETTINGS = [
    # Names that do not exist.
    (["sed=0"], ["sed", "did you mean seed?"]),
    (["train.epoch=3"], ["train.epoch", "did you mean train.epochs?"]),
    (["net.backbone.wdth=3"], ["net.backbone.wdth", "did you mean net.backbone.width?"]),
    (
        ["train.optimizer.learning_rate=1"],
        ["train.optimizer.learning_rate", "Valid: lr, weight_decay"],
    ),
    (["net.backbone.width.x=3"], ["net.backbone.width.x", "a single value"]),
    (["+new.key=3"], ["new", "Valid: analysis, "]),
    (["++train.extra=3"], ["train.extra", "Valid: batch_size"]),
    (["+paths.more=a"], ["paths.more", "Valid: data, out"]),
    (["~train.epochs"], ["train.epochs is missing"]),
    (["hydra.nothing=3"], ["hydra.nothing"]),
    (["-m", "seed=0,1", "sed=2"], ["sed", "did you mean seed?"]),
    # What cannot be read.
    (["seed"], ["'seed'", "key=value"]),
    (["=3"], ["'=3'", "key=value"]),
    (["net.regularisation=[1"], ["net.regularisation=[1", "key=value"]),
    (["+seed=3"], ["append", "'seed'"]),
    (["--no-such-flag"], ["--no-such-flag", "--hydra-help"]),
    (["seed=0", "-m", "train.epochs=1,2"], ["train.epochs=1,2", "-m come before"]),
    (["seed=0,1"], ["seed=0,1", "-m"]),
    (["scale=${nothing}"], ["scale", "'nothing' not found"]),
    (["net.group=${base_grup}"], ["net.group", "'base_grup' not found"]),
    # Wrong types.
    (["train.epochs=three"], ["train.epochs=three", "valid integer"]),
    (["train.epochs=2.5"], ["train.epochs=2.5", "valid integer"]),
    (["train.optimizer.lr=fast"], ["train.optimizer.lr=fast", "valid number"]),
    (["dataset.train_size=null"], ["dataset.train_size=null", "valid integer"]),
    (["seed=x"], ["seed=x", "valid integer"]),
    (["debug=maybe"], ["debug=maybe", "valid boolean"]),
    (["paths.out=null"], ["paths.out=null", "valid string"]),
    (["net.learn=rotation"], ["net.learn=rotation", "array", "'all'"]),
    (
        ["train/schedule=multistep", "train.schedule.milestones=[a]"],
        ["train.schedule.milestones[0]=['a']", "valid integer"],
    ),
    (["train.schedule=null"], ["train.schedule=null", "train/schedule=<choice>", "cosine"]),
    (
        ["net.backbone=conv5"],
        ["net.backbone=conv5", "net/backbone=<choice>", "conv13, conv5, gcnn, ", "simple_conv"],
    ),
    # Sizes and ranges.
    (["train.epochs=-1"], ["train.epochs=-1", "greater than 0"]),
    (["train.batch_size=0"], ["train.batch_size=0", "greater than 0"]),
    (["dataset.train_size=-5"], ["dataset.train_size=-5", "greater than 0"]),
    (["net.backbone.width=-2"], ["net.backbone.width=-2", "greater than 0"]),
    (["seed=-1"], ["seed=-1", "greater than or equal to 0"]),
    (["net.initial_width=-1"], ["net.initial_width=-1", "greater than or equal to 0"]),
    (["train.clip_norm=0"], ["train.clip_norm=0", "greater than 0"]),
    (
        ["net/backbone=conv5", "net.backbone.dropout=1.5"],
        ["net.backbone.dropout=1.5", "less than or equal to 1"],
    ),
    (["train.optimizer.lr=-0.1"], ["train.optimizer", "-0.1"]),
    (["trainer.nodes=0"], ["trainer.nodes=0", "greater than 0"]),
    (["trainer.nodes=2"], ["trainer.nodes=2", "torchrun", "Try trainer.nodes=1."]),
    (["trainer.devices=0"], ["trainer.devices=0", "greater than 0"]),
    (["runs=7"], ["runs=7", "valid string"]),
    (["runs=runs/*"], ["runs=runs/*", "no effect with mode=train"]),
    # Choices.
    (["scale=huge"], ["scale=huge", "'full', 'cpu' or 'smoke'"]),
    (
        ["net=resnet"],
        [
            "net=resnet",
            "Valid: augerino, augerino_partial, c4_conv, ckresnet, conv13, conv5, e2_steerable, "
            "gcnn, ",
        ],
    ),
    (["net=null"], ["net=null", "Valid: augerino"]),
    (["net/backbone=vgg"], ["net/backbone=vgg", "Valid: ckresnet, conv13"]),
    (["dataset=sprite"], ["dataset=sprite", "did you mean sprites?"]),
    (["train/optimizer=lion"], ["train/optimizer=lion", "Valid: adam, sgd"]),
    (["train/schedule=exp"], ["train/schedule=exp", "Valid: constant, cosine, multistep, plateau"]),
    (["mode=trian"], ["mode=trian", "did you mean train?"]),
    (
        ["mode=matrix", "mode.nets=[resnet]"],
        ["mode.nets: there is no resnet", "valid: augerino, augerino_partial, c4_conv, "],
    ),
    (["mode=matrix", "seed=1"], ["seed=1 would have no effect with mode=matrix"]),
    (["logger=csv"], ["logger=csv", "Valid: jsonl, tensorboard, wandb"]),
    (["launcher=local_"], ["launcher=local_", "did you mean local?"]),
    (["launcher=joblib"], ["launcher=joblib would have no effect", "-m"]),
    (["-m", "launcher=joblib", "hydra.launcher.jobs=2", "seed=0,1"], ["hydra.launcher.jobs"]),
    (
        ["-m", "launcher=joblib", "hydra.launcher.n_jobs=two", "seed=0,1"],
        ["hydra.launcher.n_jobs=two", "Integer"],
    ),
    (
        ["-m", "launcher=slurm", "hydra.launcher.partitio=gpu", "seed=0,1"],
        ["hydra.launcher.partitio"],
    ),
    (
        ["-m", "launcher=ray", "hydra.launcher.num_gpus=one", "seed=0,1"],
        ["hydra.launcher.num_gpus=one", "Float"],
    ),
    (
        ["-m", "hydra/sweeper=optuna", "seed=0,1"],
        ["hydra/sweeper=optuna is not supported", "net.regularisation=0.01,0.03,0.1"],
    ),
    (
        ["base_group=su2"],
        [
            "base_group=su2",
            "Valid: affine2, affine3, cn, dn, e2, permutation, quarter_turns, rotation2, se2, se3, "
            "shift_turns, shift_x,",
            "shift_xy, so3, t3, translation2, trivial3",
        ],
    ),
    (["trainer=fast"], ["trainer=fast", "Valid: default"]),
    (["paths=here"], ["paths=here", "Valid: default"]),
    (["train=long"], ["train=long", "Valid: default"]),
    (
        ["experiment=augerino/mario"],
        ["experiment=augerino/mario", "did you mean augerino/mario_iggy?"],
    ),
    (["table=augerino/nothing"], ["table=augerino/nothing", "augerino/rotmnist"]),
    (["-m", "net=augerino,nothing"], ["net=nothing", "Valid: augerino"]),
    (["dataset.augment=spin"], ["dataset.augment=spin", "'flip'"]),
    (["trainer.precision=16"], ["trainer.precision=16", "'32-true'", "'bf16-mixed'"]),
    (["trainer.accelerator=tpu"], ["trainer.accelerator=tpu", "'auto', 'cpu'"]),
    (["net=e2_steerable", "net.group=XN"], ["net.group=XN", "'CN', 'DN', 'SO2' or 'O2'"]),
    # Combinations that make no sense.
    (["base_group=se2", "net=simple_conv"], ["base_group=se2", "no effect", "net=augerino"]),
    (
        ["base_group.translation_scale=1", "net=conv5"],
        ["base_group.translation_scale=1", "no effect", "net=augerino"],
    ),
    (
        ["net.learn=[rotations]"],
        ["rotations", "translation_x, translation_y, rotation, scale, stretch, shear"],
    ),
    (
        ["+net.initial_widths.rot=1"],
        ["rot", "translation_x, translation_y, rotation, scale, stretch, shear"],
    ),
    (["net.reflection=0.5"], ["reflection=0.5", "Affine2"]),
    (["checkpoint=x.pt"], ["checkpoint=x.pt", "mode=train", "mode=test"]),
    (["mode=test"], ["mode=test", "checkpoint="]),
    (["mode=report"], ["mode=report needs runs=<pattern>", "runs='runs/*'"]),
    (["mode=report", "runs=runs/*", "seed=1"], ["seed=1 would have no effect with mode=report"]),
    (["table=augerino/mario_iggy"], ["table=augerino/mario_iggy", "-m table=augerino/mario_iggy"]),
    # Group convolutions: settings that do not go together.
    (["net=ckresnet"], ["base_group: Affine2", "valid: base_group=cn", "base_group=se2"]),
    (["net=ckresnet", "base_group=rotation2"], ["base_group: Rotation2", "valid: base_group=cn"]),
    (["conv=full"], ["conv=full would have no effect", "net=ckresnet"]),
    (
        ["kernel.hidden=8", "net=simple_conv"],
        ["kernel.hidden=8 would have no effect", "net=ckresnet"],
    ),
    (
        [*RESNET, "conv.sample_sets=network", "conv.sampling=random"],
        ["sample_sets=network", "sample_sets=layer or image"],
    ),
    ([*RESNET, "conv.sample_sets=network"], ["sample_sets=network", "sample_sets=layer or image"]),
    (
        [*RESNET, "conv.sampling=deterministic", "conv.sample_sets=layer"],
        ["sampling=deterministic", "sample_sets=network"],
    ),
    (
        [*RESNET, "conv.sampling=deterministic", "conv.sample_sets=image"],
        ["sampling=deterministic", "sample_sets=network"],
    ),
    (
        [*RESNET, "net.learnable_final_pooling=true", "net.final_spatial_dim=2"],
        ["learnable_final_pooling=true", "conv=full"],
    ),
    ([*RESNET, "conv=full", "net.monotonic_decay=0.1"], ["monotonic_decay=0.1", "conv=partial"]),
    ([*RESNET, "conv.initial_arc=1.5"], ["conv.initial_arc=1.5", "less than or equal to 1"]),
    ([*RESNET, "kernel=magnet", "kernel.omega0=3"], ["omega0"]),
    (
        ["net=ckresnet", "base_group=translation2"],
        ["nothing to learn on translation2", "conv=full"],
    ),
    (["net=ckresnet", "base_group=cn", "conv.samples=5"], ["samples=5", "leave samples null"]),
    (
        ["net/backbone=ckresnet", PLANAR + "SE2"],
        ["backbone that is not planar", "translation2", "net=ckresnet"],
    ),
    (["mode=width_sweep", "net=simple_conv"], ["mode=width_sweep", "net=augerino"]),
    (
        ["mode=width_sweep", "mode.generator=stretch"],
        ["mode.generator=stretch", "it learns rotation"],
    ),
    (["mode=width_sweep", "mode.raw_low=5", "mode.raw_high=1"], ["raw_low=5", "below raw_high=1"]),
    (["net=e2_steerable", "net.order=1"], ["order is 1", "at least 2"]),
    (["net=e2_steerable", "net.group=SO2"], ["max_frequency", "SO2"]),
    (["net=e2_steerable", "net.max_frequency=2"], ["max_frequency is 2", "null"]),
    (["train/optimizer=sgd", "train.optimizer.momentum=0"], ["train.optimizer", "momentum"]),
    (["train/schedule=plateau", "train.schedule.warmup_epochs=3"], ["warmup_epochs=3", "Try 0"]),
    # A distance that is not known, or a setting of it that nothing asks for.
    (
        ["analysis.group=shift_x"],
        ["analysis.group=shift_x", "no effect", "analysis.distance_to_equivariance=true"],
    ),
    (["analysis.group=turns"], ["analysis.group=turns", "'shift_x', 'shift_xy', 'quarter_turns'"]),
    ([MEASURED, "mode=test", "checkpoint=none.pt"], ["none.pt"]),
    (
        [*RESNET, MEASURED],
        ["lift of CKResNet is a LiftingConv", "Conv2d, Linear and normalisation layers"],
    ),
    (
        ["net=e2_steerable", MEASURED],
        ["features.0 of E2Steerable is a SteerableConv", "Conv2d, Linear and normalisation"],
    ),
    # What a config must not be able to call.
    (
        ["net._target_=os.system"],
        ["net._target_=os.system", "learnsym", "torch.nn, torch.optim, torchvision.models"],
    ),
    (["net._target_=torch.hub.load"], ["net._target_=torch.hub.load", "only classes of learnsym"]),
    (
        ["net._target_=torch.nn.functional.relu"],
        ["net._target_=torch.nn.functional.relu", "expected a class"],
    ),
    (["net._target_=learnsym.nowhere.X"], ["net._target_=learnsym.nowhere.X", "no such class"]),
    (["train.optimizer._target_=torch.nn.Linear"], ["train.optimizer", "Linear", "Optimizer"]),
    (["net.backbone._target_=learnsym.groups.planar.SE2"], ["net.backbone", "SE2", "Module"]),
    (["+net.in_channels=3"], ["net.in_channels", "supplied by the run"]),
    # Files that are not there.
    (["dataset=npz"], ["dataset.file", "Missing"]),
    (["dataset=npz", "dataset.file=none.npz"], ["dataset.file", "none.npz"]),
    (["dataset=mario_iggy", "paths.data=none"], ["mario_iggy_images.npz", "none", "paths.data"]),
    (["dataset=mnist"], ["train-images-idx3-ubyte.gz", "paths.data"]),
    (["dataset=cifar10"], ["cifar-10-python.tar.gz", "paths.data"]),
    (["dataset=rotmnist"], ["rotmnist", "dataset.source=mnist"]),
    (["dataset=folder", "dataset.path=nowhere"], ["nowhere", "sub-folder"]),
    (["mode=test", "checkpoint=none.pt"], ["none.pt", "no such file"]),
]


@pytest.mark.parametrize(
    ("words", "parts"), SETTINGS, ids=lambda v: " ".join(v) if isinstance(v, list) else None
)
def test_a_wrong_command_is_answered_in_one_sentence(main, no_network, tiny, words, parts):
    # Tiny, so that a command that is not refused after all does not train for a minute; -m must
    # stay in front.
    sized = [
        w
        for w in tiny
        if w.startswith(("train.", "dataset.")) and w.split("=")[0] not in " ".join(words)
    ]
    unsized = {"dataset=", "train=", "seed=0 -m", "mode=matrix"}
    extra = (
        [] if any(u in " ".join(words) for u in unsized) or words == ["~train.epochs"] else sized
    )
    check_one_sentence(main(*words, *extra), 2, *parts)


def test_there_are_forty_of_them():
    assert len(SETTINGS) >= 40


@pytest.mark.parametrize(
    "group",
    [
        "analysis",
        "base_group",
        "dataset",
        "launcher",
        "logger",
        "mode",
        "net",
        "paths",
        "train",
        "trainer",
    ],
)
def test_every_group_lists_its_choices(main, group):
    options = sorted(p.stem for p in (ROOT / "cfg" / group).glob("[!_]*.yaml"))
    check_one_sentence(
        main(f"{group}=nothing_like_it"),
        2,
        f"{group}=nothing_like_it",
        f"Valid: {', '.join(options)}.",
    )


# --- files that are corrupt, or not what they should be


def hostile(path):
    """A checkpoint that would execute code when unpickled."""

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(path.parent / "executed"),)

    torch.save({"format": 1, "net": Bomb()}, path)


def truncated(path):
    torch.save({"format": 1, "net": {"w": torch.zeros(5000)}}, path)
    path.write_bytes(path.read_bytes()[:9000])


CHECKPOINTS = {
    "truncated": (truncated, "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read"),
    "text": (lambda path: path.write_text("no checkpoint"), "cannot be read"),
    "bare pickle": (lambda path: path.write_bytes(pickle.dumps({"format": 1})), "cannot be read"),
    "hostile": (hostile, "cannot be read"),
    "somebody else's": (
        lambda path: torch.save({"state_dict": {}}, path),
        "not a LearnSym checkpoint",
    ),
    "of another format": (lambda path: torch.save({"format": 99}, path), "format 1"),
    "without config": (lambda path: torch.save({"format": 1, "net": {}}, path), "configuration"),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_checkpoint_that_is_none(main, tmp_path, kind):
    make, part = CHECKPOINTS[kind]
    make(tmp_path / "bad.pt")
    check_one_sentence(main("mode=test", "checkpoint=bad.pt"), 2, "bad.pt", part)
    assert not (tmp_path / "executed").exists()


def npz(path, **arrays):
    np.savez(path, **arrays)


IMAGES = np.zeros((8, 1, 12, 12), np.uint8)
FILES = {
    "corrupt": (lambda p: p.write_bytes(b"PK\x03\x04 no archive"), "corrupt"),
    "text": (lambda p: p.write_text("images"), "a .npz file"),
    "objects": (
        lambda p: npz(p, images=np.array([{}], object), labels=np.arange(1)),
        "pickled objects",
    ),
    "no labels": (lambda p: npz(p, images=IMAGES), "labels"),
    "too few labels": (lambda p: npz(p, images=IMAGES, labels=np.arange(3)), "8 whole numbers"),
    "labels below 0": (lambda p: npz(p, images=IMAGES, labels=np.arange(8) - 1), "from 0"),
    "out of range": (lambda p: npz(p, images=IMAGES + 1e3, labels=np.arange(8)), "[0, 1]"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_data_file_that_is_none(main, tmp_path, kind):
    make, part = FILES[kind]
    make(tmp_path / "bad.npz")
    check_one_sentence(
        main("dataset=npz", "dataset.file=bad.npz", "train.epochs=1"), 2, "bad.npz", part
    )


def test_a_corrupt_idx_file(main, tmp_path, no_network):
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03 far too short"))
    check_one_sentence(main("dataset=mnist", "train.epochs=1"), 2, "ubyte.gz")


def test_an_image_too_small_for_the_network(main, tmp_path):
    np.savez(
        tmp_path / "small.npz", images=np.zeros((20, 3, 3), np.uint8), labels=np.arange(20) % 2
    )
    done = main("dataset=npz", "dataset.file=small.npz", "train.epochs=1", "train.batch_size=4")
    check_one_sentence(done, 2, "SimpleConv", "3")


# --- runs that fail on their way


def test_a_diverging_run_keeps_what_it_has(main, tiny):
    """Three good epochs, then the continued training diverges: rows and checkpoint stay as they
    were."""
    from learnsym.training.loop import Training

    original = Training._train_epoch

    def diverge(self):
        row = original(self)
        return row if self.progress.epoch < 2 else row | {"train_loss": float("nan")}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_train_epoch", diverge)
        done = main(*tiny, "train.epochs=4")
    check_one_sentence(done, 1, "train_loss is nan in epoch 3", "train.optimizer.lr")
    (folder,) = Path("runs").iterdir()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    state = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    assert state["progress"]["epoch"] == 2
    assert "train_loss is nan" in (folder / "error.txt").read_text()
    again = main(*tiny, "train.epochs=4")
    assert again.code == 0
    assert "continuing after epoch 2" in again.out
    assert not (folder / "error.txt").exists()


def test_an_absurd_learning_rate(main, tiny):
    check_one_sentence(
        main(*tiny, "train.optimizer.lr=1e30"), 1, "train_loss is nan", "train.optimizer.lr"
    )


@pytest.mark.parametrize("where", ["last.pt", "metrics.jsonl", "result.json"])
def test_a_full_disk(main, tiny, monkeypatch, where):
    """Writing `where` fails in the second epoch (result.json: at the end); what was there stays,
    and the run can go on."""
    real, calls = os.fsync, {"count": 0}

    def fsync(descriptor):
        target = os.readlink(f"/proc/self/fd/{descriptor}")
        if where in target:
            calls["count"] += 1
            if calls["count"] > (0 if where == "result.json" else 1):
                raise OSError(28, "No space left on device")
        return real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        done = main(*tiny)
    check_one_sentence(done, 1, where, "No space left on device")
    (folder,) = Path("runs").iterdir()
    assert not list(folder.rglob("*.partial"))
    assert (
        torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["progress"]["epoch"] >= 1
    )
    again = main(*tiny)
    assert again.code == 0, again.err
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]


def test_a_folder_that_cannot_be_written(main, tiny, tmp_path):
    (tmp_path / "a_file").write_text("not a folder")
    check_one_sentence(main(*tiny, "paths.out=a_file"), 1, "a_file", "cannot be written")


def test_a_run_that_another_process_is_at(main, tiny):
    folder = main(*tiny).directory
    before = (folder / "result.json").read_bytes()
    with FileLock(folder / ".lock"):
        check_one_sentence(main(*tiny, "fresh=true"), 1, str(folder), "another process")
    assert (folder / "result.json").read_bytes() == before


def test_a_result_that_cannot_be_read(main, tiny):
    folder = main(*tiny).directory
    (folder / "result.json").write_text("{")
    check_one_sentence(main(*tiny), 1, "result.json", "fresh=true")
    assert main(*tiny, "fresh=true").code == 0


def test_a_last_checkpoint_that_is_torn(main, tiny):
    folder = main(*tiny).directory
    (folder / "result.json").unlink()
    path = folder / "checkpoints" / "last.pt"
    path.write_bytes(path.read_bytes()[:3000])
    check_one_sentence(main(*tiny), 2, "last.pt", "fresh=true")
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2, (
        "nothing is thrown away before the user says so"
    )


def test_a_checkpoint_of_another_network(main, tiny):
    folder = main(*tiny).directory
    done = main("mode=test", f"checkpoint={folder}/checkpoints/last.pt", "net.backbone.width=3")
    check_one_sentence(done, 2, "last.pt", "does not fit")


@pytest.mark.parametrize("word", [MEASURED, "analysis.group=shift_x"])
def test_a_distance_that_is_not_measured_from_a_checkpoint(main, tiny, word):
    folder = main(*tiny).directory
    done = main("mode=test", f"checkpoint={folder}/checkpoints/last.pt", word)
    check_one_sentence(done, 2, f"{word} would have no effect with mode=test", "mode=train")


def test_a_gpu_that_is_not_there(main, tiny):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    check_one_sentence(main(*tiny, "trainer.accelerator=cuda"), 2, "trainer.accelerator=cuda")


def test_something_unforeseen_is_one_sentence_too(main, tiny, monkeypatch):
    """The traceback goes to error.txt; an exit code of 1."""
    from learnsym.data.images.sprites import Sprites

    def broken(self, *args, **kwargs):
        raise AssertionError("a bug")

    monkeypatch.setattr(Sprites, "prepare", broken)
    check_one_sentence(main(*tiny), 1, "AssertionError", "a bug", "error.txt")
    (folder,) = Path("runs").iterdir()
    assert "Traceback" in (folder / "error.txt").read_text()


# --- real processes


def test_in_processes_of_their_own(process):
    """Exit code and standard error as the shell sees them."""
    check_one_sentence(process("train.epoch=3"), 2, "did you mean train.epochs?")
    check_one_sentence(process("base_group=se2", "net=conv5"), 2, "no effect")


def test_a_disk_that_is_really_full(tmp_path, tiny):
    """No file may grow beyond 12 kB: the first checkpoint cannot be written."""

    def limit():
        import signal

        signal.signal(
            signal.SIGXFSZ, signal.SIG_IGN
        )  # so that write() fails, as it does on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))

    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *tiny],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "last.pt" in line
    assert "Traceback" not in done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert not list(folder.rglob("*.partial"))
