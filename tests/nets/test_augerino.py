"""Augerino: the average over a learned distribution of transformations."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learnsym.distributions.base import learned_symmetry, penalty, symmetry_parameters
from learnsym.groups.base import LieGroup
from learnsym.groups.planar import E2, SE2, Affine2, Rotation2
from learnsym.groups.spatial import Affine3
from learnsym.nets.augerino import Augerino


def backbone(outputs: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, outputs))


def images(count: int = 5) -> torch.Tensor:
    return torch.rand(count, 2, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("training", [True, False])
def test_the_average_is_an_explicit_loop(task, training):
    net = Augerino(
        backbone(), Affine2(), task, initial_width=0.8, train_copies=2, test_copies=3
    ).train(training)
    x, copies = images(), 2 if training else 3
    torch.manual_seed(7)
    found = net(x)
    torch.manual_seed(7)
    transformed = net.augment(x, copies)
    assert transformed.shape == (5 * copies, 2, 8, 8)
    for i in range(5):
        outputs = [
            net.backbone(transformed[copies * i + j : copies * i + j + 1])[0] for j in range(copies)
        ]
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
    assert spread[1] == pytest.approx(
        spread[0] / 4, rel=0.5
    )  # independent draws: one over the root of 16


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
    assert penalty(net).item() == pytest.approx(
        -0.1 * (3.0 if regulariser == "norm" else 9.0), rel=1e-6
    )
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
    line = LieGroup({"translation_x": torch.zeros(2, 2)}, units=("",))
    with pytest.raises(
        ValueError,
        match=r"images need a group of the plane and point clouds one of space; .* 1 dimensions",
    ):
        Augerino(backbone(), line)
    with pytest.raises(
        ValueError,
        match=r"Affine3.* transforms point clouds \[B, N, 3 \+ C\], not .* \[5, 2, 8, 8\]",
    ):
        Augerino(backbone(), Affine3())(images())
    with pytest.raises(
        ValueError, match=r"Affine2.* transforms images \[B, C, H, W\], not .* \[5, 7, 5\]"
    ):
        Augerino(MeanOfPoints(), Affine2())(clouds()[0])


# --- point clouds


class MeanOfPoints(nn.Module):
    """[B, N, 3 + 2] -> [B, 3]: the mean over the points that are there of a layer of coordinates
    and features."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(5, 3)

    def forward(self, points):
        there = (points[..., 3:] != 0).any(-1, keepdim=True)
        return torch.where(there, self.layer(points).tanh(), 0.0).sum(1) / there.sum(1)


def clouds():
    """Five clouds of 3 to 7 points with two features, padded to 7, and which points are there."""
    draws = torch.Generator().manual_seed(1)
    there = torch.arange(7) < torch.tensor([7, 3, 5, 4, 6])[:, None]
    return torch.randn(5, 7, 5, generator=draws) * there[..., None], there


def test_the_coordinates_of_points_are_moved_and_nothing_else():
    net = Augerino(MeanOfPoints(), Affine3(), "regression", initial_width=1.0)
    x, there = clouds()
    torch.manual_seed(4)
    found = net.augment(x, 3)
    torch.manual_seed(4)
    elements = net.augmentation.sample(15)
    assert found.shape == (15, 7, 5)
    for k in range(15):
        for point in range(7):
            before = x[k // 3, point]
            moved = elements[k] @ torch.cat([before[:3], torch.ones(1)])
            expected = (
                torch.cat([moved[:3], before[3:]]) if there[k // 3, point] else torch.zeros(5)
            )
            torch.testing.assert_close(found[k, point], expected, atol=1e-5, rtol=1e-5)


def test_the_average_over_moved_points_is_an_explicit_loop():
    net = Augerino(MeanOfPoints(), Affine3(), "regression", initial_width=0.8, test_copies=3).eval()
    x, _ = clouds()
    torch.manual_seed(7)
    found = net(x)
    torch.manual_seed(7)
    moved = net.augment(x, 3).unflatten(0, (5, 3))
    torch.testing.assert_close(
        found,
        torch.stack([net.backbone(moved[:, j]) for j in range(3)]).mean(0),
        atol=1e-6,
        rtol=1e-5,
    )
    still = Augerino(MeanOfPoints(), Affine3(), "regression", learn=[], initial_width=0.0).eval()
    torch.testing.assert_close(still(x), still.backbone(x), atol=1e-6, rtol=1e-5)


def test_all_twelve_widths_have_a_gradient():
    net = Augerino(MeanOfPoints(), Affine3(), "regression", initial_width=0.5, regularisation=0.0)
    net(clouds()[0]).square().sum().backward()
    assert net.augmentation.raw_widths.grad.shape == (12,)
    assert net.augmentation.raw_widths.grad.abs().min() > 0
    assert len(learned_symmetry(net)["augmentation"]) == 12


def test_a_centred_box_leaves_a_cloud_where_it_is_on_average_and_the_published_one_does_not():
    """With u in [0, w] the determinant of the mean map is above one: no undistorted molecule is
    seen."""
    for center, low, high in ((True, 0.9, 1.5), (False, 4.0, 9.0)):
        net = Augerino(MeanOfPoints(), Affine3(), "regression", initial_width=1.0, center=center)
        torch.manual_seed(0)
        mean = net.augmentation.sample(20_000).mean(0)
        assert low < torch.linalg.det(mean[:3, :3]).item() < high


def test_the_squares_of_all_widths_are_rewarded_below_the_cap():
    net = Augerino(
        MeanOfPoints(),
        Affine3(),
        "regression",
        1e-3,
        "squares",
        initial_width=math.log1p(math.exp(0.54)),
    )
    assert penalty(net).item() == pytest.approx(-1e-3 * 12 * math.log1p(math.exp(0.54)) ** 2)


def test_without_a_cap_every_width_is_rewarded():
    capped, free = (
        Augerino(MeanOfPoints(), Affine3(), "regression", 1e-3, initial_width=20.0, width_cap=c)
        for c in (10.0, None)
    )
    assert penalty(capped).item() == 0
    assert penalty(free).item() == pytest.approx(-1e-3 * 20 * 12**0.5, rel=1e-4)


def test_bfloat16_keeps_positions_precise():
    net = Augerino(MeanOfPoints(), Affine3(), "regression", initial_width=1.0)
    seen = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            seen.append(net.augment(clouds()[0]))
    assert torch.equal(seen[0], seen[1])
