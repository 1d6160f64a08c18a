"""A chain of dense layers against torch's own, and what memory that is used again must not do."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

from learnsym.layers.fast.batched_mlp import Spare, dense_chain

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
    found, expected = dense_chain(x, weights, SLOPE, Spare()), by_torch(x, weights)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    slope = random(*expected.shape, seed=5)
    ours, theirs = (torch.autograd.grad(y, [x, *weights], slope) for y in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
def test_gradients_are_added_up_in_place():
    """Over three batches of different sizes, whatever the strides of the gradient."""
    weights, spare, expected = three(), Spare(), three()
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    weights[2].grad = torch.zeros(2, 2, 3, 2, dtype=torch.float64).transpose(
        1, 2
    )  # no matrix without a copy
    places = [weight.grad.data_ptr() for weight in weights]
    for rows in (4, 4, 2):
        x = random(2, rows, 5, seed=rows)
        dense_chain(x, weights, SLOPE, spare).square().sum().backward()
        by_torch(x, expected).square().sum().backward()
    for weight, other in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.grad, other.grad, rtol=1e-12, atol=1e-12)
    assert [weight.grad.data_ptr() for weight in weights[:2]] == places[:2], "not the same memory"


def test_numeric_gradients():
    x, spare = random(2, 3, 5, seed=6).requires_grad_(), Spare()
    spare.MOST = 0  # for gradcheck goes back through a graph many times
    assert gradcheck(lambda t, *w: dense_chain(t, list(w), SLOPE, spare), (x, *three()))


def test_two_forwards_before_a_backward():
    """Each has its memory until its own backward pass is over; afterwards it is used again."""
    weights, spare = three(), Spare()
    batches = [random(2, 4, 5, seed=seed) for seed in (7, 8, 9)]
    first, second = (dense_chain(x, weights, SLOPE, spare) for x in batches[:2])
    loss = first.square().sum() + second.square().sum()
    found = torch.autograd.grad(loss, weights)
    third = dense_chain(batches[2], weights, SLOPE, spare)
    of_third = torch.autograd.grad(third.square().sum(), weights)
    expected = torch.autograd.grad(
        sum(by_torch(x, weights).square().sum() for x in batches[:2]), weights
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    expected = torch.autograd.grad(by_torch(batches[2], weights).square().sum(), weights)
    for one, other in zip(of_third, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_second_backward_after_the_memory_was_used_again_is_an_error():
    weights, spare = three(), Spare()
    kept = dense_chain(random(2, 4, 5, seed=7), weights, SLOPE, spare).sum()
    kept.backward(retain_graph=True)
    for seed in (8, 9):
        dense_chain(random(2, 4, 5, seed=seed), weights, SLOPE, spare)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()


def test_memory_is_used_again_and_never_twice_at_once():
    spare = Spare()
    like = torch.zeros(1)
    one, two = spare.take(like, 2, 3), spare.take(like, 2, 3)
    assert one.data_ptr() != two.data_ptr()
    spare.give(one)
    assert copy.deepcopy(spare).take(like, 2, 3).data_ptr() != one.data_ptr()
    assert spare.take(like, 3, 2).shape == (3, 2)
    assert spare.take(like.double(), 2, 3).dtype == torch.float64
    assert spare.take(like, 2, 3) is one
    assert spare.take(like, 2, 3) is not one


def test_evaluation_gives_its_memory_back_at_once():
    weights, spare = [w.detach() for w in three()], Spare()
    given = []
    spare.give = lambda tensor: given.append(tuple(tensor.shape))
    dense_chain(random(2, 4, 5, seed=7), weights, SLOPE, spare)
    assert given == [(2, 4, 6), (2, 4, 4)]
