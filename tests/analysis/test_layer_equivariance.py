"""Errors layer by layer: nothing but rounding where a layer is equivariant, and the action of
motions on features as on paper."""

import copy
import math

import pytest
import torch

from learnsym.analysis.layer_equivariance import (
    LOGITS,
    captured,
    error_metrics,
    even_and_double,
    feature_error,
    inscribed_disc,
    layer_errors,
    rotated_features,
    sampled_kernel,
)
from learnsym.analysis.transforms import Rotation
from learnsym.data.images.digits import Digits
from learnsym.distributions.sampling import FullSampling, PartialSampling
from learnsym.groups.planar import E2, SE2, Translation2
from learnsym.groups.point_groups import DiscreteIsometries, Elements
from learnsym.kernels.siren import SIREN
from learnsym.nets.ckresnet import CKResNet
from learnsym.nets.gcnn import GCNN

TURNS = [Rotation(90.0), Rotation(180.0), Rotation(270.0)]
MIRRORS = [Rotation(0.0, mirror=True), Rotation(90.0, mirror=True)]
LAYERS = ["lift", "blocks.0.conv1", "blocks.0.conv2", "blocks.0", "last", LOGITS]


def resnet(group, conv=None, **options):
    torch.manual_seed(0)
    conv = conv or FullSampling()
    sizes = {"channels": 2, "block_width_factors": (1, 1), "kernel_size": 3, "pool_blocks": ()}
    net = CKResNet(1, 3, group, conv, SIREN(hidden=4), **sizes | options).double()
    for bias in (
        p for name, p in net.named_parameters() if name.endswith("bias") and "kernel" not in name
    ):
        torch.nn.init.normal_(bias)
    return net.eval()


def images(side=9):
    return torch.randn(
        2, 1, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


@pytest.mark.parametrize(
    ("group", "motions"),
    [
        (SE2(), TURNS),
        (DiscreteIsometries(4), TURNS),
        (E2(), TURNS + MIRRORS),
        (DiscreteIsometries(4, mirror=True), TURNS + MIRRORS),
    ],
)
def test_full_networks_commute_in_every_layer(group, motions):
    """The sign of the turn, the permutation of elements and the turn of space are all right, or
    this would fail."""
    net = even_and_double(resnet(group).float())
    for motion in motions:
        rows = layer_errors(net, images(), motion)
        assert list(rows) == LAYERS
        for name, row in rows.items():
            assert row["error"] < 1e-10, (motion, name)
            assert row["error_of_maximum"] < 1e-10, (motion, name)
            assert row["compared"] == row["elements"] == (1 if name == LOGITS else net.plan.samples)


def test_the_network_with_thirteen_layers_too():
    torch.manual_seed(0)
    kernel = SIREN(hidden=4)
    sizes = {"channels": 2, "block_width_factors": (1, 2), "pool_blocks": (), "dropout_blocks": ()}
    rows = layer_errors(
        GCNN(1, 3, SE2(), FullSampling(), kernel, **sizes).double().eval(), images(), Rotation(90.0)
    )
    assert list(rows) == ["lift", "convs.0", "convs.1", LOGITS]
    assert all(row["error"] < 1e-10 for row in rows.values())


def test_the_group_is_what_makes_them_commute():
    """A planar network errs in every layer, a cyclic one under mirror images, and a trained-looking
    output shows it."""
    planar, cyclic = (
        layer_errors(resnet(Translation2()), images(), TURNS[0]),
        layer_errors(resnet(SE2()), images(), MIRRORS[0]),
    )
    assert min(row["error_of_maximum"] for name, row in planar.items() if name != LOGITS) > 0.01
    assert min(row["error_of_maximum"] for name, row in cyclic.items() if name != LOGITS) > 0.01
    assert planar["lift"]["error"] is None, "a quarter turn is not in the trivial group"
    assert cyclic["lift"]["compared"] == 0, "the mirror images are not in SE(2)"
    assert planar[LOGITS]["error"] > 1e-6


def test_partial_layers_compare_what_pairs_up():
    """On half of the circle (4 of 8 elements at +-22.5 and +-67.5 degrees) a half turn leaves none,
    a quarter turn two."""
    net = resnet(SE2(), PartialSampling(initial_arc=0.5))
    half, quarter = (
        layer_errors(net, images(), Rotation(180.0)),
        layer_errors(net, images(), Rotation(90.0)),
    )
    for name in ("blocks.0.conv1", "last"):
        assert (half[name]["compared"], half[name]["error"]) == (0, None)
        assert (quarter[name]["compared"], quarter[name]["elements"]) == (2, 4)
        assert half[name]["error_of_maximum"] > 0.01
    assert half["lift"]["error"] < 1e-10
    assert quarter["blocks.0.conv1"]["error"] < 1e-10, "the lifting is whole: what pairs up agrees"
    assert quarter["blocks.0.conv2"]["error"] > 0.01
    metrics = error_metrics({"180deg": half})
    assert "equivariance_error_180deg/lift" in metrics
    assert "equivariance_error_180deg/last" not in metrics
    assert "equivariance_error_of_maximum_180deg/lift" not in metrics
    assert metrics["equivariance_error_of_maximum_180deg/last"] == half["last"]["error_of_maximum"]


def test_a_known_error_is_measured():
    """One pixel of one element, of four that are turned by 90 degrees each, is off by its own
    size."""
    elements = Elements(torch.arange(4).double() * math.pi / 2, torch.ones(4, dtype=torch.float64))
    features = torch.ones(1, 1, 4, 5, 5, dtype=torch.float64)
    moved = features.clone()
    moved[0, 0, 2, 0, 0] = 2.0
    row = feature_error(features, moved, Rotation(90.0), elements)
    assert row["error"] == pytest.approx(0.1)
    assert row["error_of_maximum"] == pytest.approx(0.2)
    outside = feature_error(features, moved, Rotation(45.0), elements)
    assert outside["error"] is None
    assert outside["error_of_maximum"] == pytest.approx(0.0), (
        "a corner leaves the picture as it turns"
    )


def test_elements_are_found_across_the_cut():
    angles = torch.tensor([-3.0, -1.0, 1.0, 3.0], dtype=torch.float64) * math.pi / 4
    elements = Elements(angles, torch.ones(4, dtype=torch.float64))
    # g is the turn by -90 degrees in coordinates with y down, so that g^-1 h is h turned by +90.
    assert Rotation(90.0).preimages(elements).tolist() == [1, 2, 3, 0]
    assert Rotation(45.0).preimages(elements).tolist() == [-1] * 4
    mirrored = Elements(
        angles[[1, 2, 1, 2]], torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    )
    assert Rotation(0.0, mirror=True).preimages(mirrored).tolist() == [3, 2, 1, 0]


def test_other_angles_are_bounded_by_interpolation():
    """At 45 degrees the elements pair up; smooth images leave a small error, a wrong permutation
    would leave one near 1."""
    from blobs import blobs

    net = resnet(SE2(), channels=4, kernel_size=5)
    rows = layer_errors(net, blobs(2, 1, 33), Rotation(45.0), blobs(2, 1, 33, 45.0))
    assert rows["lift"]["compared"] == 8
    assert rows["lift"]["error"] < 0.35
    assert inscribed_disc(5, 5).sum() == 13
    unmoved = layer_errors(net, images(), Rotation(180.0), transformed=images())
    assert unmoved["lift"]["error"] > 0.1, "given pictures are used as they are"


def test_kernels_and_feature_maps_are_those_of_the_layer():
    net, data = resnet(E2()), Digits(test_size=4)
    x = data.splits["test"].inputs[:1].float()
    with captured(net) as found, torch.no_grad():
        net(data.prepare(x).double())
    kernel, elements = sampled_kernel(net, "lift", data.prepare(x).double())
    assert kernel.shape == (2, 8, 1, 1, 3, 3)
    assert len(elements) == 8
    by_hand = torch.nn.functional.conv2d(
        data.prepare(x).double(), kernel[:, :, 0, 0].flatten(0, 1)[:, None], padding=1
    )
    by_hand = by_hand.view(1, 2, 8, 8, 8) + net.lift.bias[:, None, None, None]
    torch.testing.assert_close(by_hand, found["lift"][0])
    angles, pictures, features, _ = rotated_features(net, data, x, "blocks.0")
    assert list(angles) == list(range(0, 360, 45))
    channel = [c for c in range(2) if torch.allclose(features[0], found["blocks.0"][0][0, c])]
    assert len(channel) == 1
    torch.testing.assert_close(pictures[2], torch.rot90(x[0], 1, (-2, -1)))
    assert not net.lift._forward_hooks, "no hook is left"


def test_random_evaluation_is_measured_with_even_sets():
    net = resnet(SE2(), FullSampling(evaluation="random", sample_sets="network"))
    assert layer_errors(even_and_double(net), images(), Rotation(90.0))["last"]["error"] < 1e-10
    assert net(images()).dtype == torch.float64
    assert not net.lift.elements.even_evaluation, "a copy was changed"


def test_the_network_is_left_alone():
    net = resnet(SE2())
    before = copy.deepcopy(net.state_dict())
    layer_errors(net, images(), Rotation(30.0))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not [m for m in net.modules() if m._forward_hooks]
