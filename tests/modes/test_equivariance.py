"""One ruler for all networks: what is built in measures nothing but rounding, what is not measures
more, nothing is disturbed."""

import copy

import pytest
import torch
from torch import nn

from learnsym.analysis.layer_equivariance import (
    LOGITS,
    error_metrics,
    errors_on_data,
    even_and_double,
    layer_errors,
)
from learnsym.analysis.transforms import PixelPermutation, Rotation, transforms_of
from learnsym.data.images.digits import Digits
from learnsym.data.images.graphs import Graphs
from learnsym.data.molecules.toy import ToyMolecules
from learnsym.distributions.sampling import FullSampling
from learnsym.dynamics.projected_linear import ProjectedLinear
from learnsym.errors import ConfigError
from learnsym.groups.permutation import CyclicShifts1d, SymmetricGroup
from learnsym.groups.planar import SE2
from learnsym.groups.point_groups import DiscreteIsometries
from learnsym.kernels.siren import SIREN
from learnsym.nets.augerino import Augerino
from learnsym.nets.ckresnet import CKResNet
from learnsym.nets.e2_steerable import E2Steerable
from learnsym.nets.lieconv import LieConvNet
from learnsym.nets.plain_cnn import SimpleConv

CPU = torch.device("cpu")


class Pointwise(nn.Module):
    """Convolutions of one pixel and a mean: plain layers that commute with everything that moves
    pixels."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, images):
        return self.head(self.second(self.first(images).relu()).relu().mean((2, 3)))


def images(side=9):
    return torch.rand(
        3, 1, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


@pytest.mark.parametrize(
    "group", ["rotation", "shift_x", "shift_xy", "quarter_turns", "shift_turns", "permutation"]
)
def test_pointwise_layers_follow_every_motion(group):
    torch.manual_seed(0)
    for motion in transforms_of(group, (90.0,), True, (1, 9, 9)):
        rows = layer_errors(Pointwise().double(), images(), motion)
        assert list(rows) == ["first", "second", LOGITS]
        assert max(row["error"] for row in rows.values()) < 1e-12, motion


@pytest.mark.parametrize("group", ["rotation", "shift_x", "permutation"])
def test_a_plain_convolution_does_not(group):
    torch.manual_seed(0)
    (motion, *_) = transforms_of(group, (90.0,), False, (1, 9, 9))
    rows = layer_errors(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(324, 2)).double(),
        images(),
        motion,
    )
    assert rows["0"]["error"] > 0.05
    assert rows[LOGITS]["error"] > 0.05


def test_a_circular_convolution_follows_shifts_alone():
    conv = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).double()
    for group, equal in (("shift_x", True), ("shift_xy", True), ("shift_turns", False)):
        (motion,) = transforms_of(group, (), False, (1, 9, 9))
        assert (layer_errors(conv, images(), motion)["0"]["error"] < 1e-12) is equal


def test_maps_of_another_side_are_left_out_where_the_group_acts_on_one_side():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(3), nn.Conv2d(2, 2, 1), nn.Flatten()
    ).double()
    (shift,) = transforms_of("shift_x", (), False, (1, 9, 9))
    assert list(layer_errors(net, images(), shift)) == ["0", LOGITS]
    assert list(layer_errors(net, images(), Rotation(90.0))) == ["0", "2", LOGITS]


def test_each_image_is_moved_by_an_element_of_its_own():
    shift = PixelPermutation(CyclicShifts1d(9), "shift_x")
    moved = shift(images())
    found = [
        next(k for k in range(9) if torch.equal(m, image.roll(k, -1)))
        for m, image in zip(moved, images(), strict=True)
    ]
    assert len(set(found)) > 1


def test_group_convolutions_are_compared_with_their_elements_in_place():
    torch.manual_seed(0)
    sizes = {"channels": 2, "block_width_factors": (1, 1), "kernel_size": 3, "pool_blocks": ()}
    net = CKResNet(1, 3, DiscreteIsometries(4), FullSampling(), SIREN(hidden=4), **sizes)
    (shift,) = transforms_of("shift_xy", (), False, (1, 9, 9))
    rows = layer_errors(even_and_double(net), images(), shift)
    assert rows["lift"]["compared"] == rows["lift"]["elements"] == 4
    assert rows["lift"]["error"] > 1e-3, "zeros are padded, and shifts are cyclic"
    (turns, *_) = transforms_of("quarter_turns", (), False, (1, 9, 9))
    assert layer_errors(even_and_double(net), images(), turns)["lift"]["error"] < 1e-10


def augerino(width, copies=64):
    torch.manual_seed(0)
    return Augerino(
        SimpleConv(1, 3, width=4),
        SE2(),
        learn=["rotation"],
        initial_width=width,
        test_copies=copies,
    )


def test_augerino_is_measured_with_its_average_and_its_backbone_alone():
    """A wide box of rotations makes the whole network more invariant than its backbone is; no box
    leaves it as it is."""
    picture = torch.zeros(3, 1, 17, 17, dtype=torch.float64)
    picture[:, :, 4:13, 4:13] = images()
    none, wide = (
        layer_errors(even_and_double(augerino(w)), picture, Rotation(90.0)) for w in (1e-6, 6.2832)
    )
    assert next(iter(wide)).startswith("backbone.")
    assert "backbone" in wide
    assert none["backbone"]["error"] > 1e-3
    assert wide["backbone"]["error"] == none["backbone"]["error"]
    assert wide[LOGITS]["error"] < 0.5 * none[LOGITS]["error"]


def freed(net):
    """Weights that are no longer equivariant."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))


def test_masks_move_with_the_image():
    torch.manual_seed(0)
    net = (
        ProjectedLinear(1, 2, "segmentation", CyclicShifts1d(6), channels=(2,), features=None)
        .double()
        .eval()
    )
    assert (
        layer_errors(net, images(6), PixelPermutation(CyclicShifts1d(6), "shift_x"))[LOGITS][
            "error"
        ]
        < 1e-6
    ), "drawn in float32"
    assert layer_errors(net, images(6), Rotation(90.0))[LOGITS]["error"] > 0.1
    freed(net)
    assert (
        layer_errors(net, images(6), PixelPermutation(CyclicShifts1d(6), "shift_x"))[LOGITS][
            "error"
        ]
        > 0.1
    )


def test_steerable_networks():
    torch.manual_seed(0)
    net = E2Steerable(1, 3, fields=2, hidden=4)
    assert errors_on_data(net, Digits(train_size=10, test_size=4), [Rotation(90.0)], 3, CPU)[
        "90deg"
    ].keys() == {LOGITS}


@pytest.mark.parametrize(("group", "equal"), [("so3", True), ("t3", False)])
def test_molecules_turn_about_axes_of_their_own(group, equal):
    torch.manual_seed(0)
    data = ToyMolecules(train_size=8, test_size=8)
    net = LieConvNet(
        data.in_channels, 1, group=group, width=32, blocks=2, lift_samples=4 if equal else 1
    )
    found = errors_on_data(
        net, data, transforms_of("rotation", (40.0, 180.0), True, data.info.input_shape), 4, CPU
    )
    assert list(found) == ["40deg", "180deg", "mirror"]
    turned = [rows[LOGITS]["error"] for name, rows in found.items() if name != "mirror"]
    assert all(error < 1e-4 if equal else error > 5e-4 for error in turned), turned


def test_nothing_is_disturbed():
    torch.manual_seed(3)
    net, data = augerino(1.0, copies=4), Digits(train_size=10, test_size=6)
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    net.train()
    first = errors_on_data(net, data, [Rotation(90.0), Rotation(45.0)], 4, CPU)
    assert torch.equal(torch.get_rng_state(), random)
    assert net.training
    assert all(
        torch.equal(v, net.state_dict()[k]) and v.dtype == net.state_dict()[k].dtype
        for k, v in before.items()
    )
    assert error_metrics(
        errors_on_data(net, data, [Rotation(90.0), Rotation(45.0)], 4, CPU)
    ) == error_metrics(first)


def test_permuted_graphs():
    torch.manual_seed(0)
    data = Graphs(count=10, test_size=6, nodes=6)
    net = ProjectedLinear(
        1, 2, "classification", SymmetricGroup(6), channels=(2,), features=4, hidden=()
    )
    motions = transforms_of("permutation", (), False, data.info.input_shape)
    assert errors_on_data(net, data, motions, 4, CPU)["permutation"][LOGITS]["error"] < 1e-6, (
        "in float32 the weights are equivariant"
    )
    freed(net)
    assert errors_on_data(net, data, motions, 4, CPU)["permutation"][LOGITS]["error"] > 1e-2


def test_maps_too_small_for_a_turn_are_left_out():
    net = nn.Sequential(nn.MaxPool2d(4), nn.Conv2d(1, 2, 1), nn.Flatten()).double()
    assert list(layer_errors(net, images(8), Rotation(45.0))) == [LOGITS]
    assert list(layer_errors(net, images(8), Rotation(90.0))) == ["1", LOGITS]


def test_groups_that_do_not_act_on_the_inputs():
    with pytest.raises(ConfigError, match=r"clouds of points. Try group=rotation"):
        transforms_of("shift_x", (), False, (9, 4))
    with pytest.raises(ConfigError, match="square images, and these have 8 x 9"):
        transforms_of("shift_x", (), False, (1, 8, 9))
