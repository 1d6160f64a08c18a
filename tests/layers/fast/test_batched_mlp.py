"""Dense layers of many members against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

from learnsym.layers.fast.batched_mlp import batched_mlp

SLOPE = 0.2


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def three(members: int = 2) -> list[Tensor]:
    """5 -> 6 -> 4 -> 3, with axes of their own; the middle one has its inputs first in memory."""
    weights = [
        random(members, 3, 2, 5, seed=1),
        random(members, 6, 4, seed=2).mT,
        random(members, 3, 2, 2, seed=3),
    ]
    return [w.requires_grad_() for w in weights]


def by_torch(x: Tensor, weights: list[Tensor]) -> Tensor:
    for place, weight in enumerate(weights):
        x = F.leaky_relu(x, SLOPE) if place else x
        x = x @ weight.reshape(len(weight), -1, x.shape[-1]).mT
    return x


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_values_and_gradients(shared, layers):
    x, weights = random(1 if shared else 2, 7, 5, seed=4).requires_grad_(), three()[:layers]
    found, expected = batched_mlp(x, weights, SLOPE), by_torch(x, weights)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    slope = random(*expected.shape, seed=5)
    ours, theirs = (torch.autograd.grad(y, [x, *weights], slope) for y in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
def test_gradients_are_added_up_in_place():
    """Over three batches of different sizes, whatever the strides of the gradient."""
    weights, expected = three(), three()
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    weights[2].grad = torch.zeros(2, 2, 3, 2, dtype=torch.float64).transpose(
        1, 2
    )  # no matrix without a copy
    places = [weight.grad.data_ptr() for weight in weights]
    for rows in (4, 4, 2):
        x = random(2, rows, 5, seed=rows)
        batched_mlp(x, weights, SLOPE).square().sum().backward()
        by_torch(x, expected).square().sum().backward()
    for weight, other in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.grad, other.grad, rtol=1e-12, atol=1e-12)
    assert [weight.grad.data_ptr() for weight in weights[:2]] == places[:2], "not the same memory"


def test_numeric_gradients():
    x = random(2, 3, 5, seed=6).requires_grad_()
    assert gradcheck(lambda t, *w: batched_mlp(t, list(w), SLOPE), (x, *three()))
