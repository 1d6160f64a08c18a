"""The distance to equivariant networks, against dense matrices and sums over whole groups."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from learnsym.analysis.distance import KEY, AnalysisSettings, Distance, measurable, stencil_of
from learnsym.distributions.sampling import FullSampling
from learnsym.errors import ConfigError
from learnsym.groups.conv_projection import distance_matrices
from learnsym.groups.permutation import (
    CyclicShifts1d,
    CyclicShifts2d,
    QuarterTurns,
    ShiftsAndQuarterTurns,
    SymmetricGroup,
)
from learnsym.groups.planar import SE2, Translation2
from learnsym.kernels.siren import SIREN
from learnsym.nets.augerino import Augerino
from learnsym.nets.ckresnet import CKResNet
from learnsym.nets.plain_cnn import Conv5, Conv13, SimpleConv

GROUPS = {
    "permutation": SymmetricGroup,
    "shift_x": CyclicShifts1d,
    "shift_xy": CyclicShifts2d,
    "quarter_turns": QuarterTurns,
    "shift_turns": ShiftsAndQuarterTurns,
}
SHIFTS = [name for name in GROUPS if name != "quarter_turns"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


# --- the oracle: a dense matrix, and the mean over all elements


def dense(conv: nn.Conv2d, side: int) -> Tensor:
    """[P_out, C_out, P_in, C_in]: what a convolution without its bias makes of images with a single
    one in them."""
    points = side * side
    ones = torch.eye(conv.in_channels * points, dtype=torch.float64).view(
        -1, conv.in_channels, side, side
    )
    with torch.no_grad():
        zero = torch.zeros(conv.out_channels, dtype=torch.float64)
        made = (
            conv(ones) - conv(torch.zeros_like(ones[:1]))
            if conv.bias is not None
            else conv(ones) + zero.view(1, -1, 1, 1)
        )
    return made.flatten(2).unflatten(0, (conv.in_channels, points)).permute(3, 2, 1, 0)


def projected(group: str, matrix: Tensor) -> Tensor:
    """The mean of rho_out(g) A rho_in(g)^-1, element by element."""
    sides = [math.isqrt(matrix.shape[i]) for i in (0, 2)]
    rows, columns = (GROUPS[group](side).elements() for side in sides)
    return torch.stack([matrix[g][:, :, h] for g, h in zip(rows, columns, strict=True)]).mean(0)


def oracle(group: str, conv: nn.Conv2d, side: int) -> tuple[float, float]:
    matrix = dense(conv, side)
    scale = math.sqrt(matrix.shape[0])
    return float((matrix - projected(group, matrix)).norm()) / scale, float(matrix.norm()) / scale


def fast(group: str, conv: nn.Conv2d, side: int) -> tuple[float, float]:
    with torch.no_grad():
        side_out = conv(torch.zeros(1, conv.in_channels, side, side, dtype=torch.float64)).shape[-1]
    taps = conv.weight.detach().flatten(2).flatten(0, 1).T
    return tuple(
        float((matrix @ taps).norm())
        for matrix in distance_matrices(group, stencil_of(conv, side, side_out))
    )


def make(kernel, *arguments, **options) -> nn.Conv2d:
    return nn.Conv2d(2, 4, kernel, *arguments, **options).double()


def check(group, conv, side):
    assert fast(group, conv, side) == pytest.approx(oracle(group, conv, side), rel=1e-12, abs=1e-14)


# --- convolutions


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("side", [5, 6])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_convolutions_that_keep_the_side(group, kernel, side, mode):
    check(group, make(kernel, padding="same", padding_mode=mode), side)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("side", [5, 6])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_quarter_turns_between_maps_of_different_sides(kernel, side, stride, padding):
    check("quarter_turns", make(kernel, stride, padding), side)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("side", [1, 2, 3])
def test_taps_that_meet_on_small_circular_maps(group, side):
    """The kernel is as large as the map, or larger: some pairs of points get several taps."""
    check(group, make(3, padding=1, padding_mode="circular"), side)
    check(group, make(3, padding=1), side)
    check(group, make(3, padding=2, dilation=2), side)


@pytest.mark.parametrize("group", GROUPS)
def test_channel_groups_dilation_and_oblong_kernels(group):
    check(group, make(3, padding=1, groups=2), 4)
    check(group, make(3, padding=2, dilation=2), 5)
    check(group, make((1, 3), padding=(0, 1)), 4)
    check(group, make((5, 3), padding="same", bias=False), 5)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_even_kernels_that_keep_the_side_reach_further_down_and_right():
    for group in GROUPS:
        check(group, make((4, 2), padding="same"), 5)
        check(group, make(2, padding="same", dilation=3), 4)
        check(group, make(4, padding="same", padding_mode="circular"), 5)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(1, 2),
    st.booleans(),
)
def test_any_geometry(side, rows, columns, stride, padding, dilation, circular):
    """For quarter turns, and for the others where the side is kept."""
    kernel = (rows, rows) if (columns - rows) * dilation % 2 else (rows, columns)
    padding = (padding, padding + (kernel[1] - rows) * dilation // 2)  # a square output
    assume(min(padding) >= 0)
    assume(not circular or max(padding) <= side)
    side_out = (side + 2 * padding[0] - dilation * (rows - 1) - 1) // stride + 1
    assume(side_out >= 1)
    conv = nn.Conv2d(
        1, 2, kernel, stride, padding, dilation, padding_mode="circular" if circular else "zeros"
    ).double()
    for group in GROUPS if side_out == side else ["quarter_turns"]:
        check(group, conv, side)


@pytest.mark.parametrize("side", [4, 7])
@pytest.mark.parametrize("group", ["quarter_turns", "shift_turns"])
def test_symmetric_kernels_are_equivariant(side, group):
    kernel = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    symmetric = torch.stack([kernel.rot90(k, (-2, -1)) for k in range(4)]).mean(0)
    for scale in (1.0, 1e6):
        conv = make(3, padding=1, padding_mode="circular" if group == "shift_turns" else "zeros")
        conv.weight.data = symmetric * scale
        assert fast(group, conv, side)[0] <= 1e-14 * scale
        conv.weight.data = kernel
        far = fast(group, conv, side)[0]
        assert far > 0.1
        conv.weight.data = (
            symmetric + 1e-9 * kernel
        ) * scale  # far below what a difference of squares could tell from zero
        assert fast(group, conv, side)[0] == pytest.approx(1e-9 * far * scale, rel=1e-5)


def test_an_interior_stencil_is_measured_in_the_norm_of_its_kernel():
    conv = make(3)
    kernel = conv.weight.detach()
    symmetric = torch.stack([kernel.rot90(k, (-2, -1)) for k in range(4)]).mean(0)
    distance, norm = fast("quarter_turns", conv, 20)
    assert distance == pytest.approx(float((kernel - symmetric).norm()), rel=1e-12)
    assert norm == pytest.approx(float(kernel.norm()), rel=1e-12)


def test_circular_convolutions_commute_with_shifts():
    for group in ("shift_x", "shift_xy"):
        assert fast(group, make(3, padding=1, padding_mode="circular"), 5)[0] < 1e-14
        assert fast(group, make(3, padding=1), 5)[0] > 0.1


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_orbits_of_pairs_are_those_of_the_group(group, side):
    """All pairs of a small map: the same partition, and sizes that count it."""
    place = torch.arange(side * side)
    point = torch.stack([place // side, place % side], -1)
    p, q = (point[i.flatten()] for i in torch.meshgrid(place, place, indexing="ij"))
    codes, sizes = GROUPS[group].pair_codes(p, q, side, side)
    known = GROUPS[group](side).pair_orbits().flatten()
    tables = GROUPS[group](side).elements()
    pairs = (tables.unsqueeze(-1) * side**2 + tables.unsqueeze(-2)).amin(0).flatten()
    assert known.equal(pairs.unique(return_inverse=True)[1])
    both = torch.stack([codes, known]).unique(dim=1)
    assert both.shape[1] == len(codes.unique()) == len(known.unique())
    assert sizes.equal(known.bincount()[known])
    points = tables.amin(0).unique(return_inverse=True)[1]
    assert GROUPS[group](side).orbits().equal(points)


def test_large_maps_need_no_table_of_the_group():
    """10^5 shifts and turns, and 160! permutations."""
    for group in GROUPS:
        conv = make(3, padding=1)
        distance, norm = fast(group, conv, 160)
        assert 0 < distance < norm


# --- networks


def images(channels, side):
    return torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(1))


def flattened(*tail):
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), *tail, nn.Linear(3 * 16, 2)
    )


def expected(group, side, weight):
    """[K, C * P] with the channels outermost."""
    kind = GROUPS[group](side)
    rows = weight.double().unflatten(1, (-1, kind.points)).transpose(1, 2)
    return float((rows - kind.project_invariant(rows)).norm())


@pytest.mark.parametrize("group", GROUPS)
def test_a_linear_layer_after_a_flattened_map(group):
    net = flattened()
    row = Distance(net, images(1, 4), group)(net)
    weight = net[-1].weight.detach()
    linear = expected(group, 4, weight)
    conv, norm = oracle(group, net[0].double(), 4)
    assert row == {
        KEY: pytest.approx(math.hypot(conv, linear), rel=1e-12),
        f"{KEY}/0": pytest.approx(conv, rel=1e-12),
        f"{KEY}/3": pytest.approx(linear, rel=1e-12),
        f"relative_{KEY}": pytest.approx(
            math.hypot(conv, linear) / math.hypot(norm, float(weight.norm())), rel=1e-6
        ),
    }


class Functional(nn.Module):
    """Convolutions, and what the flag says on the way to a linear layer; functions, not modules."""

    def __init__(self, way, features):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.linear = nn.Linear(features, 5)
        self.head = nn.Linear(5, 2)
        self.way = way

    def forward(self, x):
        x = F.relu(self.conv(x), inplace=True)
        return self.head(torch.tanh(self.linear(self.way(F.max_pool2d(x, 2)))))


WAYS = {
    "flattened": (lambda x: x.flatten(1), 12, "channels first"),
    "reshaped in two steps": (
        lambda x: x.view(len(x), 3, 4).reshape(len(x), -1).mul(2).tanh(),
        12,
        "channels first",
    ),
    "pixels first": (lambda x: x.permute(0, 2, 3, 1).reshape(len(x), -1), 12, "pixels first"),
    "mean": (lambda x: x.mean((-2, -1)), 3, "vector"),
    "maximum": (lambda x: F.adaptive_max_pool2d(x, 1).squeeze((-2, -1)), 3, "vector"),
    "mean and maximum": (lambda x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1), 6, "vector"),
    "in place": (lambda x: x.flatten(2).sum(-1).relu_(), 3, "vector"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_becomes_of_the_last_map(way):
    function, features, carried = WAYS[way]
    net = Functional(function, features)
    row = Distance(net, images(1, 4), "quarter_turns")(net)
    weight = net.linear.weight.detach()
    if carried == "vector":
        assert row[f"{KEY}/linear"] == 0
    else:
        if carried == "pixels first":
            weight = weight.unflatten(1, (4, 3)).transpose(1, 2).flatten(1)
        assert row[f"{KEY}/linear"] == pytest.approx(
            expected("quarter_turns", 2, weight), rel=1e-12
        )
    assert row[f"{KEY}/head"] == 0


REFUSED = {
    "one corner": (lambda x: x[:, :, 0, 0], 3),
    "rows": (lambda x: x.mean(-1).flatten(1), 6),
    "channels and pixels exchanged": (lambda x: x.transpose(1, 2).flatten(1), 12),
    "two flattened maps": (lambda x: torch.cat([x.flatten(1), (2 * x).flatten(1)], 1), 24),
    "a vector beside a flattened map": (lambda x: torch.cat([x.flatten(1), x.mean((2, 3))], 1), 15),
    "space unturned": (lambda x: x, 2),
    "sorted": (lambda x: x.flatten(1).cumsum(1), 12),
}


@pytest.mark.parametrize("way", REFUSED)
def test_other_ways_are_refused(way):
    function, features = REFUSED[way]
    with pytest.raises(
        ConfigError,
        match="linear of Functional is a Linear on something else than a flattened map or numbers",
    ):
        Distance(Functional(function, features), images(1, 4), "quarter_turns")


class Excited(nn.Module):
    """Squeeze and excitation with 1 x 1 convolutions, and a convolution down to one pixel."""

    def __init__(self):
        super().__init__()
        self.lift = nn.Conv2d(1, 4, 3, padding=1)
        self.squeeze, self.excite = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.norm = nn.GroupNorm(2, 4)
        self.down = nn.Conv2d(4, 6, 4)
        self.mix = nn.Conv2d(6, 6, 1)
        self.after = nn.LayerNorm(6)

    def forward(self, x):
        x = self.lift(x)
        x = self.norm(x * self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid())
        return self.after(self.mix(self.down(x).relu()).flatten(1))


def test_maps_of_one_pixel_are_numbers_without_space():
    net = Excited()
    row = Distance(net, images(1, 4), "quarter_turns")(net)
    assert {k.partition("/")[2] for k in row} == {"", "lift", "squeeze", "excite", "down", "mix"}
    assert row[f"{KEY}/squeeze"] == row[f"{KEY}/excite"] == row[f"{KEY}/mix"] == 0
    assert row[f"{KEY}/down"] == pytest.approx(
        oracle("quarter_turns", net.down.double(), 4)[0], rel=1e-12
    )


@pytest.mark.parametrize("group", GROUPS)
def test_the_plain_networks(group):
    for net, channels, side in (
        (Conv5(1, 10, width=3), 1, 13),
        (Conv13(3, 10, width=2), 3, 12),
        (SimpleConv(1, 2, width=2), 1, 16),
        (Augerino(SimpleConv(3, 4, width=2), SE2()), 3, 16),
    ):
        net.train()
        before = {k: v.clone() for k, v in net.state_dict().items()}
        state = torch.get_rng_state()
        distance = Distance(net, images(channels, side), group)
        row = distance(net)
        assert net.training
        assert state.equal(torch.get_rng_state())
        assert all(before[k].equal(v) for k, v in net.state_dict().items())
        layers = {k: v for k, v in row.items() if "/" in k}
        convs = [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d)]
        assert [k for k, v in layers.items() if v > 0] == [f"{KEY}/{name}" for name in convs]
        assert row[KEY] == pytest.approx(math.hypot(*layers.values()))
        assert 0 < row[f"relative_{KEY}"] < 1
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(2)
        assert distance(net)[KEY] == pytest.approx(2 * row[KEY])


# --- refusals


class WithWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.ones(3))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.idle = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.conv(x)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x):
        return self.conv(self.conv(x))


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def decoder():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Unflatten(1, (4, 4, 4)), nn.Conv2d(4, 1, 3)
    )


SENTENCES = {
    "another class": (
        lambda: CKResNet(1, 2, Translation2(), FullSampling(), SIREN(hidden=4), channels=2),
        "lift of CKResNet is a LiftingConv; the distance is known for Conv2d, Linear and "
        "normalisation layers",
    ),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(1, 2, 3)),
        "0 of Sequential is a ConvTranspose2d",
    ),
    "a subclass with another pass": (
        lambda: nn.Sequential(nn.Flatten(), Doubled(64, 2)),
        "1 of Sequential is a Doubled",
    ),
    "own weights": (WithWeights, "WithWeights has weights of its own"),
    "unused": (Unused, "idle of Unused takes no part in a forward pass as a module"),
    "two sizes": (Twice, "conv of Twice is used on maps of different sizes"),
    "not square": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, (1, 3))),
        "0 of Sequential goes from maps of 8 x 8 to 8 x 6 pixels",
    ),
    "reflecting": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")),
        "0 of Sequential has padding_mode=reflect; the distance is known for zeros and circular",
    ),
    "a norm over space": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.LayerNorm((6, 6))),
        "1 .* is a LayerNorm with weights over",
    ),
    "a norm over a flattened map": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.BatchNorm1d(72)),
        "2 of Sequential is a BatchNorm1d with weights over space",
    ),
    "pixels as channels": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Unflatten(1, (72, 1, 1)), nn.Conv2d(72, 2, 1)
        ),
        "3 of Sequential is a Conv2d on something else",
    ),
    "maps made of numbers": (decoder, "Sequential makes maps of what a layer gives without space"),
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_what_is_not_known_is_refused(kind):
    net, sentence = SENTENCES[kind]
    with pytest.raises(ConfigError, match=f"analysis.distance_to_equivariance=true: {sentence}"):
        Distance(net(), images(1, 8), "quarter_turns")


@pytest.mark.parametrize("group", SHIFTS)
def test_shifts_and_permutations_need_maps_of_one_side(group):
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3))
    match = (
        "2 of Sequential goes from maps of 6 x 6 to 4 x 4 pixels, on which "
        f"analysis.group={group} does not act alike"
    )
    with pytest.raises(ConfigError, match=match):
        Distance(net, images(1, 6), group)


def test_oblong_images_are_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(24, 2))
    with pytest.raises(ConfigError, match="1 of Sequential takes a map of 4 x 6 pixels"):
        Distance(net, torch.zeros(1, 1, 4, 6), "quarter_turns")


def test_settings():
    net = flattened()
    assert AnalysisSettings().measure(net, images(1, 4)) is None
    assert set(AnalysisSettings(True, "shift_x").measure(net, images(1, 4))(net)) >= {
        KEY,
        f"relative_{KEY}",
    }


def test_a_module_may_bring_a_measure_of_its_own():
    class Own(WithWeights):
        def forward(self, x):
            return x

        def distance_to_equivariance(self, group):
            return {"table": {"shift_x": 3.0, "shift_xy": 4.0}[group]}

    alone = Distance(Own(), images(1, 4), "shift_xy")
    assert alone(Own()) == {KEY: 4.0, f"{KEY}/table": 4.0}
    net = nn.Sequential(Own(), nn.Conv2d(1, 1, 1))
    assert list(measurable(net)) == ["1"]
    assert Distance(net, images(1, 4), "shift_x")(net) == {
        KEY: 3.0,
        f"{KEY}/0.table": 3.0,
        f"{KEY}/1": pytest.approx(0, abs=1e-14),
    }
