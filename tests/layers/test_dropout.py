"""Dropout: the distribution of nn.Dropout, the masks of the global batch."""

import pytest
import torch

from learnsym.layers.dropout import Dropout
from learnsym.utils.rng import BatchRows


def test_distribution_is_that_of_torch():
    torch.manual_seed(0)
    x = torch.full((200, 10, 7, 7), 2.0)
    ours, theirs = Dropout(0.3)(x), torch.nn.Dropout(0.3)(x)
    torch.testing.assert_close(ours.unique(), theirs.unique())
    assert abs(ours.eq(0).double().mean() - 0.3) < 0.005  # 3 standard deviations are 0.0044
    assert ours.eq(0).double().mean((0, 2, 3)).std() < 0.01  # no channel, and
    assert ours.eq(0).double().mean((1, 2, 3)).std() < 0.04  # no example is special


def test_identity_where_it_should_be_and_no_draw():
    x = torch.randn(3, 4)
    before = torch.get_rng_state()
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros(3, 4))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("copies", [1, 2])
def test_several_processes_drop_what_one_drops(copies):
    """Rows 0:2 and 2:5 of a batch of five, each with the same generator state; also with copies
    side by side."""
    x = torch.rand(5 * copies, 3, 6) + 1
    layer = Dropout(0.4)
    torch.manual_seed(7)
    whole = layer(x)
    after = torch.get_rng_state()
    for start, stop in ((0, 2), (2, 5)):
        torch.manual_seed(7)
        part = layer(x[start * copies : stop * copies], BatchRows(start, stop, 5))
        assert torch.equal(part, whole[start * copies : stop * copies])
        assert torch.equal(torch.get_rng_state(), after)


def test_the_mask_does_not_depend_on_precision_or_layout():
    x = torch.rand(2, 4, 5, 5) + 1
    masks = []
    for y in (x, x.double(), x.to(memory_format=torch.channels_last)):
        torch.manual_seed(1)
        out = Dropout(0.5)(y)
        assert out.dtype == y.dtype
        masks.append(out != 0)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_probabilities_outside_are_refused(p):
    with pytest.raises(ValueError, match=r"in \[0, 1\], got"):
        Dropout(p)
