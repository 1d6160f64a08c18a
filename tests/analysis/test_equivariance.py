"""The measuring instrument: known errors are measured, failures are listed, senseless questions
refused."""

import pytest
import torch
from blobs import blobs
from torch import nn

from learnsym.analysis.equivariance import (
    assert_equivariant,
    equivariance_error,
    equivariance_errors,
)
from learnsym.analysis.transforms import Rotation, mirror_images, quarter_turns


def test_a_known_error_is_measured():
    """f(x) = x + 0.1 * first row's first pixel of two numbers: T swaps them, the error is computed
    by hand."""
    x = torch.tensor([[3.0, 4.0]])
    errors = equivariance_errors(lambda v: v[:, :1], x, {"swap": lambda v: v.flip(1)})
    assert errors == {"swap": pytest.approx(1 / 3)}


def test_equivariant_map_and_its_broken_twin():
    x = torch.randn(2, 1, 6, 6)
    turns = quarter_turns() | mirror_images()
    blur = nn.AvgPool2d(3, stride=1, padding=1)
    assert max(assert_equivariant(blur, x, turns, outputs=turns).values()) < 1e-12
    broken = nn.Conv2d(1, 1, 3, padding=1)
    with pytest.raises(AssertionError, match=r"90 degrees: .*antidiagonal: "):
        assert_equivariant(broken, x, turns, outputs=turns)


def test_not_a_number_is_a_failure():
    with pytest.raises(AssertionError, match="turned: nan"):
        assert_equivariant(lambda v: v, torch.ones(1, 2), {"turned": lambda v: v * float("nan")})


def test_a_module_is_measured_in_evaluation_and_left_alone():
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)).train()
    assert equivariance_errors(net, torch.randn(3, 4), {"same": lambda v: v}) == {"same": 0.0}
    assert net.training
    assert next(net.parameters()).dtype == torch.float32


def test_the_error_of_a_network_is_the_largest():
    x, turns = torch.randn(2, 1, 6, 6), quarter_turns()
    net = nn.Conv2d(1, 1, 3, padding=1)
    errors = equivariance_errors(net, x, turns, outputs=turns)
    assert equivariance_error(net, x, turns, equivariant=True) == max(errors.values())
    assert equivariance_error(net, x, list(turns.values()), equivariant=True) == max(
        errors.values()
    )
    alone = equivariance_error(net, x, Rotation(180.0))
    assert alone == equivariance_errors(net, x, turns)["180 degrees"]


def test_spread_sees_what_a_constant_hides():
    x = torch.randn(8, 1, 6, 6)
    nearly_constant = lambda v: 1000 + v[:, 0, 0, :1]  # noqa: E731
    assert max(equivariance_errors(nearly_constant, x, quarter_turns()).values()) < 0.01
    assert (
        max(equivariance_errors(nearly_constant, x, quarter_turns(), relative_to="spread").values())
        > 0.1
    )


def test_senseless_questions_are_refused():
    with pytest.raises(ValueError, match="do not pair up"):
        equivariance_errors(
            lambda v: v, torch.ones(1, 1, 2, 2), quarter_turns(), outputs=mirror_images()
        )
    with pytest.raises(ValueError, match="of norm 0"):
        equivariance_errors(lambda v: 0 * v, torch.ones(1, 1, 2, 2), quarter_turns())


def test_blobs_and_rotations_turn_the_same_way():
    still, turned = blobs(2, 3, 33), blobs(2, 3, 33, 90)
    torch.testing.assert_close(torch.rot90(still, 1, (-2, -1)), turned)
    by_interpolation = Rotation(33.0)(still)
    # bilinear interpolation of Gaussians two pixels wide is off by up to 7 % of their height; the
    # wrong sense by all of it
    assert (by_interpolation - blobs(2, 3, 33, 33)).abs().max() < 0.1
    assert (by_interpolation - blobs(2, 3, 33, -33)).abs().max() > 0.5
