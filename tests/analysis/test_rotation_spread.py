"""How much predictions vary as molecules turn: not for an invariant, by a known number for a
coordinate, with the same draws."""

import pytest
import torch
from torch import nn

from learnsym.analysis.evaluation import rotate_clouds, rotation_spread
from learnsym.data.molecules.toy import ToyMolecules
from learnsym.groups.rotations import uniform_rotations
from learnsym.groups.spatial import SO3, Affine3
from learnsym.nets.augerino import Augerino

CPU = torch.device("cpu")


class Reading(nn.Module):
    """[B, N, 18] -> [B, 2] of a function of coordinates and of which points are there."""

    def __init__(self, function):
        super().__init__()
        self.function, self.seen = function, []

    def forward(self, points):
        self.seen.append((self.training, points))
        return self.function(points[..., :3], (points[..., 3:] != 0).any(-1))


def pairs(positions, there):
    """An invariant: the sum of all distances."""
    apart = (positions[:, :, None] - positions[:, None]).square().sum(-1).clamp(min=1e-12).sqrt()
    return apart.sum((1, 2))[:, None].expand(-1, 2)


def highest(positions, there):
    """The first atom's height, and ten times it."""
    return positions[:, 0, 2:] * torch.tensor([1.0, 10.0])


@pytest.fixture(scope="module")
def data():
    return ToyMolecules(4, test_size=60)


def test_nothing_for_an_invariant(data):
    assert rotation_spread(Reading(pairs), data, CPU, 60, 8).max() < 1e-3


def test_the_height_of_an_atom_varies_as_it_should(data):
    """Of a point at distance r the height is uniform on [-r, r]: standard deviation r / sqrt(3)."""
    found = rotation_spread(Reading(highest), data, CPU, 60, 200)
    expected = float(data.prepare(data.splits["test"].inputs)[:, 0, :3].norm(dim=1).mean()) / 3**0.5
    assert found.tolist() == pytest.approx([expected, 10 * expected], rel=0.03)


def test_it_is_the_mean_of_a_loop(data):
    found = rotation_spread(Reading(highest), data, CPU, 7, 5, seed=3)
    draws = torch.rand(7, 5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    seen = data.prepare(data.splits["test"].inputs[:7])
    total = torch.zeros(2)
    for row in range(7):
        values = [
            highest((seen[row, :, :3] @ uniform_rotations(d).float().T)[None], None)[0]
            for d in draws[row]
        ]
        total += torch.stack(values).std(0)
    torch.testing.assert_close(found.float(), total / 7, atol=1e-5, rtol=1e-5)


def test_all_molecules_in_evaluation_and_the_mode_put_back(data):
    net = Reading(highest)
    rotation_spread(net, data, CPU, 1000, 2)
    assert net.training
    assert not any(training for training, _ in net.seen)
    assert sum(len(points) for _, points in net.seen) == 2 * 60
    for _, points in net.seen:
        there = (points[..., 3:] != 0).any(-1)
        assert not points[~there].any(), "padding stays where it is"
        assert (points[..., :3].sum(1).abs() < 1e-4).all(), "turned about the centroid"


def test_draws_of_the_network_itself_are_no_variation(data):
    """An Augerino net that draws sizes does not turn; its draws are the same for every rotation."""
    net = Augerino(
        Reading(pairs),
        Affine3(),
        "regression",
        learn=["scale"],
        initial_width=0.0,
        initial_widths={"scale": 1.0},
    )
    before = torch.get_rng_state()
    assert rotation_spread(net, data, CPU, 30, 4).max() < 1e-2
    assert torch.equal(torch.get_rng_state(), before)


def test_averaging_over_rotations_lowers_it(data):
    spread = [
        float(
            rotation_spread(
                Augerino(Reading(highest), SO3(), "regression", initial_width=w, test_copies=64),
                data,
                CPU,
                30,
                8,
            )[0]
        )
        for w in (1e-3, 6.0)
    ]
    assert spread[1] < 0.5 * spread[0]


def test_turning_is_of_coordinates_alone():
    points = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).expand(2, 3, 3)
    found = rotate_clouds(points, quarter)
    centroid = points[..., :3].mean(1, keepdim=True)
    x, y, z = (points[..., :3] - centroid).unbind(-1)
    torch.testing.assert_close(found[..., :3] - centroid, torch.stack([-y, x, z], -1))
    assert torch.equal(found[..., 3:], points[..., 3:])
