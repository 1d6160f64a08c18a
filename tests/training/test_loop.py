"""The loop in parts: parameter groups, clipping, sums, evaluation, checkpoints, when it ends."""

import math
import os
import pickle
import random
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from learnsym.distributions.base import LearnedSymmetry, parameter_groups
from learnsym.distributions.sampling import PartialSampling
from learnsym.distributions.uniform_lie_algebra import UniformLieAlgebra
from learnsym.errors import CheckpointError, RunError
from learnsym.groups.planar import E2, SE2
from learnsym.kernels.siren import SIREN
from learnsym.nets.ckresnet import CKResNet
from learnsym.training import checkpoint
from learnsym.training.tasks import Classification, Regression


class WithWidths(nn.Module):
    """A network beside a learned box: the widths get no gradient but the penalty's."""

    def __init__(self):
        super().__init__()
        self.box = UniformLieAlgebra(SE2(), initial_width=0.5)
        self.linear = nn.Linear(36, 3)

    def forward(self, x):
        return self.linear(x.flatten(1))

    def penalty(self):
        return -0.1 * self.box.norm()


# --- groups of parameters


def test_widths_have_a_group_of_their_own_without_decay():
    net = WithWidths()
    weights, widths = parameter_groups(net, 0.5)
    assert [id(p) for p in weights["params"]] == [id(p) for p in net.linear.parameters()]
    assert [id(p) for p in widths["params"]] == [id(net.box.raw_widths)]
    optimizer = torch.optim.Adam([weights, widths], lr=0.01, weight_decay=0.3)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (0.01, 0.3),
        (0.5, 0.0),
    ]
    same = torch.optim.Adam(parameter_groups(net, None), lr=0.01, weight_decay=0.3)
    assert [(g["lr"], g["weight_decay"]) for g in same.param_groups] == [(0.01, 0.3), (0.01, 0.0)]
    assert len(parameter_groups(nn.Linear(2, 2), 0.5)) == 1


def test_theta_and_omega0_have_their_own_rates():
    net = CKResNet(1, 3, SE2(), PartialSampling(), SIREN(hidden=4, learn_omega0=True), channels=2)
    groups = parameter_groups(net, 0.5, 0.25)
    assert [(len(g["params"]), g.get("lr")) for g in groups[1:]] == [
        (5, 0.5),
        (8, 0.25),
    ]  # 5 arcs; 6 kernels and 2 shortcuts
    assert all(g["weight_decay"] == 0 for g in groups[1:])
    found = [id(p) for g in groups for p in g["params"]]
    assert sorted(found) == sorted(id(p) for p in net.parameters())


def test_the_loop_projects_and_anneals_at_the_start_and_after_every_step(make):
    net = Gated()
    make(net, epochs=2, symmetry_lr=5.0).fit()
    assert net.fractions == pytest.approx([k / 6 for k in range(7)])
    assert 0 <= float(net.share.detach()) <= 1
    assert net.outside > 0, "no step has left the interval: the test shows nothing"


class Gated(LearnedSymmetry):
    """Counts what the loop calls."""

    def __init__(self):
        super().__init__()
        self.linear, self.share = nn.Linear(36, 3), nn.Parameter(torch.tensor(0.5))
        self.fractions, self.outside = [], 0

    def forward(self, x):
        return self.linear(x.flatten(1)) * self.share

    def anneal(self, fraction):
        self.fractions.append(fraction)

    @torch.no_grad()
    def project(self):
        self.outside += not 0 <= float(self.share) <= 1
        self.share.clamp_(0, 1)

    def ranges(self):
        return []


def test_decay_does_not_reach_the_widths(make):
    """With no reward, nothing moves them; decay would pull the raw widths to 0."""
    net = WithWidths()
    net.penalty = lambda: torch.zeros(())
    before = net.box.raw_widths.detach().clone()
    weights = net.linear.weight.detach().norm()
    make(net=net, optimizer=lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=1.0)).fit()
    assert torch.equal(net.box.raw_widths.detach(), before)
    assert net.linear.weight.detach().norm() < weights


def test_the_penalty_is_part_of_what_is_minimised(make):
    """A reward of wide distributions widens, at the widths' own learning rate."""
    net = WithWidths()
    training = make(
        net=net, symmetry_lr=0.5, optimizer=lambda p: torch.optim.SGD(p, lr=0.0), epochs=1
    )
    raw = net.box.raw_widths.detach().clone().double().requires_grad_()
    for _ in range(3):
        loss = -0.1 * torch.nn.functional.softplus(raw).norm()
        (gradient,) = torch.autograd.grad(loss, raw)
        raw = (raw - 0.5 * gradient).detach().requires_grad_()
    training.fit()
    torch.testing.assert_close(
        net.box.raw_widths.detach().double(), raw.detach(), rtol=1e-6, atol=1e-6
    )
    assert training.recorder.rows[0]["learned_rotation_width_rad"] > 0.5


# --- steps


@pytest.mark.parametrize(("clip", "expected"), [(0.01, 0.01), (None, None)])
def test_the_gradient_is_clipped_in_norm(make, clip, expected):
    net, norms = make.net(), []

    class Spy(torch.optim.SGD):
        def step(self, closure=None):
            norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in net.parameters())))
            return super().step(closure)

    make(net=net, clip_norm=clip, optimizer=lambda p: Spy(p, lr=0.1), epochs=1).fit()
    assert len(norms) == 3
    if expected:
        assert norms == pytest.approx([expected] * 3, rel=1e-3)
    else:
        assert min(norms) > 0.05


def test_an_epoch_sees_every_example_once_in_another_order(make):
    training, seen = make(), []
    original = training.data.prepare

    def prepare(inputs, train=False, rows=None):
        if train:
            seen.append(inputs.flatten(1).double().sum(1))
        return original(inputs, train)

    training.data.prepare = prepare
    training.fit()
    epochs = [torch.cat(seen[k : k + 3]) for k in (0, 3, 6)]
    everything = training.data.splits["train"].inputs.flatten(1).double().sum(1).sort().values
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, everything)
    assert not torch.equal(epochs[0], epochs[1])
    assert [row["step"] for row in training.recorder.rows] == [3, 6, 9]
    assert training.recorder.ticks == 9


@pytest.mark.parametrize(("limit", "epochs", "steps"), [(4, 2, 4), (3, 1, 3), (100, 3, 9)])
def test_max_steps(make, limit, epochs, steps):
    training = make(max_steps=limit)
    progress = training.fit()
    assert (progress.epoch, progress.step) == (epochs, steps)


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(make):
    training = make(epochs=5)
    original = training._train_epoch
    training._train_epoch = lambda: (
        original() | ({"train_loss": math.nan} if training.progress.epoch == 2 else {})
    )
    with pytest.raises(RunError, match="train_loss is nan in epoch 3"):
        training.fit()
    assert checkpoint.load(training.folder / "last.pt")["progress"]["epoch"] == 2
    assert len(training.recorder.rows) == 2


def test_bfloat16(make):
    training = make(precision="bf16-mixed", epochs=2)
    training.fit()
    assert all(p.dtype == torch.float32 for p in training.plain_net.parameters())
    assert math.isfinite(training.recorder.rows[-1]["val_loss"])


def test_channels_last_gives_the_same_numbers(make):
    seen = []
    rows = []
    for channels_last in (False, True):
        net = make.net()
        net[0].register_forward_hook(lambda _, inputs, out: seen.append(inputs[0].stride()))
        training = make(
            net,
            folder=f"{channels_last}",
            machine={"channels_last": channels_last},
            precision="64-true",
            epochs=2,
        )
        training.fit()
        rows.append(training.recorder.rows)
    assert seen[0] == (36, 36, 6, 1)
    assert seen[-1][1] == 1, "channels are innermost"
    for plain, turned in zip(*rows, strict=True):
        assert turned == pytest.approx(plain, rel=1e-9)


@pytest.mark.long
@pytest.mark.skipif(
    not shutil.which("c++") and not shutil.which("g++"),
    reason="torch.compile wants a C++ compiler on a CPU",
)
@pytest.mark.parametrize("draws", [False, True])
def test_compiled_training_gives_the_same_numbers(make, draws):
    """Those too that a network draws."""
    rows = []
    for compiled in (False, True):
        net = make.net()
        if draws:
            net.insert(3, nn.Dropout(0.5))
        # Not Adam, which makes steps of the rounding in the gradient of a bias before a batch norm.
        sgd = partial(torch.optim.SGD, lr=0.1)
        training = make(
            net, folder=f"{compiled}", machine={"compile": compiled}, epochs=2, optimizer=sgd
        )
        training.fit()
        assert set(training.state()["net"]) == set(net.state_dict()), "no prefix in a checkpoint"
        rows.append(training.recorder.rows)
    for plain, fused in zip(*rows, strict=True):
        assert fused == pytest.approx(plain, rel=1e-5)


def test_it_learns(make):
    training = make(epochs=30)
    training.fit()
    assert training.evaluate("test")["accuracy"] >= 0.9


# --- sums and evaluation


@pytest.mark.parametrize("task", [Classification(), Regression(unit="deg", mean=2.0)])
def test_sums_add_up_over_batches(task):
    torch.manual_seed(0)
    outputs = torch.randn(23, 4)
    targets = (
        torch.randint(4, (23,)) if isinstance(task, Classification) else torch.randn(23, 4) + 2
    )
    whole = task.sums(outputs, targets)
    parts = task.init_sums(torch.device("cpu"))
    for index in torch.arange(23).split(5):
        parts = parts + task.sums(outputs[index], targets[index])
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-6)
    metrics = task.metrics(whole.tolist())
    assert metrics["loss"] == pytest.approx(float(task.loss(outputs, targets)), rel=1e-5)
    if isinstance(task, Classification):
        assert metrics["accuracy"] == pytest.approx(
            float((outputs.argmax(1) == targets).float().mean())
        )
    else:
        assert metrics["mse_deg2"] == metrics["loss"]
        assert metrics["mae_deg"] == pytest.approx(
            float((outputs - targets).abs().mean()), rel=1e-5
        )
        assert metrics["mse_over_predicting_mean"] == pytest.approx(
            float((outputs - targets).square().mean() / (targets - 2.0).square().mean()), rel=1e-5
        )


class Noisy(nn.Module):
    """A network that draws in evaluation too, as Augerino does."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(36, 3)

    def forward(self, x):
        return self.linear(x.flatten(1)) + torch.randn(len(x), 3)


def test_evaluation_is_repeatable_and_leaves_the_random_numbers_alone(make):
    training = make(net=Noisy())
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = training.evaluate("val")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert training.evaluate("val") == first
    assert make(net=training.plain_net, seed=1, folder="b").evaluate("val") != first, (
        "another seed, other draws"
    )


def test_evaluation_leaves_the_network_alone(make):
    training = make()
    before = {k: v.clone() for k, v in training.plain_net.state_dict().items()}
    training.evaluate("test")
    assert all(torch.equal(v, before[k]) for k, v in training.plain_net.state_dict().items())


# --- checkpoints


def test_the_best_validation_epoch_is_kept(make):
    """Validation accuracies are dictated; the first of equal ones wins."""
    training = make(epochs=5)
    dictated = iter([0.2, 0.6, 0.5, 0.6, 0.4])
    weights = []

    def evaluate(name):
        weights.append(training.plain_net[4].weight.detach().clone())
        return {"loss": 1.0, "accuracy": next(dictated)}

    training.evaluate = evaluate
    progress = training.fit()
    assert (progress.best, progress.best_epoch) == (0.6, 2)
    best, last = (checkpoint.load(training.folder / name) for name in ("best.pt", "last.pt"))
    assert torch.equal(best["net"]["4.weight"], weights[1])
    assert torch.equal(last["net"]["4.weight"], weights[4])


def test_without_validation_there_is_no_best(make):
    training = make(data=make.data(val=0))
    training.fit()
    assert not (training.folder / "best.pt").exists()
    assert "val_loss" not in training.recorder.rows[0]


def test_resuming_is_exact(make):
    whole = make(epochs=6)
    whole.fit()
    first = make(epochs=6, folder="stopped")
    original = first._train_epoch

    def stop():
        if first.progress.epoch == 3:
            raise KeyboardInterrupt
        return original()

    first._train_epoch = stop
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    second = make(epochs=6, folder="stopped", net=make.net(seed=5))
    second.fit()
    assert [row["epoch"] for row in second.recorder.rows] == [4, 5, 6]
    assert second.recorder.rows == whole.recorder.rows[3:]
    for key, value in whole.plain_net.state_dict().items():
        assert torch.equal(second.plain_net.state_dict()[key], value)


def test_every_generator_comes_back():
    state = checkpoint.random_state()
    drawn = torch.rand(3), np.random.rand(3), random.random(), random.gauss(0, 1)  # noqa: NPY002
    checkpoint.set_random_state(state)
    again = torch.rand(3), np.random.rand(3), random.random(), random.gauss(0, 1)  # noqa: NPY002
    assert torch.equal(drawn[0], again[0])
    assert (drawn[1] == again[1]).all()
    assert drawn[2:] == again[2:]


def test_a_checkpoint_survives_the_file(tmp_path):
    state = {
        "net": {"w": torch.arange(3)},
        "random": checkpoint.random_state(),
        "progress": {"epoch": 2, "best": None},
    }
    checkpoint.save(tmp_path / "a" / "c.pt", state)
    back = checkpoint.load(tmp_path / "a" / "c.pt")
    assert torch.equal(back["net"]["w"], torch.arange(3))
    assert back["progress"] == state["progress"]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["c.pt"]


def test_a_file_that_carries_code_is_refused_and_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    path = tmp_path / "bomb.pt"
    torch.save({"format": 1, "net": Bomb()}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(path)
    assert not (tmp_path / "executed").exists()


def test_a_failed_save_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"n": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        checkpoint.save(path, {"n": 2})
    assert checkpoint.load(path)["n"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_a_checkpoint_of_another_network_is_refused(make):
    make(epochs=1).fit()
    with pytest.raises(CheckpointError, match="does not fit"):
        make(epochs=1, net=nn.Sequential(nn.Flatten(), nn.Linear(36, 3))).fit()


def test_a_partial_network_resumes_exactly(make):
    """Arcs, gates and their temperature, sets per image: two epochs and two more are four."""

    def training(folder, **recipe):
        torch.manual_seed(0)
        sampling = PartialSampling(samples=4, sample_sets="image", initial_arc=0.8)
        net = CKResNet(
            1, 3, E2(), sampling, SIREN(hidden=4), channels=2, kernel_size=3, pool_blocks=()
        )
        torch.manual_seed(1)
        return make(net, folder=folder, symmetry_lr=0.1, **recipe)

    whole = training("whole", epochs=4)
    whole.fit()
    half = training("parts", epochs=4)
    half.epochs = 2
    half.fit()
    torch.manual_seed(77)
    rest = training("parts", epochs=4)
    rest.fit()
    assert rest.progress.step == whole.progress.step
    found, expected = rest.plain_net.state_dict(), whole.plain_net.state_dict()
    assert not [name for name in expected if not torch.equal(found[name], expected[name])]
    moved = [name for name in expected if name.endswith(("theta", "logits"))]
    start = training("start", epochs=4).plain_net.state_dict()
    assert all(not torch.equal(expected[name], start[name]) for name in moved)
    assert len(moved) == 10
