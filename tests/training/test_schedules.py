"""The learning rate, step by step, against formulas written out here."""

import math

import pytest
import torch

from learnsym.training.schedules import Constant, Cosine, Multistep, Plateau

STEPS, EPOCHS = 5, 8


def rates(schedule, lr=0.2, epochs=EPOCHS):
    """The rate at which every step is taken."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    stepper = schedule.attach(optimizer, STEPS, epochs)
    found = []
    for _ in range(epochs * STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        stepper.step()
    return found, optimizer.param_groups[0]["lr"]


def test_constant():
    assert rates(Constant())[0] == [0.2] * 40


@pytest.mark.parametrize("schedule", [Constant, Cosine, Multistep])
def test_warm_up_is_linear_and_moves_from_the_first_step(schedule):
    found, _ = rates(schedule(warmup_epochs=2))
    assert found[:10] == pytest.approx([0.2 * (k + 1) / 10 for k in range(10)])
    assert max(found) == pytest.approx(0.2)


def test_a_fraction_of_an_epoch_warms_up():
    found, _ = rates(Constant(warmup_epochs=0.6))
    assert found == pytest.approx([0.2 / 3, 0.4 / 3] + [0.2] * 38)


def test_cosine():
    found, end = rates(Cosine(minimum=0.02))
    assert found == pytest.approx(
        [0.02 + 0.18 * (1 + math.cos(math.pi * k / 40)) / 2 for k in range(40)]
    )
    assert end == pytest.approx(0.02)
    assert rates(Cosine())[1] == pytest.approx(0.0, abs=1e-12)


def test_cosine_after_a_warm_up():
    found, end = rates(Cosine(warmup_epochs=2, minimum=0.02))
    assert found[10:] == pytest.approx(
        [0.02 + 0.18 * (1 + math.cos(math.pi * k / 30)) / 2 for k in range(30)]
    )
    assert end == pytest.approx(0.02)


def test_the_minimum_is_a_rate_for_every_group():
    """Two groups of different rates end at the same minimum."""
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [{"params": [parameters[0]]}, {"params": [parameters[1]], "lr": 0.01}], lr=0.2
    )
    stepper = Cosine(minimum=0.001).attach(optimizer, 1, 4)
    for _ in range(4):
        optimizer.step()
        stepper.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.001, 0.001])


def test_multistep():
    found, _ = rates(Multistep(milestones=(2, 5), gamma=0.1))
    assert found == pytest.approx([0.2] * 10 + [0.02] * 15 + [0.002] * 15)


def test_plateau_against_a_count_by_hand():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    stepper = Plateau(gamma=0.5, patience=2, minimum=0.04).attach(optimizer, STEPS, EPOCHS)
    losses = [1.0, 0.8, 0.8, 0.9, 0.85, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
    rate, best, bad, expected, found = 0.2, math.inf, 0, [], []
    for loss in losses:
        best, bad = (loss, 0) if loss < best else (best, bad + 1)
        if bad > 2:
            rate, bad = max(rate * 0.5, 0.04), 0
        expected.append(rate)
        optimizer.step()
        stepper.step(loss)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx(expected)
    assert found[-1] < 0.1, "the list of losses must make it fall twice"


def test_the_training_steps_them(make):
    """In a training: per step where it is per step, per epoch with the validation loss where it is
    per epoch."""
    training = make(schedule=Cosine(minimum=0.001), epochs=4)
    training.fit()
    # 20 examples in batches of 8: 3 steps an epoch; the row has the rate after the epoch's last
    # step.
    assert [row["lr"] for row in training.recorder.rows] == pytest.approx(
        [0.001 + 0.009 * (1 + math.cos(math.pi * k / 4)) / 2 for k in (1, 2, 3, 4)]
    )
    plateau = make(
        schedule=Plateau(patience=1, gamma=0.5),
        epochs=6,
        folder="other",
        optimizer=lambda p: torch.optim.SGD(p, lr=1e-9),
    )
    plateau.fit()
    # Nothing moves but batch norm's statistics, so the validation loss decides alone.
    assert plateau.schedule.best == pytest.approx(
        min(row["val_loss"] for row in plateau.recorder.rows), rel=1e-3
    )


def test_plateau_has_no_warm_up():
    with pytest.raises(ValueError, match="warmup_epochs=3"):
        Plateau(warmup_epochs=3)
