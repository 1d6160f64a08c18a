"""The planar groups: closed forms against the generic exponential, and the axioms of a group."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnsym.groups.base import LieGroup
from learnsym.groups.planar import E2, SE2, Affine2, Rotation2, Translation2

GROUPS = [Translation2(), Rotation2(), SE2(0.5), E2(0.5), Affine2(), Affine2(1.0)]
WITH_LOG = GROUPS[:3]

each_group = pytest.mark.parametrize("group", GROUPS, ids=repr)
seeds = st.integers(0, 2**31)
quick = settings(max_examples=10, deadline=None)


def coefficients(group: LieGroup, size: float, count: int = 64, seed: int = 0) -> torch.Tensor:
    """Coefficients in [-size, size], float64."""
    drawn = torch.rand(
        count, group.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return (2 * drawn - 1) * size


def zoo(group: LieGroup) -> torch.Tensor:
    """Coefficients of every kind: 0, tiny, ordinary, up to 5; and with q < 0, q = 0 and q > 0 for
    the affine group."""
    cases = [
        coefficients(group, size, seed=i)
        for i, size in enumerate((0.0, 1e-12, 1e-6, 1e-2, 0.5, 2.0, 5.0))
    ]
    if group.dim == 6:
        # translation_x, translation_y, rotation, scale, stretch, shear;
        # q = stretch^2 + shear^2 - rotation^2
        cases.append(
            torch.tensor(
                [
                    [1, 2, 3, 0.5, 3, 0],
                    [1, 2, 3, -4, 3, 1e-9],
                    [1, 2, 5, 0, 3, 4],
                    [1, 2, 1, 0, 0, 2],
                ]
            ).double()
        )
        cases.append(
            torch.tensor(
                [[2, 1, 0, 0, 1, 0], [2, 1, 1, 0, 0, 0], [5, 5, 0, 5, 5, 5], [5, 5, 5, -5, 0, 0]]
            ).double()
        )
    return torch.cat(cases)


def generic_exp(group: LieGroup, u: torch.Tensor) -> torch.Tensor:
    """The exponential of any matrix group, by torch."""
    return torch.linalg.matrix_exp(group.algebra(u))


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest relative error over a batch, each example by its own norm."""
    found, expected = found.double().flatten(1), expected.flatten(1)
    return ((found - expected).norm(dim=1) / expected.norm(dim=1).clamp(min=1e-30)).max().item()


@each_group
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_closed_form_is_the_matrix_exponential(group, dtype, tolerance):
    u = zoo(group)
    assert relative(group.exp(u.to(dtype)), generic_exp(group, u)) < tolerance


@each_group
def test_first_and_second_derivatives_are_those_of_the_matrix_exponential(group):
    u = zoo(group).requires_grad_()
    direction = torch.randn(len(u), 3, 3, dtype=torch.float64)
    along = torch.randn_like(u)

    def derivatives(exp):
        gradient = torch.autograd.grad((exp(u) * direction).sum(), u, create_graph=True)[0]
        # Translations have a constant gradient: their second derivative is zero, and autograd knows
        # no graph for it.
        second = (
            torch.autograd.grad(
                (gradient * along).sum(), u, allow_unused=True, materialize_grads=True
            )[0]
            if group.dim != 2
            else u
        )
        return gradient.detach(), second.detach()

    found, expected = derivatives(group.exp), derivatives(lambda u: generic_exp(group, u))
    assert relative(found[0], expected[0]) < 1e-11
    scale = expected[1].norm(dim=1).clamp(min=1.0)
    assert ((found[1] - expected[1]).norm(dim=1) / scale).max() < 1e-11


@each_group
def test_gradients_in_single_precision(group):
    u = zoo(group)
    direction = torch.randn(len(u), 3, 3, dtype=torch.float64)
    single, double = u.float().requires_grad_(), u.requires_grad_()
    (found,) = torch.autograd.grad((group.exp(single) * direction.float()).sum(), single)
    (expected,) = torch.autograd.grad((generic_exp(group, double) * direction).sum(), double)
    scale = generic_exp(group, u).flatten(1).norm(dim=1) + expected.norm(dim=1)
    assert ((found - expected).norm(dim=1) / scale).max() < 1e-5


def test_derivatives_of_any_order_and_transforms():
    group, u = Affine2(1.0), coefficients(Affine2(), 1.0, 2)
    assert torch.autograd.gradgradcheck(
        group.exp, (u.requires_grad_(),), check_undefined_grad=False
    )
    assert torch.allclose(torch.func.vmap(group.exp)(u.detach()), group.exp(u).detach(), rtol=1e-12)
    total = lambda u: group.exp(u).square().sum()  # noqa: E731
    mapped = torch.func.vmap(torch.func.grad(total))(u.detach())
    assert torch.allclose(mapped, torch.func.grad(total)(u.detach()), rtol=1e-12)


@each_group
def test_one_step_of_a_batch_does_not_touch_the_others(group):
    u = coefficients(group, 2.0, 12)
    assert torch.allclose(group.exp(u)[3], group.exp(u[3]), rtol=1e-13, atol=1e-15)
    assert torch.allclose(
        group.exp(u.unflatten(0, (3, 4))), group.exp(u).unflatten(0, (3, 4)), rtol=1e-13, atol=1e-15
    )


@each_group
@quick
@given(seed=seeds, a=st.floats(-2, 2), b=st.floats(-2, 2))
def test_one_parameter_subgroups(group, seed, a, b):
    u = coefficients(group, 1.0, 8, seed)
    assert relative(group.exp(a * u) @ group.exp(b * u), group.exp((a + b) * u)) < 1e-11
    assert relative(group.exp(u) @ group.exp(-u), torch.eye(3).double().expand(8, 3, 3)) < 1e-12


@pytest.mark.parametrize("group", WITH_LOG, ids=repr)
@quick
@given(seed=seeds)
def test_log_is_the_inverse_of_exp(group, seed):
    u = coefficients(group, 3.1, 16, seed)
    assert relative(group.log(group.exp(u)), u) < 1e-11
    assert group.log(group.exp(torch.zeros(group.dim))).tolist() == [0.0] * group.dim


@pytest.mark.parametrize("group", WITH_LOG, ids=repr)
@quick
@given(seed=seeds)
def test_motions_are_closed_under_product_and_inverse(group, seed):
    elements = group.exp(coefficients(group, 1.5, 16, seed))
    for others in (elements @ elements.roll(1, 0), torch.linalg.inv(elements)):
        assert relative(group.exp(group.log(others)), others) < 1e-10


def test_a_mirror_exchanges_the_components_of_e2():
    group = E2()
    mirror = group.components[1]
    assert torch.equal(mirror @ mirror, torch.eye(3).double())
    assert not group.connected
    assert SE2().connected
    turned = mirror @ group.exp(torch.tensor([0.3, 0.2, 0.7]).double()) @ mirror
    assert torch.allclose(
        group.log(turned), torch.tensor([-0.3, 0.2, -0.7]).double()
    )  # a mirror turns a turn around


def test_generators_are_those_of_the_paper():
    group = Affine2(translation_scale=0.3)
    assert group.names == (
        "translation_x",
        "translation_y",
        "rotation",
        "scale",
        "stretch",
        "shear",
    )
    assert group.units == ("", "", "rad", "", "", "")
    expected = torch.zeros(6, 3, 3).double()
    expected[0, 0, 2] = expected[1, 1, 2] = 0.3
    expected[2:, :2, :2] = torch.tensor(
        [[[0, -1], [1, 0]], [[1, 0], [0, 1]], [[1, 0], [0, -1]], [[0, 1], [1, 0]]]
    )
    assert torch.allclose(group.generators, expected, atol=1e-7)
    half = group.exp(torch.tensor([0, 0, math.pi, 0, 0, 0]))
    assert torch.allclose(half, torch.diag(torch.tensor([-1.0, -1.0, 1.0])), atol=1e-6)


@each_group
def test_a_wrong_number_of_coefficients_is_named(group):
    with pytest.raises(ValueError, match=f"takes {group.dim} coefficients"):
        group.exp(torch.zeros(4, group.dim + 1))


def test_a_translation_scale_of_zero_is_refused():
    with pytest.raises(ValueError, match="translation_scale"):
        SE2(translation_scale=0.0)


def test_what_inference_has_cached_serves_training():
    group = Affine2(0.123)
    with torch.inference_mode():
        group.exp(torch.zeros(2, 6, dtype=torch.float64))
    u = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)
    group.exp(u).sum().backward()
    assert u.grad is not None
