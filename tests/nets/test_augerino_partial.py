"""Augerino on a learned part of the rotations: which copies it averages, what moves them, what it
promises and refuses."""

import math

import pytest
import torch
from torch import nn

from learnsym.analysis.transforms import mirror_images, quarter_turns
from learnsym.distributions.base import learned_symmetry, symmetry_parameters
from learnsym.distributions.sampling import FullSampling, PartialSampling
from learnsym.groups.actions import rotate_images
from learnsym.groups.planar import E2, SE2, Translation2
from learnsym.groups.point_groups import DiscreteIsometries
from learnsym.kernels.siren import SIREN
from learnsym.nets.augerino_partial import PartialAugerino
from learnsym.nets.ckresnet import CKResNet


def backbone(outputs: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, outputs)
    ).double()


def images(count: int = 5) -> torch.Tensor:
    return torch.rand(
        count, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


def made(group=None, **settings) -> PartialAugerino:
    return PartialAugerino(
        backbone(), group or SE2(), PartialSampling(**{"samples": 4} | settings)
    ).double()


def test_in_evaluation_it_is_an_explicit_mean_of_logits_over_an_arc():
    net, x = made(initial_arc=0.5).eval(), images()
    angles = [
        math.pi * u for u in (-0.25, 0.25)
    ]  # ceil(4 theta) = 2 on an arc of half a turn, in the middle of their intervals
    turned = [
        net.backbone(rotate_images(x, torch.full((5,), a, dtype=torch.float64))) for a in angles
    ]
    torch.testing.assert_close(net(x), sum(turned) / 2, rtol=0, atol=1e-12)
    assert (turned[0] - turned[1]).abs().max() > 1e-3


@pytest.mark.parametrize("sets", ["layer", "image"])
def test_one_offset_for_the_batch_or_for_each_image(sets):
    net, x = made(sample_sets=sets).train(), images()[:1].expand(5, -1, -1, -1)
    outputs = net(x)
    assert (
        (outputs[0] - outputs[1]).abs().max() < 1e-12
        if sets == "layer"
        else (outputs[0] - outputs[1]).abs().max() > 1e-4
    )
    assert (outputs - net(x)).abs().max() > 1e-4, "the next batch has another"


@pytest.mark.parametrize(
    ("group", "conv", "moves"),
    [
        (SE2(), FullSampling(samples=8), quarter_turns()),
        (SE2(), PartialSampling(samples=4), quarter_turns()),
        (E2(), FullSampling(samples=8), quarter_turns() | mirror_images()),
        (DiscreteIsometries(4, True), FullSampling(), quarter_turns() | mirror_images()),
    ],
    ids=["all of se2", "the whole circle", "all of e2", "d4"],
)
def test_over_the_whole_circle_the_output_is_invariant(group, conv, moves):
    net, x = PartialAugerino(backbone(), group, conv).double().eval(), images()
    for name, move in moves.items():
        assert (net(move(x)) - net(x)).abs().max() < 1e-12, name
        assert (net.backbone(move(x)) - net.backbone(x)).abs().max() > 1e-3


def test_theta_has_the_gradient_of_the_mean():
    """Central differences through the fixed set of an evaluation, within an interval where the
    number of elements stays."""
    net, x = made(initial_arc=0.6).eval(), images()
    (found,) = torch.autograd.grad(net(x).square().sum(), net.augmentation.theta)
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            net.augmentation.theta.fill_(0.6 + step)
            values.append(float(net(x).square().sum()))
    assert float(found) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)
    assert abs(float(found)) > 1e-3


def test_absent_mirror_images_are_left_out_of_the_mean():
    net, x = made(E2(), samples=8, initial_keep=0.3).train(), images(200)
    seen = []
    net.augmentation.register_forward_hook(lambda module, inputs, out: seen.append(out))
    outputs = net(x)
    (elements,) = seen
    assert elements.weight.shape == (200, 8)
    assert float(elements.weight[:, 4:].detach().mean()) == pytest.approx(0.3, abs=0.05)
    for i in range(3):
        kept = [k for k in range(8) if elements.weight[i, k] == 1]
        copies = []
        for k in kept:
            picture = x[i : i + 1].flip(-1) if elements.sign[k] < 0 else x[i : i + 1]
            # A rotation after the mirror image; where y runs down a positive angle is clockwise on
            # the screen.
            copies.append(
                net.backbone(rotate_images(picture, -elements.angle[k].detach().expand(1)))[0]
            )
        torch.testing.assert_close(outputs[i], torch.stack(copies).mean(0), rtol=0, atol=1e-10)
    outputs.square().sum().backward()
    assert net.augmentation.logits.grad.abs().max() > 0
    assert net.eval()(x).shape == (200, 4)
    assert len(seen[-1]) == 4, "in evaluation, what is less likely than not is left out"


def test_what_is_learned_and_reported():
    net = made(E2(), samples=8, initial_keep=0.8807970779778823, initial_arc=0.7)
    assert len(symmetry_parameters(net)) == 2
    told = learned_symmetry(net)["augmentation"]
    assert told["rotation"]["value"] == pytest.approx(0.7)
    assert told["reflection"]["value"] == pytest.approx(1 / (1 + math.exp(-2)))
    full = PartialAugerino(backbone(), SE2(), FullSampling())
    assert not symmetry_parameters(full)
    assert not learned_symmetry(full)["augmentation"]["rotation"]["learned"]


def test_it_adds_the_published_number_of_parameters():
    planar = CKResNet(1, 10, Translation2(), FullSampling(), SIREN())
    net = PartialAugerino(planar, SE2(), PartialSampling(samples=8))
    assert sum(p.numel() for p in net.parameters()) == 450_075


def test_wrong_arguments_are_named():
    with pytest.raises(
        ValueError, match="net=augerino_partial around a backbone that is not planar"
    ):
        PartialAugerino(CKResNet(2, 3, SE2(), FullSampling(), SIREN()), SE2(), FullSampling())
    with pytest.raises(ValueError, match=r"task=segmentation: net=augerino_partial"):
        PartialAugerino(backbone(), SE2(), FullSampling(), "segmentation")
    with pytest.raises(ValueError, match="has nothing to learn on translation2"):
        PartialAugerino(backbone(), Translation2(), PartialSampling())
