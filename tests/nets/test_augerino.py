"""Augerino: the average over a learned distribution of transformations."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learnsym.distributions.base import learned_symmetry, penalty, symmetry_parameters
from learnsym.groups.base import LieGroup
from learnsym.groups.planar import E2, SE2, Affine2, Rotation2
from learnsym.nets.augerino import Augerino


def backbone(outputs: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, outputs))


def images(count: int = 5) -> torch.Tensor:
    return torch.rand(count, 2, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("training", [True, False])
def test_the_average_is_an_explicit_loop(task, training):
    net = Augerino(backbone(), Affine2(), task, initial_width=0.8, train_copies=2, test_copies=3).train(training)
    x, copies = images(), 2 if training else 3
    torch.manual_seed(7)
    found = net(x)
    torch.manual_seed(7)
    transformed = net.augment(x, copies)
    assert transformed.shape == (5 * copies, 2, 8, 8)
    for i in range(5):
        outputs = [net.backbone(transformed[copies * i + j : copies * i + j + 1])[0] for j in range(copies)]
        if task == "classification":
            outputs = [F.log_softmax(o, -1) for o in outputs]
        assert torch.allclose(found[i], sum(outputs) / copies, atol=1e-5)


def test_copies_differ_and_belong_to_their_image():
    net = Augerino(backbone(), Rotation2(), initial_width=2.0)
    x = images()
    copies = net.augment(x, 3).unflatten(0, (5, 3))
    assert (copies[:, 0] - copies[:, 1]).abs().flatten(1).max(1).values.min() > 0.05
    still = Augerino(backbone(), Rotation2(), learn=[], initial_width=0.0).augment(x, 3)
    assert torch.allclose(still, x.repeat_interleave(3, 0), atol=1e-6)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_without_width_it_is_the_backbone(task):
    net = Augerino(backbone(), E2(), task, learn=[], initial_width=0.0, reflection=0.0).eval()
    expected = net.backbone(images())
    if task == "classification":
        expected = F.log_softmax(expected, -1)
    assert torch.allclose(net(images()), expected, atol=1e-5)


def test_a_seed_repeats_the_evaluation_and_another_does_not():
    net = Augerino(backbone(), Affine2(), initial_width=1.0).eval()

    def answer(seed):
        torch.manual_seed(seed)
        with torch.inference_mode():
            return net(images())

    assert torch.equal(answer(1), answer(1))
    assert not torch.allclose(answer(1), answer(2))


def test_gradients_reach_every_width_and_weight():
    net = Augerino(backbone(), Affine2(), initial_width=0.5)
    F.nll_loss(net(images()), torch.tensor([0, 1, 2, 3, 0])).backward()
    assert all(p.grad.abs().min() > 0 for p in symmetry_parameters(net))
    assert all(p.grad.abs().max() > 0 for p in net.backbone.parameters())
    assert len(symmetry_parameters(net)) == 1


def test_more_copies_agree_better():
    net = Augerino(backbone(), Rotation2(), "regression", initial_width=3.0, test_copies=1).eval()
    x = images(1).expand(64, -1, -1, -1)
    spread = []
    for net.test_copies in (1, 16):
        torch.manual_seed(0)
        spread.append(net(x).std(0).mean().item())
    assert spread[1] == pytest.approx(spread[0] / 4, rel=0.5)  # independent draws: one over the root of 16


@pytest.mark.parametrize(("regulariser", "expected"), [("norm", 5.0), ("squares", 25.0)])
def test_penalty(regulariser, expected):
    net = Augerino(
        backbone(),
        SE2(),
        regularisation=0.1,
        regulariser=regulariser,
        learn=["translation_x", "translation_y"],
        initial_widths={"translation_x": 3.0, "translation_y": 4.0, "rotation": 1.0},
    )
    assert penalty(net).item() == pytest.approx(-0.1 * expected, rel=1e-6)
    with torch.no_grad():
        net.augmentation.raw_widths[1] = 11.0
    assert penalty(net).item() == pytest.approx(-0.1 * (3.0 if regulariser == "norm" else 9.0), rel=1e-6)
    penalty(net).backward()
    assert net.augmentation.raw_widths.grad[0] < 0  # descent on the loss widens it
    assert net.augmentation.raw_widths.grad[1] == 0


def test_what_was_learned_is_reported():
    net = Augerino(backbone(), Affine2(), initial_widths={"rotation": math.pi / 2})
    found = learned_symmetry(net)["augmentation"]
    assert found["rotation"]["value"] == pytest.approx(math.pi / 2)
    assert found["scale"]["value"] == pytest.approx(0.00671535, rel=1e-5)


def test_bfloat16_keeps_the_transformation_and_the_average_precise():
    net = Augerino(backbone(), Affine2(), initial_width=1.0).eval()
    seen = []
    net.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    answers = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            answers.append(net(images()))
    assert torch.equal(seen[0], seen[1])
    assert answers[1].dtype == torch.float32
    assert torch.allclose(answers[0], answers[1], atol=0.05)


def test_double_precision():
    net = Augerino(backbone(), Affine2(), initial_width=1.0).double()
    assert net(images().double()).dtype == torch.float64


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="test_copies=0"):
        Augerino(backbone(), Affine2(), test_copies=0)
    spatial = LieGroup({"translation_z": torch.zeros(4, 4)}, units=("",))
    with pytest.raises(ValueError, match="group of the plane"):
        Augerino(backbone(), spatial)
