"""The groups of space: closed forms against the generic exponential, logarithms, and the axioms of
a group."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import coefficients, normal
from torch.autograd.functional import jacobian

from learnsym.groups import rotations
from learnsym.groups.base import LieGroup
from learnsym.groups.spatial import SE3, SO3, T3, Affine3, Trivial3

GROUPS = [Trivial3(), T3(), SO3(), SE3(0.5), SE3(1.0), Affine3(), Affine3(2.0)]
WITH_LOG = GROUPS[:5]
CHOICES = {"trivial3": Trivial3, "t3": T3, "so3": SO3, "se3": SE3, "affine3": Affine3}
CONFIGS = Path(__file__).parents[2] / "cfg/base_group"
IDENTITY = torch.eye(4, dtype=torch.float64)

each_group = pytest.mark.parametrize("group", GROUPS, ids=repr)
each_with_log = pytest.mark.parametrize("group", WITH_LOG, ids=repr)
seeds = st.integers(0, 2**31)
quick = settings(max_examples=10, deadline=None)


def turns(angle: float, count: int = 32, seed: int = 0) -> torch.Tensor:
    """Vectors [count, 3] of length `angle`: in all directions, and along and between the axes."""
    axes = torch.tensor(
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, -1, 1], [1, -1, 1]], dtype=torch.float64
    )
    found = torch.cat([normal(count, 3, seed=seed), axes, -axes])
    return angle * found / found.norm(dim=-1, keepdim=True)


def zoo(group: LieGroup) -> torch.Tensor:
    """0, tiny, ordinary, up to 5; rotations by angles on both sides of the seams at theta = 1 and
    around pi."""
    cases = [
        coefficients(group, size, seed=i)
        for i, size in enumerate((0.0, 1e-12, 1e-6, 1e-2, 0.5, 2.0, 5.0))
    ]
    if "rotation_x" in group.names:
        first = group.names.index("rotation_x")
        for i, angle in enumerate(
            (1e-8, 1e-4, 0.4, 1 - 1e-9, 1 + 1e-9, math.pi - 1e-9, math.pi, 4.0, 2 * math.pi, 9.0)
        ):
            special = coefficients(group, 1.0, 44, seed=i)
            special[:, first : first + 3] = turns(angle)
            if group.dim == 12:
                special[::2, 6:] = 0.0
            cases.append(special)
    return torch.cat(cases)


def generic_exp(group: LieGroup, u: torch.Tensor) -> torch.Tensor:
    """The exponential of any matrix group, by torch."""
    return torch.linalg.matrix_exp(group.algebra(u))


def relative(found: torch.Tensor, expected: torch.Tensor, floor: float = 1e-30) -> float:
    """Largest relative error over a batch, each example by its own norm."""
    found, expected = found.detach().double().flatten(1), expected.detach().flatten(1)
    return ((found - expected).norm(dim=1) / expected.norm(dim=1).clamp(min=floor)).max().item()


# --- exponentials


@each_group
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_closed_form_is_the_matrix_exponential(group, dtype, tolerance):
    u = zoo(group)
    found = group.exp(u.to(dtype))
    assert found.dtype == dtype
    assert relative(found, generic_exp(group, u)) < tolerance
    # Close to the identity the difference from it is what counts: the digits of a small u must not
    # be lost.
    small = coefficients(group, 1e-3)
    assert torch.allclose(
        group.exp(small) - IDENTITY, generic_exp(group, small) - IDENTITY, rtol=1e-12, atol=1e-15
    )


@each_group
def test_first_and_second_derivatives_are_those_of_the_matrix_exponential(group):
    u = zoo(group).requires_grad_()
    direction, along = normal(len(u), 4, 4), normal(*u.shape, seed=1)

    def derivatives(exp):
        value = (
            exp(u) * direction
        ).sum() + 0 * u.square().sum()  # the last term: a graph even where the gradient is constant
        gradient = torch.autograd.grad(value, u, create_graph=True)[0]
        return gradient.detach(), torch.autograd.grad((gradient * along).sum(), u)[0]

    found, expected = derivatives(group.exp), derivatives(lambda u: generic_exp(group, u))
    assert relative(found[0], expected[0], floor=1.0) < 1e-12
    assert relative(found[1], expected[1], floor=1.0) < 1e-12


@each_group
def test_gradients_in_single_precision(group):
    u = zoo(group)
    direction = normal(len(u), 4, 4)
    single, double = u.float().requires_grad_(), u.requires_grad_()
    (found,) = torch.autograd.grad(
        (group.exp(single) * direction.float()).sum() + 0 * single.sum(), single
    )
    (expected,) = torch.autograd.grad(
        (generic_exp(group, double) * direction).sum() + 0 * double.sum(), double
    )
    assert found.isfinite().all()
    scale = generic_exp(group, u).flatten(1).norm(dim=1) + expected.norm(dim=1)
    assert ((found - expected).norm(dim=1) / scale).max() < 1e-5


@pytest.mark.parametrize("group", [SO3(), SE3(), Affine3()], ids=repr)
def test_transforms(group):
    u = coefficients(group, 1.0, 2).requires_grad_()
    mapped, direction = torch.func.vmap(group.exp)(u), normal(2, 4, 4)
    assert torch.allclose(mapped, group.exp(u), rtol=1e-12, atol=1e-14)
    found, expected = (
        torch.autograd.grad((e * direction).sum(), u)[0] for e in (mapped, group.exp(u))
    )
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)


@each_group
def test_one_element_of_a_batch_does_not_touch_the_others(group):
    u = coefficients(group, 2.0, 12)
    assert torch.allclose(group.exp(u)[3], group.exp(u[3]), rtol=1e-13, atol=1e-14)
    assert torch.allclose(
        group.exp(u.unflatten(0, (3, 4))), group.exp(u).unflatten(0, (3, 4)), rtol=1e-13, atol=1e-14
    )
    assert group.exp(u[:0]).shape == (0, 4, 4)


# --- logarithms


def within_pi(group: LieGroup, u: torch.Tensor, seed: int) -> torch.Tensor:
    """The coefficients, rotations among them turned into ones by 0 to pi - 1e-6."""
    if "rotation_x" in group.names:
        first = group.names.index("rotation_x")
        angle = torch.rand(len(u), 1, generator=torch.Generator().manual_seed(seed)) * (
            math.pi - 1e-6
        )
        turn = u[:, first : first + 3]
        u[:, first : first + 3] = turn / turn.norm(dim=-1, keepdim=True) * angle
    return u


@each_with_log
@quick
@given(seed=seeds)
def test_log_is_the_inverse_of_exp(group, seed):
    u = within_pi(group, coefficients(group, 3.0, 32, seed), seed)
    assert relative(group.log(group.exp(u)), u) < 1e-10
    assert relative(group.log(group.exp(u.float())), u, floor=1.0) < 1e-4
    assert group.log(group.exp(torch.zeros(group.dim))).tolist() == [0.0] * group.dim
    assert group.log(group.exp(u.unflatten(0, (4, 8)))).shape == (4, 8, group.dim)


@pytest.mark.parametrize("group", WITH_LOG[1:], ids=repr)
def test_the_derivative_of_log_of_exp_is_the_identity(group):
    for size in (0.0, 1e-9, 1e-3, 0.2, 1.0, 1.7):
        u = coefficients(group, size, 4)
        for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-4)):
            found = jacobian(lambda v: group.log(group.exp(v)).sum(0), u.to(dtype)).transpose(
                0, 1
            )  # [example, row, column]
            assert torch.allclose(
                found, torch.eye(group.dim, dtype=dtype).expand_as(found), atol=tolerance
            )


@pytest.mark.parametrize("size", [0.0, 1e-6, 0.3, 1.0])
def test_second_derivatives_of_the_logarithm(size):
    group = SE3(1.0)
    u = coefficients(group, size, 2).requires_grad_()
    gradient = torch.autograd.grad(group.log(group.exp(u)).square().sum(), u, create_graph=True)[0]
    second = torch.autograd.grad((gradient * normal(2, 6)).sum(), u)[0]
    assert torch.allclose(second, 2 * normal(2, 6), atol=1e-9)


# --- groups


@each_group
@quick
@given(seed=seeds, a=st.floats(-2, 2), b=st.floats(-2, 2))
def test_one_parameter_subgroups(group, seed, a, b):
    u = coefficients(group, 1.0, 8, seed)
    assert relative(group.exp(a * u) @ group.exp(b * u), group.exp((a + b) * u)) < 1e-11
    assert relative(group.exp(u) @ group.exp(-u), IDENTITY.expand(8, 4, 4)) < 1e-11


@each_with_log
@quick
@given(seed=seeds)
def test_closed_under_product_and_inverse(group, seed):
    elements = group.exp(coefficients(group, 1.5, 16, seed))
    for others in (elements @ elements.roll(1, 0), torch.linalg.inv(elements)):
        assert relative(group.exp(group.log(others)), others) < 1e-12


@each_group
def test_generators_are_independent_and_closed_under_the_commutator(group):
    basis = group.generators.flatten(1)
    assert torch.linalg.matrix_rank(basis) == group.dim if group.dim else basis.shape == (0, 16)
    for a in group.generators:
        for b in group.generators:
            bracket = (a @ b - b @ a).flatten()
            assert torch.allclose(bracket @ torch.linalg.pinv(basis) @ basis, bracket, atol=1e-13)


def test_generators_are_those_of_the_paper():
    group = Affine3(translation_scale=0.3)
    assert group.names[:3] == ("translation_x", "translation_y", "translation_z")
    assert group.names[3:6] == ("rotation_x", "rotation_y", "rotation_z")
    assert group.names[6:] == (
        "scale",
        "stretch_xy",
        "stretch_yz",
        "shear_xy",
        "shear_yz",
        "shear_zx",
    )
    assert group.units == ("",) * 3 + ("rad",) * 3 + ("",) * 6
    g = dict(zip(group.names, group.generators, strict=True))
    x, y, z = torch.eye(3, dtype=torch.float64)
    assert torch.equal(g["translation_z"][:3, 3], 0.3 * z)
    assert torch.equal(g["rotation_x"][:3, :3] @ y, z)
    assert torch.equal(g["rotation_y"][:3, :3] @ z, x)
    assert torch.equal(g["rotation_z"][:3, :3] @ x, y)
    assert g["scale"].diag().tolist() == [1, 1, 1, 0]
    assert g["stretch_xy"].diag().tolist() == [1, -1, 0, 0]
    assert g["stretch_yz"].diag().tolist() == [0, 1, -1, 0]
    for name, (i, j) in {"shear_xy": (0, 1), "shear_yz": (1, 2), "shear_zx": (2, 0)}.items():
        assert torch.equal(g[name], g[name].T)
        assert g[name].nonzero().tolist() == sorted([[i, j], [j, i]])
    half = group.exp(torch.eye(12)[5] * math.pi)
    assert torch.allclose(half, torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0])), atol=1e-6)


def test_se3_lies_in_the_affine_group():
    u = coefficients(SE3(), 2.0)
    embedded = torch.cat([u, torch.zeros(len(u), 6, dtype=torch.float64)], -1)
    assert relative(Affine3().exp(embedded), SE3().exp(u)) < 1e-13


@each_group
def test_a_wrong_number_of_coefficients_is_named(group):
    with pytest.raises(ValueError, match=f"takes {group.dim} coefficients"):
        group.exp(torch.zeros(4, group.dim + 1))


@pytest.mark.parametrize("kind", [T3, SE3, Affine3])
def test_a_translation_scale_of_zero_is_refused(kind):
    with pytest.raises(ValueError, match="translation_scale must be above 0, got 0"):
        kind(translation_scale=0.0)


def test_what_inference_has_cached_serves_training():
    rotations._stumpff_coefficients.cache_clear()
    for group in (SE3(0.123), Affine3(0.123)):
        with torch.inference_mode():
            group.exp(torch.zeros(2, group.dim, dtype=torch.float64))
        u = torch.zeros(2, group.dim, dtype=torch.float64, requires_grad=True)
        group.exp(u).sum().backward()
        assert u.grad.isfinite().all()


@pytest.mark.parametrize("choice", CHOICES)
def test_configs_build_the_groups(choice):
    text = (CONFIGS / f"{choice}.yaml").read_text()
    assert text.startswith("# ")
    node = yaml.safe_load(text)
    assert node.pop("_target_") == f"learnsym.groups.spatial.{CHOICES[choice].__name__}"
    group = CHOICES[choice](**node)
    assert torch.equal(group.generators, CHOICES[choice]().generators)
