"""The learned box in a Lie algebra."""

import math

import pytest
import torch
import torch.nn.functional as F

from learnsym.distributions.base import learned_symmetry, symmetry_parameters
from learnsym.distributions.uniform_lie_algebra import UniformLieAlgebra, inverse_softplus
from learnsym.groups.actions import warp
from learnsym.groups.planar import E2, SE2, Affine2, Rotation2, Translation2
from learnsym.groups.spatial import SO3, Affine3
from learnsym.utils.rng import BatchRows

COUNT = 20000


@pytest.mark.parametrize("width", [1e-12, 1e-3, 0.0067, 1.0, 10.0, 50.0, 800.0])
def test_inverse_softplus(width):
    raw = torch.tensor(inverse_softplus(width), dtype=torch.float64)
    assert torch.logaddexp(raw, torch.zeros_like(raw)).item() == pytest.approx(width, rel=1e-12)


def test_the_default_width_is_softplus_of_minus_5():
    box = UniformLieAlgebra(Affine2()).double()
    assert torch.allclose(box.raw_widths, torch.full((6,), -5.0).double(), atol=1e-6)


@pytest.mark.parametrize("center", [True, False])
def test_samples_are_uniform_on_the_box(center):
    torch.manual_seed(0)
    box = UniformLieAlgebra(
        SE2(),
        initial_widths={"translation_x": 0.5, "translation_y": 2.0, "rotation": 3.0},
        center=center,
    ).double()
    u = box.group.log(box.sample(COUNT)) / box.widths() + (0.5 if center else 0.0)
    assert u.min() > -1e-9
    assert u.max() < 1 + 1e-9
    # Ten bins per side: each count is binomial, 5 standard deviations off is a failure.
    for side in u.T:
        counts = torch.histc(side.detach(), 10, 0.0, 1.0)
        assert (counts - COUNT / 10).abs().max() < 5 * math.sqrt(COUNT * 0.09)
    correlation = torch.corrcoef(u.T.detach()) - torch.eye(3)
    assert correlation.abs().max() < 5 / math.sqrt(COUNT)


def test_mean_of_a_centred_box_is_the_identity_and_of_the_other_is_not():
    torch.manual_seed(0)
    for center, mean in ((True, 0.0), (False, 0.5)):
        box = UniformLieAlgebra(Translation2(1.0), initial_width=1.0, center=center)
        shift = box.sample(COUNT)[:, :2, 2].mean(0)
        assert (shift - mean).abs().max() < 5 * math.sqrt(1 / 12 / COUNT)


def test_expectation_of_a_rotation():
    torch.manual_seed(0)
    box = UniformLieAlgebra(Rotation2(), initial_width=2.0)
    assert box.sample(COUNT)[:, 0, 0].mean().item() == pytest.approx(
        math.sin(1.0), abs=0.01
    )  # E cos u on [-1, 1]


def test_only_learned_generators_move():
    box = UniformLieAlgebra(
        Affine2(),
        learn=["rotation", "shear"],
        initial_width=0.0,
        initial_widths={"rotation": 1.0, "shear": 0.1, "scale": 0.3},
    )
    assert [list(p.shape) for p in symmetry_parameters(box)] == [[2]]
    optimiser = torch.optim.Adam(box.parameters(), lr=0.1)
    box.sample(50).square().sum().backward()
    optimiser.step()
    tx, ty, rotation, scale, stretch, shear = box.widths().tolist()
    assert (tx, ty, stretch) == (0.0, 0.0, 0.0)
    assert scale == pytest.approx(0.3)
    assert rotation != pytest.approx(1.0, abs=1e-3)
    assert shear != pytest.approx(0.1, abs=1e-3)


def test_nothing_learned_is_a_fixed_distribution():
    box = UniformLieAlgebra(Rotation2(), learn=[], initial_width=0.0)
    assert symmetry_parameters(box) == []
    assert torch.equal(box.sample(3), torch.eye(3).expand(3, 3, 3))
    assert box.norm().item() == 0.0


def test_a_seed_repeats_and_processes_agree():
    box = UniformLieAlgebra(E2(), initial_width=1.0)

    def drawn(count, rows=None):
        torch.manual_seed(3)
        return box.sample(count, rows=rows)

    whole = drawn(12)  # six examples, two copies each
    assert torch.equal(whole, drawn(12))
    assert torch.allclose(drawn(4, BatchRows(2, 4, 6)), whole[4:8], atol=1e-6)


def test_gradient_of_a_warped_image_with_respect_to_the_widths():
    group = Affine2()
    start = dict(zip(group.names, (0.5, 0.4, 1.0, 0.3, 0.2, 0.25), strict=True))
    box = UniformLieAlgebra(group, initial_widths=start).double()
    generator = torch.Generator().manual_seed(0)
    # A quadratic image: bilinear interpolation has a kink at every pixel, so a fine grid and a
    # smooth picture.
    x = F.interpolate(
        torch.rand(8, 1, 5, 5, generator=generator).double(),
        size=(41, 41),
        mode="bicubic",
        align_corners=True,
    )
    weight = torch.rand(8, 1, 41, 41, generator=generator).double()

    def loss():
        torch.manual_seed(5)  # common random numbers
        return (warp(x, box.sample(8)) * weight).sum()

    (found,) = torch.autograd.grad(loss(), box.raw_widths)
    step = 1e-7
    for i in range(6):
        with torch.no_grad():
            box.raw_widths[i] += step
            above = loss()
            box.raw_widths[i] -= 2 * step
            below = loss()
            box.raw_widths[i] += step
        assert found[i].item() == pytest.approx(((above - below) / (2 * step)).item(), rel=1e-4)


def test_reward_and_its_cap():
    box = UniformLieAlgebra(
        SE2(), initial_widths={"translation_x": 3.0, "translation_y": 4.0, "rotation": 12.0}
    ).double()
    assert box.norm().item() == pytest.approx(13.0)
    assert box.sum_of_squares().item() == pytest.approx(169.0)
    assert box.norm(cap=10.0).item() == pytest.approx(5.0)
    assert box.sum_of_squares(cap=10.0).item() == pytest.approx(25.0)
    box.norm(cap=10.0).backward()
    slope = torch.sigmoid(box.raw_widths.detach())  # of the softplus
    assert torch.allclose(box.raw_widths.grad, torch.tensor([0.6, 0.8, 0.0]).double() * slope)


@pytest.mark.parametrize("reward", ["norm", "sum_of_squares"])
def test_the_cap_on_every_width_leaves_no_nan(reward):
    box = UniformLieAlgebra(SE2(), initial_width=11.0)
    getattr(box, reward)(cap=10.0).backward()
    assert box.raw_widths.grad.tolist() == [0.0, 0.0, 0.0]


def test_the_reward_counts_learned_generators_only():
    box = UniformLieAlgebra(SE2(), learn=["rotation"], initial_width=3.0)
    assert box.norm().item() == pytest.approx(3.0)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_mirrors_come_with_their_probability(probability):
    torch.manual_seed(0)
    box = UniformLieAlgebra(E2(), initial_width=1.0, reflection=probability)
    elements = box.sample(COUNT).detach()
    mirrored = torch.linalg.det(elements) < 0
    share = mirrored.double().mean().item()
    if 0 < probability < 1:  # and say nothing about the rest of the element
        heights = torch.stack([elements[:, 1, 2], mirrored.float(), elements[:, 1, 0]])
        assert (torch.corrcoef(heights) - torch.eye(3)).abs()[1].max() < 5 / math.sqrt(COUNT)
        left = elements[:, 0, 2] * torch.where(mirrored, -1, 1)
        assert torch.corrcoef(torch.stack([left, mirrored.float()]))[0, 1].abs() < 5 / math.sqrt(
            COUNT
        )
    assert share == pytest.approx(
        probability, abs=5 * math.sqrt(0.25 / COUNT) if 0 < probability < 1 else 0
    )


def test_ranges():
    box = UniformLieAlgebra(E2(), learn=["rotation"], initial_width=0.25, reflection=0.25)
    found = learned_symmetry(box)["input"]
    assert list(found) == ["translation_x", "translation_y", "rotation", "reflection"]
    assert {k: v["learned"] for k, v in found.items()} == {
        "translation_x": False,
        "translation_y": False,
        "rotation": True,
        "reflection": False,
    }
    assert found["rotation"]["value"] == pytest.approx(0.25)
    assert found["rotation"]["unit"] == "rad"
    assert found["reflection"]["value"] == 0.5
    assert found["reflection"]["unit"] == "fraction"


def test_autocast_does_not_touch_the_elements():
    box = UniformLieAlgebra(E2(), initial_width=1.0)
    torch.manual_seed(0)
    expected = box.sample(4)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(box.sample(4), expected)


def test_a_checkpoint_carries_the_widths():
    trained = UniformLieAlgebra(Affine2(), learn=["rotation"], initial_width=0.3)
    fresh = UniformLieAlgebra(Affine2(), learn=["rotation"])
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh.widths(), trained.widths())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"learn": ["rotaton"]},
            "'rotaton' is no generator of Affine2; it has translation_x, .*, shear",
        ),
        ({"learn": "rotation"}, "learn must be 'all' or a list"),
        ({"initial_widths": {"sheer": 1.0}}, "initial_widths: 'sheer'"),
        ({"initial_width": -1.0}, "at least 0"),
        ({"initial_width": 0.0}, "above 0"),
        ({"initial_width": math.inf}, "finite"),
        ({"initial_width": math.nan}, "finite"),
        ({"reflection": 0.5}, "needs a group with a mirror"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        UniformLieAlgebra(Affine2(), **arguments)


def test_a_wrong_probability_is_named():
    with pytest.raises(ValueError, match="reflection must lie in"):
        UniformLieAlgebra(E2(), reflection=1.5)


def test_the_published_box_of_space_multiplies_rows_of_coordinates():
    """x exp(sum u_i G_i) + t with u in [0, w]: ours with the linear part transposed, so that
    rotations turn the other way."""
    group = Affine3()
    box = UniformLieAlgebra(group, initial_width=0.8, center=False).double()
    torch.manual_seed(3)
    found = box.sample(40)
    torch.manual_seed(3)
    columns = group.exp(torch.rand(40, 12, dtype=torch.float64) * box.widths())
    torch.testing.assert_close(found[:, :3, :3], columns[:, :3, :3].mT, rtol=0, atol=1e-14)
    torch.testing.assert_close(found[:, :, 3], columns[:, :, 3], rtol=0, atol=1e-14)
    turned = UniformLieAlgebra(
        SO3(), initial_widths={"rotation_z": 1.0}, initial_width=0.0, learn=[], center=False
    ).sample(200)
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0])
    assert angle.max() <= 0
    assert angle.min() > -1
    assert float(angle.mean()) == pytest.approx(-0.5, abs=0.1)
