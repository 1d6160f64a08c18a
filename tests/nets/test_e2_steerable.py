"""The steerable baseline: against e2cnn's own modules, off the grid, and what it refuses."""

import copy

import pytest
import torch
from blobs import blobs

from learnsym.analysis.equivariance import equivariance_errors
from learnsym.analysis.transforms import mirror_images, quarter_turns
from learnsym.layers.steerable import SteerableConv
from learnsym.nets.e2_steerable import E2Steerable
from learnsym.nets.plain_cnn import SimpleConv


def warm(net):
    with torch.no_grad():
        for seed in range(10):
            net(blobs(16, 1, 24, seed=100 + seed).float())
    return net


@pytest.mark.parametrize("published", [False, True])
def test_the_same_network_out_of_e2cnn_modules_gives_the_same(published):
    """e2cnn's modules are the oracle. Published: one hidden block twice, no padding, an average
    pool of stride 3."""
    from learnsym.nets.e2cnn_compat import building, enn, gspaces

    torch.manual_seed(0)
    settings = {"share_hidden": True, "padding": 0, "pool_stride": 3} if published else {}
    net = E2Steerable(3, 4, "DN", 4, fields=3, **settings)
    with building():
        space = gspaces.FlipRot2dOnR2(4)
        kind = enn.FieldType(space, [space.trivial_repr] * 3)
        blocks = []
        for fields in (3, 3, 2) if published else (3, 3, 3, 2):
            after = enn.FieldType(space, [space.regular_repr] * fields)
            conv = enn.R2Conv(kind, after, 3, padding=0 if published else 1, recompute=True)
            tail = [] if fields == 2 else [enn.InnerBatchNorm(after), enn.ReLU(after)]
            blocks.append(enn.SequentialModule(conv, *tail).float())
            kind = after
        pool = enn.PointwiseAvgPool(kind, 3, stride=3 if published else 1)
        group_pool = enn.GroupPooling(kind)
    ours = [m for m in net.modules() if isinstance(m, SteerableConv)]
    theirs = [m for block in blocks for m in block.modules() if isinstance(m, enn.R2Conv)]
    for mine, their in zip(ours, theirs, strict=True):
        torch.nn.init.normal_(mine.bias)
        assert mine.weights.numel() == their.weights.numel()
        assert mine.bias.shape == their.bias.shape
        their.load_state_dict(
            {**their.state_dict(), "weights": mine.weights.flatten(), "bias": mine.bias}
        )
    x = torch.randn(2, 3, 15, 15)
    net.train()
    y = enn.GeometricTensor(x, enn.FieldType(space, [space.trivial_repr] * 3))
    for block in [blocks[0], blocks[1], blocks[1], blocks[2]] if published else blocks:
        y = block.train()(y)
    pooled = group_pool(pool(y)).tensor
    torch.testing.assert_close(net(x), net.head(pooled.mean((-2, -1))), atol=1e-5, rtol=1e-5)


def test_the_published_baseline_has_three_convolutions_and_needs_pixels():
    own, published = (
        E2Steerable(1, 10, "CN", 10, share_hidden=shared, padding=1 - shared)
        for shared in (False, True)
    )
    hidden = sum(p.numel() for m in list(own.features)[2:4] for p in m.parameters())
    assert (
        sum(p.numel() for p in own.parameters()) - sum(p.numel() for p in published.parameters())
        == hidden
        > 1000
    )
    assert published(torch.zeros(2, 1, 11, 11)).shape == (2, 10)
    with pytest.raises(ValueError, match="at least 11 x 11"):
        published(torch.zeros(2, 1, 10, 10))


@pytest.mark.parametrize(
    ("settings", "degrees", "tolerance"),
    [
        (("CN", 8), 45, 0.01),
        (("CN", 10), 36, 0.01),
        (("SO2", None, 2), 33, 0.01),
        (("O2", None, 2), 45, 0.01),
    ],
)
def test_angles_off_the_grid_on_smooth_images(settings, degrees, tolerance):
    """1 % of the output on images without interpolation error, where an ordinary CNN changes by
    more than 5 %."""
    x, turned = blobs(8, 1, 24), {"turned": lambda _: blobs(8, 1, 24, degrees)}
    torch.manual_seed(0)
    steerable, plain = warm(E2Steerable(1, 4, *settings)), warm(SimpleConv(1, 4, width=8))
    assert equivariance_errors(steerable, x, turned)["turned"] < tolerance
    assert equivariance_errors(steerable, x, turned, relative_to="spread")["turned"] < 0.25
    assert equivariance_errors(plain, x, turned)["turned"] > 0.05


def test_it_keeps_what_it_does_not_promise():
    """Rotations only: mirror images are told apart; N = 10 has no quarter turn. Otherwise it would
    be blind to too much."""
    x = torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    for settings in (("CN", 4), ("SO2", None, 2)):
        errors = equivariance_errors(
            warm(E2Steerable(1, 4, *settings)), x, mirror_images(), relative_to="spread"
        )
        assert min(errors.values()) > 0.05
    errors = equivariance_errors(
        warm(E2Steerable(1, 4, "CN", 10)), x, quarter_turns(), relative_to="spread"
    )
    assert min(errors["90 degrees"], errors["270 degrees"]) > 0.05


def test_a_plain_network_fails_the_check_of_quarter_turns():
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    assert min(equivariance_errors(SimpleConv(3, 4, width=8), x, quarter_turns()).values()) > 0.1


def test_two_networks_share_nothing():
    first, second = E2Steerable(1, 2), E2Steerable(1, 2)
    pointers = {t.data_ptr() for t in [*first.parameters(), *first.buffers()]}
    assert not pointers & {t.data_ptr() for t in [*second.parameters(), *second.buffers()]}
    first.double()
    assert all(b.dtype == torch.float32 for b in second.buffers() if b.is_floating_point())


def test_filter_follows_the_weights_in_evaluation():
    net = E2Steerable(1, 2).eval()
    x = blobs(2, 1, 12).float()
    before = net(x)
    with torch.no_grad():
        next(net.parameters()).mul_(3)
    assert not torch.allclose(net(x), before)


def test_the_state_is_small_and_a_copy_is_equal():
    net = E2Steerable(3, 4, "DN", 4).eval()
    state = net.state_dict()
    assert not any("basis" in name or "filter" in name for name in state)
    assert sum(t.numel() for t in state.values()) < sum(p.numel() for p in net.parameters()) + 100
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(copy.deepcopy(net)(x), net(x))


def test_it_learns():
    """Gradient descent tells a disc from a bar within 30 steps, whatever the bar's angle."""
    torch.manual_seed(0)
    net = E2Steerable(1, 2, "CN", 4, fields=4)
    axis = torch.linspace(-1, 1, 12)
    disc = ((axis**2 + axis[:, None] ** 2) < 0.25).float()
    bar = torch.zeros(12, 12)
    bar[5:7] = 1
    x = torch.stack([disc, bar, bar.T]).unsqueeze(1).repeat(4, 1, 1, 1) + 0.1 * torch.randn(
        12, 1, 12, 12
    )
    y = torch.tensor([0, 1, 1]).repeat(4)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(30):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    assert (net(x).argmax(1) == y).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"group": "CN", "order": 1}, "order is 1 for the group CN.*at least 2"),
        ({"group": "DN", "order": None}, "order is None for the group DN"),
        ({"group": "CN", "max_frequency": 2}, "max_frequency is 2, but the group CN"),
        (
            {"group": "SO2", "order": 4, "max_frequency": 2},
            "order is 4, but the group SO2 is continuous",
        ),
        ({"group": "O2", "order": None}, "max_frequency is None for the group O2"),
        ({"group": "SE2"}, "group is 'SE2'; choose CN, DN, SO2 or O2"),
    ],
)
def test_senseless_groups_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        E2Steerable(1, 2, **settings)
