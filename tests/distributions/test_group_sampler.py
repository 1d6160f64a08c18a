"""Element sets: what is sampled, how its number and its derivative follow what is learned, and
which settings are refused."""

import math

import pytest
import torch

from learnsym.distributions.base import LearnedSymmetry, learned_symmetry, symmetry_parameters
from learnsym.distributions.group_sampler import GroupSampler
from learnsym.distributions.sampling import FullSampling, PartialSampling
from learnsym.groups.point_groups import O2, SO2, Cyclic, Dihedral, Trivial
from learnsym.utils.rng import BatchRows

CPU = torch.device("cpu")


def draw(elements: GroupSampler, images: int = 2, rows: BatchRows | None = None):
    return elements(images, CPU, torch.float32, rows=rows)


def learned(group, **settings) -> GroupSampler:
    return GroupSampler(PartialSampling(**settings), group, learned=True)


def set_theta(elements: GroupSampler, value: float) -> None:
    with torch.no_grad():
        elements.theta.fill_(value)


def test_a_set_is_evenly_spaced_behind_a_random_offset():
    torch.manual_seed(0)
    elements = GroupSampler(FullSampling(), SO2())
    first, second = draw(elements).angle, draw(elements).angle
    torch.testing.assert_close(first.diff(), torch.full((7,), 2 * math.pi / 8))
    assert (first - second).abs().max() > 1e-3
    assert first.min() >= -math.pi
    assert first.max() < math.pi


@pytest.mark.parametrize("group", [SO2(), O2()], ids=repr)
def test_every_part_of_the_circle_is_sampled_by_either_sign(group):
    torch.manual_seed(0)
    elements = GroupSampler(FullSampling(samples=4, sample_sets="image"), group)
    drawn = draw(elements, 5000)
    for sign in {1.0, -1.0} if group.has_mirror else {1.0}:
        shares = torch.histc(drawn.angle[drawn.sign == sign], 16, -math.pi, math.pi)
        assert (shares / shares.sum()).sub(1 / 16).abs().max() < 0.01


def test_the_number_of_elements_follows_theta():
    elements = learned(SO2())
    for theta, count in ((1.0, 8), (0.9, 8), (0.875, 7), (0.5, 4), (0.3, 3), (0.01, 1), (0.0, 1)):
        set_theta(elements, theta)
        drawn = draw(elements.train())
        assert len(drawn) == count
        assert drawn.angle.abs().max() <= math.pi * theta + 1e-6
    mirrored = learned(O2())
    set_theta(mirrored, 0.5)
    assert len(draw(mirrored)) == 4
    assert len(draw(mirrored.eval())) == 4


def test_theta_zero_leaves_the_identity():
    elements = learned(SO2())
    set_theta(elements, 0.0)
    for mode in (True, False):
        drawn = draw(elements.train(mode))
        assert drawn.angle.tolist() == [0.0]
        assert drawn.sign.tolist() == [1.0]


def test_every_angle_moves_with_theta_by_its_own_place():
    """d angle_i / d theta = 2 pi u_i: the outer elements move, the middle does not."""
    elements = learned(SO2(), initial_arc=0.75, evaluation="even").eval()
    drawn = draw(elements)
    for i, angle in enumerate(drawn.angle):
        (gradient,) = torch.autograd.grad(angle, elements.theta, retain_graph=True)
        torch.testing.assert_close(gradient, angle.detach() / 0.75)
        assert (gradient.abs() < 1e-6) == (i == 10)  # six elements, none in the middle


@pytest.mark.parametrize("start", [1.0, 0.0])
def test_theta_is_held_in_the_unit_interval_and_comes_back_from_its_ends(start):
    elements = learned(SO2(), initial_arc=start)
    outwards = -1.0 if start else 1.0  # descent moves theta against it
    optimizer = torch.optim.SGD(elements.parameters(), lr=0.1)
    for direction in (outwards, outwards, -outwards):
        optimizer.zero_grad()
        (
            direction * elements(1, CPU, torch.float32).angle.square().sum()
            + direction * elements.theta
        ).backward()
        optimizer.step()
        assert 0 <= elements.ranges()[0].value <= 1
        elements.project()
        assert 0 <= float(elements.theta.detach()) <= 1
        if direction == outwards:
            assert float(elements.theta.detach()) == start
    assert float(elements.theta.detach()) != start


def test_gates_are_drawn_with_their_probability_for_every_image():
    torch.manual_seed(0)
    elements = learned(O2(), initial_keep=0.3)
    weight = draw(elements, 5000).weight
    assert weight.shape == (5000, 8)
    assert set(weight.unique().tolist()) == {0.0, 1.0}
    assert (weight[:, :4] == 1).all()
    assert weight[:, 4:].mean(0).tolist() == pytest.approx([0.3] * 4, abs=0.03)


def test_a_gate_has_the_derivative_of_the_soft_one_whether_it_is_open_or_not():
    torch.manual_seed(0)
    elements = learned(Cyclic(3), initial_keep=0.4).double()
    state = torch.get_rng_state()
    weight = elements(6, CPU, torch.float64).weight
    torch.set_rng_state(state)
    noise = torch.rand(6, 2, dtype=torch.float32).double().logit(eps=1e-6)
    assert (weight[:, 1:] == 0).any()
    soft = torch.sigmoid((elements.logits + noise) / 0.5)
    for k in range(6):
        for e in range(2):
            (found,) = torch.autograd.grad(weight[k, 1 + e], elements.logits, retain_graph=True)
            (expected,) = torch.autograd.grad(soft[k, e], elements.logits, retain_graph=True)
            torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-9)
            assert found[e] > 0


def test_the_temperature_falls_linearly():
    elements = learned(Cyclic(4))
    found = []
    for fraction in (0.0, 0.5, 1.0, 2.0):
        elements.anneal(fraction)
        found.append(elements.temperature)
    assert found == pytest.approx([0.5, 0.25005, 1e-4, 1e-4])


def test_in_evaluation_the_set_is_fixed_and_holds_what_is_likely():
    elements = learned(Dihedral(4)).eval()
    with torch.no_grad():
        elements.logits.copy_(torch.tensor([1.0, -1, 1, -1, 1, -1, -1]))
    state = torch.get_rng_state()
    first, second = draw(elements), draw(elements)
    assert torch.get_rng_state().equal(state)
    assert first.weight is None
    assert first.angle.equal(second.angle)
    assert first.sign.tolist() == [1, 1, 1, -1]
    assert first.angle.tolist() == pytest.approx(
        [0, math.pi / 2, -math.pi / 2, -math.pi / 2], abs=1e-4
    )
    rotation, reflection = elements.ranges()
    keep = torch.tensor([1.0, -1, 1, -1, 1, -1, -1]).sigmoid()
    assert rotation.value == pytest.approx((1 + keep[:3].sum().item()) / 4)
    assert reflection.value == pytest.approx(keep[3:].sum().item() / 4)


def test_random_evaluation_stays_available():
    elements = GroupSampler(FullSampling(evaluation="random"), SO2()).eval()
    assert (draw(elements).angle - draw(elements).angle).abs().max() > 1e-4
    gated = learned(O2(), evaluation="random").eval()
    assert draw(gated, 50).weight.shape == (50, 8)


def test_one_set_for_the_network_a_layer_or_an_image():
    assert draw(GroupSampler(FullSampling(), SO2()), 3).angle.shape == (8,)
    images = draw(GroupSampler(FullSampling(sample_sets="image"), SO2()), 3).angle
    assert images.shape == (3, 8)
    assert (images[0] - images[1]).abs().max() > 1e-4
    shared = GroupSampler(FullSampling(sample_sets="network"), SO2())
    offset = torch.tensor(0.25)
    torch.testing.assert_close(
        shared(3, CPU, torch.float32, offset).angle[0], torch.tensor(2 * math.pi * (0.25 / 8 - 0.5))
    )


def test_sets_of_images_do_not_depend_on_the_number_of_processes():
    elements = learned(O2(), sample_sets="image")
    torch.manual_seed(0)
    whole = draw(elements, 6)
    for start, stop in ((0, 3), (3, 6)):
        torch.manual_seed(0)
        part = draw(elements, 3, BatchRows(start, stop, 6))
        assert part.angle.equal(whole.angle[start:stop])
        assert part.weight.equal(whole.weight[start:stop])


def test_deterministic_sampling_is_the_finite_subgroup():
    full = GroupSampler(FullSampling(sampling="deterministic"), SO2())
    assert repr(full.stabiliser) == "Cyclic(8)"
    assert draw(full).angle[0] == 0
    partial = learned(O2(), sampling="deterministic", samples=6)
    assert repr(partial.stabiliser) == "Dihedral(3)"
    assert partial.logits.shape == (5,)
    assert partial.theta is None


def test_what_is_learned_and_what_is_reported():
    assert [p.shape for p in learned(SO2()).parameters()] == [()]
    assert sum(p.numel() for p in learned(O2()).parameters()) == 2
    assert list(GroupSampler(PartialSampling(), SO2(), learned=False).parameters()) == []
    elements = learned(O2(), initial_arc=0.5, initial_keep=0.25)
    assert isinstance(elements, LearnedSymmetry)
    assert len(symmetry_parameters(elements)) == 2
    found = learned_symmetry(elements)["input"]
    assert found["rotation"] == {
        "generator": "rotation",
        "value": 0.5,
        "unit": "fraction",
        "learned": True,
        "metric": "learned_rotation_fraction",
    }
    assert found["reflection"]["value"] == pytest.approx(0.25)
    assert GroupSampler(FullSampling(), Trivial()).ranges() == []


def test_loading_a_state_changes_the_number_of_elements():
    small, other = learned(SO2(), initial_arc=0.3), learned(SO2())
    other.load_state_dict(small.state_dict())
    assert len(draw(other)) == 3


@pytest.mark.parametrize(
    ("settings", "group", "message"),
    [
        ({"sample_sets": "network", "sampling": "random"}, SO2(), "one set cannot serve all"),
        ({"sample_sets": "network"}, SO2(), "one set cannot serve all"),
        (
            {"sampling": "deterministic", "sample_sets": "layer"},
            SO2(),
            "sampling=deterministic goes with sample_sets=network",
        ),
        (
            {"sampling": "deterministic", "sample_sets": "image"},
            SO2(),
            "sampling=deterministic goes with sample_sets=network",
        ),
        ({}, Trivial(), "nothing to learn on translation2"),
        ({"samples": 7}, O2(), "Expected an even number of samples"),
        ({"samples": 5}, Cyclic(4), "leave samples null"),
        ({"sampling": "random"}, Cyclic(4), "sampling=random has no effect"),
        ({"sample_sets": "layer"}, Cyclic(4), "sample_sets=layer has no effect"),
        ({"initial_keep": 1.0}, O2(), "both excluded"),
    ],
)
def test_senseless_combinations_are_refused(settings, group, message):
    with pytest.raises(ValueError, match=message):
        learned(group, **settings)


def test_full_sampling_may_share_one_random_set():
    assert GroupSampler(FullSampling(sample_sets="network"), SO2()).plan.random
