"""The action of the groups of space on point clouds, and boxes over their Lie algebras."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import coefficients, normal

from learnsym.distributions.base import learned_symmetry
from learnsym.distributions.uniform_lie_algebra import UniformLieAlgebra
from learnsym.groups.actions import act_on_points
from learnsym.groups.spatial import SE3, SO3, T3, Affine3, Trivial3

GROUPS = [Trivial3(), T3(), SO3(), SE3(), Affine3()]
IDENTITY = torch.eye(4, dtype=torch.float64)

each_group = pytest.mark.parametrize("group", GROUPS, ids=repr)
seeds = st.integers(0, 2**31)
quick = settings(max_examples=10, deadline=None)


def clouds(count: int = 6, size: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Points [B, N, 3] and mask [B, N], clouds of 0 to N points."""
    mask = torch.arange(size) < torch.arange(count)[:, None]
    return normal(count, size, 3) * mask.unsqueeze(-1), mask


@each_group
@quick
@given(seed=seeds)
def test_the_action_on_clouds_is_one_of_the_group(group, seed):
    points, mask = clouds()
    g, h = (group.exp(coefficients(group, 1.0, len(points), s)) for s in (seed, seed + 1))
    together = act_on_points(g @ h, points, mask)
    assert torch.allclose(
        act_on_points(g, act_on_points(h, points, mask), mask), together, atol=1e-12
    )
    assert torch.equal(act_on_points(IDENTITY.expand(6, 4, 4), points, mask), points)
    assert (together[~mask] == 0).all()
    expected = torch.stack(
        [(g[b] @ h[b])[:3, :3] @ p + (g[b] @ h[b])[:3, 3] for b in range(6) for p in points[b]]
    )
    assert torch.allclose(together[mask], expected.unflatten(0, (6, 5))[mask], atol=1e-12)


def test_motions_keep_distances_and_rotations_keep_the_origin():
    points, mask = clouds()
    for group in (T3(), SO3(), SE3()):
        moved = act_on_points(group.exp(coefficients(group, 2.0, 6)), points)
        assert torch.allclose(torch.cdist(moved, moved), torch.cdist(points, points), atol=1e-7)
    rotated = act_on_points(SO3().exp(coefficients(SO3(), 2.0, 6)), points, mask)
    assert torch.allclose(rotated.norm(dim=-1), points.norm(dim=-1), atol=1e-13)


def test_what_stands_in_the_padding_does_not_matter():
    points, mask = clouds()
    u = coefficients(Affine3(), 1.0, 6).requires_grad_()
    clean = act_on_points(Affine3().exp(u), points, mask)
    spoiled = torch.where(mask.unsqueeze(-1), points, torch.nan).requires_grad_()
    found = act_on_points(Affine3().exp(u), spoiled, mask)
    assert torch.equal(found, clean)
    of_u, of_points = torch.autograd.grad(found.square().sum(), (u, spoiled))
    assert of_u.isfinite().all()
    assert (of_points[~mask] == 0).all()
    assert torch.equal(of_u, torch.autograd.grad(clean.square().sum(), u)[0])


def test_points_keep_their_dtype_and_autocast_does_not_blur_them():
    points, mask = clouds()
    g = SE3().exp(coefficients(SE3(), 1.0, 6))
    exact = act_on_points(g, points, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = act_on_points(g.float(), points.float(), mask)
        element = UniformLieAlgebra(Affine3(), initial_width=1.0).sample(2)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), exact, atol=1e-5)
    assert element.dtype == torch.float32
    assert act_on_points(g, points.float(), mask).dtype == torch.float32


@pytest.mark.parametrize("mask", [torch.ones(6, 4, dtype=torch.bool), torch.ones(6, 5)])
def test_a_wrong_mask_is_named(mask):
    with pytest.raises(
        ValueError, match=r"Expected a mask of torch.bool \[6, 5\] for points .* got torch"
    ):
        act_on_points(IDENTITY.expand(6, 4, 4), clouds()[0], mask)


# --- boxes


def test_a_box_over_the_affine_group_moves_each_cloud_by_its_own_element():
    torch.manual_seed(0)
    box = UniformLieAlgebra(Affine3(), initial_width=0.5)
    points, mask = (x.float() if x.is_floating_point() else x for x in clouds(512, 5))
    points = points[5:6].expand(512, 5, 3)
    mask = mask[5:6].expand(512, 5)
    moved = act_on_points(box.sample(512), points, mask)
    assert moved.shape == (512, 5, 3)
    assert moved[:, 0].unique(dim=0).shape == (512, 3)
    # The box is centred: the mean of the moved points is the point, up to the second order in the
    # width.
    assert (moved.mean(0) - points[0]).norm() / points[0].norm() < 0.15
    (gradient,) = torch.autograd.grad(moved.square().sum(), box.raw_widths)
    assert gradient.isfinite().all()
    assert (gradient != 0).all()
    extents = learned_symmetry(box)["input"]
    assert list(extents) == list(Affine3().names)
    assert extents["rotation_y"]["metric"] == "learned_rotation_y_width_rad"
    assert extents["shear_zx"]["metric"] == "learned_shear_zx_width"


def test_a_box_that_is_not_centred_is_the_published_one():
    """At w = 1 the scale multiplies volumes by e^(3 u), u uniform on [0, 1]: by 6.4 in the mean,
    and never by less than 1."""
    torch.manual_seed(0)
    box = UniformLieAlgebra(Affine3(), initial_width=1.0, center=False).double()
    volume = torch.linalg.det(box.sample(4000))
    assert volume.min() >= 1
    assert volume.mean().item() == pytest.approx((math.exp(3) - 1) / 3, rel=0.05)


@each_group
def test_a_box_over_any_group(group):
    torch.manual_seed(0)
    box = UniformLieAlgebra(group, initial_width=1.0)
    points, mask = clouds()
    moved = act_on_points(box.sample(6), points.float(), mask)
    assert moved.isfinite().all()
    assert torch.equal(moved, points.float()) == (group.dim == 0)
    assert len(box.ranges()) == group.dim
    assert box.norm().item() == pytest.approx(math.sqrt(group.dim))
    assert box.sum_of_squares().item() == pytest.approx(group.dim)
    copies = box.sample(12).unflatten(0, (6, 2))  # several copies of each cloud
    assert act_on_points(copies, points.float().unsqueeze(1)).shape == (6, 2, 5, 3)
