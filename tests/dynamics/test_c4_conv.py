"""The C4 network: how many numbers it has, which weights are equivariant, its bases, and that
members are networks."""

import io
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.dynamics.c4_conv import SUPPORTS, C4Conv, basis_of
from learnsym.dynamics.ensemble import Weights, concat_members, slice_members
from learnsym.dynamics.risk import Batch, risk_gradient

KINDS = {
    "cross": {"support": "cross"},
    "skew": {"support": "skew"},
    "random": {"support": "cross", "basis": "random"},
}
every = pytest.mark.parametrize("kind", list(KINDS))
SIDE = 12


def make(kind: str, **settings: object) -> C4Conv:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return C4Conv(
            **{"in_channels": 2, "num_outputs": 3, "side": SIDE, "channels": (3, 4, 5)}
            | KINDS[kind]
            | settings
        )


def members(net: C4Conv, count: int) -> Weights:
    """Equivariant weights of so many members, each in a basis of its own where there is one;
    float64."""
    drawn = [net.sample_equivariant(torch.Generator().manual_seed(m)) for m in range(count)]
    doubled = [{name: w.double() for name, w in one.items()} for one in drawn]
    freed = concat_members(
        [net.to_basis(one, torch.Generator().manual_seed(100 + m)) for m, one in enumerate(doubled)]
    )
    return {name: w.double() for name, w in freed.items()}


def pictures(*shape: int, side: int = SIDE, seed: int = 1) -> Tensor:
    return torch.randn(
        *shape, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def noise(weights: Weights, scale: float = 0.1) -> Weights:
    draw = torch.Generator().manual_seed(2)
    return {
        k: scale * torch.randn(w.shape, dtype=w.dtype, generator=draw) for k, w in weights.items()
    }


def worst_error(net: C4Conv, weights: Weights, x: Tensor) -> float:
    """The largest |f(g x) - f(x)| over the quarter turns."""
    outputs = net.forward_members(weights, x)
    return max(
        float((net.forward_members(weights, x.rot90(k, (-2, -1))) - outputs).abs().max())
        for k in (1, 2, 3)
    )


def size(weights: Weights) -> float:
    return float(torch.cat([w.detach().flatten() for w in weights.values()]).norm())


def minus(a: Weights, b: Weights) -> Weights:
    return {name: a[name] - b[name] for name in b}


# --- sizes


@every
def test_published_number_of_free_numbers(kind):
    assert sum(p.numel() for p in C4Conv(1, 10, **KINDS[kind]).parameters()) == 62_240


@pytest.mark.parametrize(("kind", "published"), [("cross", 20_672), ("skew", 14_496)])
def test_published_number_of_equivariant_numbers(kind, published):
    """The rank of the projection, found by projecting unit vectors: one channel pair shows it, all
    the others are alike."""
    net = C4Conv(1, 10, **KINDS[kind])
    numbers = 0
    for name in net.layers:
        points, c, d = net.get_parameter(name).shape
        units = {k: torch.zeros(points, *net.get_parameter(k).shape) for k in net.layers}
        units[name][:, :, -1, 0] = torch.eye(points)
        projected = net.project(units)
        assert all(not projected[k].any() for k in net.layers if k != name)
        matrix = projected[name][:, :, -1, 0].clone()
        projected[name][:, :, -1, 0] = 0
        assert not projected[name].any(), "pairs of channels do not mix"
        rank = int(torch.linalg.matrix_rank(matrix))
        assert rank == pytest.approx(float(matrix.trace()), abs=1e-5)
        numbers += rank * c * d
    assert numbers == published


@pytest.mark.parametrize("side", [4, 8, 30])
def test_sides_that_make_no_sense_are_refused(side):
    """30 is not divided by two poolings; of 4 and 8 the equivariant network would be zero."""
    with pytest.raises(ValueError, match=f"side={side}: two poolings need a multiple of 4"):
        C4Conv(1, 10, side=side)


@pytest.mark.parametrize(
    "shape", [(1, 1, SIDE, SIDE), (1, 2, SIDE, SIDE + 4), (1, 2, SIDE, SIDE - 4)]
)
def test_images_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="C4Conv"):
        make("cross")(torch.rand(shape))


# --- symmetry


@every
@pytest.mark.parametrize("side", [12, 16, 20])
def test_drawn_weights_are_equivariant_and_so_is_the_function(kind, side):
    net = make(kind, side=side)
    drawn = net.sample_equivariant(torch.Generator().manual_seed(3))
    assert all(w.dtype == torch.float32 and len(w) == 1 for w in drawn.values())
    assert net.distance(drawn).eq(0).all()
    assert all(drawn[name].any() for name in net.layers)
    assert net.sample_equivariant(torch.Generator().manual_seed(3))["conv1"].equal(drawn["conv1"])
    weights, x = members(net, 2), pictures(2, 3, 2, side=side)
    assert net.distance(weights).max() < 1e-13
    outputs = net.forward_members(weights, x)
    assert outputs.shape == (2, 3, 3)
    assert outputs.std(1).max() > 0.1, (
        "all examples give the same output: the comparison says nothing"
    )
    assert worst_error(net, weights, x) < 1e-10


def test_the_size_of_the_first_weights():
    """Of 5/3: the norms with which the published networks start, and their tanh and average pool in
    either order."""
    net = C4Conv(1, 10, start_variance=5 / 3)
    drawn = [net.sample_equivariant(torch.Generator().manual_seed(m)) for m in range(40)]
    norms = torch.stack([net.norms(weights)[0] for weights in drawn]).square().mean(0).sqrt()
    torch.testing.assert_close(
        norms, torch.tensor([7.3, 10.33, 10.33, 4.08], dtype=norms.dtype), rtol=0.05, atol=0
    )
    weights, x = slice_members(members(make("cross"), 1), 0, 1), pictures(1, 3, 2)
    one, other = (
        make("cross", order=order).forward_members(weights, x)
        for order in ("tanh_pool", "pool_tanh")
    )
    assert (one - other).abs().max() > 1e-2


@every
def test_of_other_weights_it_is_not(kind):
    net = make(kind)
    weights, x = members(net, 1), pictures(1, 3, 2)
    for place, layer in enumerate(net.layers):
        moved = weights | {layer: weights[layer] + noise(weights)[layer]}
        distance = net.distance(moved)[0]
        assert distance[place] > 0.1
        assert distance[torch.arange(4) != place].max() < 1e-13
        assert worst_error(net, moved, x) > 1e-3


@pytest.mark.parametrize("kind", ["cross", "skew"])
def test_the_projection_is_orthogonal_and_onto_equivariant_weights(kind):
    net = make(kind)
    weights = members(net, 2)
    a, b = ({k: torch.randn_like(w) for k, w in weights.items()} for _ in range(2))
    projected = net.project(a)
    assert projected.keys() == a.keys()
    for name in net.layers:
        torch.testing.assert_close(
            net.project(projected)[name], projected[name], rtol=0, atol=1e-15
        )
        left, right = (projected[name] * b[name]).sum(), (a[name] * net.project(b)[name]).sum()
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(net.project(weights)[name], weights[name], rtol=0, atol=1e-15)
    assert net.distance(projected).max() < 1e-14, "its image is in E"
    assert all(
        net.residual(projected)[k].shape[1] == (9 if k in net.convs else net.map_turns.points)
        for k in net.layers
    )
    assert size(minus(a, projected)) > 0.3 * size(a)


@every
def test_the_distance_is_that_from_the_mean_over_the_rotations(kind):
    """With torch.rot90 of whole kernels, and of the linear layer's weights as pictures."""
    net = make(kind)
    weights = members(net, 2)
    weights = weights | {k: weights[k] + noise(weights)[k] for k in net.layers}
    maps, expected = net.linear_maps(weights), []
    for name in net.layers:
        full = maps[name]
        if name in net.convs:
            full = full.new_zeros(2, 9, *full.shape[2:]).index_copy(1, torch.tensor(net.taps), full)
        square = full.unflatten(1, (math.isqrt(full.shape[1]), -1))
        mean = sum(square.rot90(k, (1, 2)) for k in range(4)) / 4
        expected.append((square - mean).flatten(1).norm(dim=1))
    torch.testing.assert_close(
        net.distance(weights), torch.stack(expected, dim=1), rtol=1e-12, atol=0
    )


@every
def test_a_network_knows_its_distance(kind):
    net = make(kind)
    weights = slice_members(members(net, 1), 0, 1)
    weights = weights | {k: weights[k] + noise(weights)[k] for k in net.layers}
    net.load_member(weights)
    assert list(net.distance_to_equivariance("quarter_turns")) == list(net.layers)
    assert (
        list(net.distance_to_equivariance("quarter_turns").values())
        == net.distance(weights)[0].tolist()
    )
    with pytest.raises(ValueError, match="not for shift_x"):
        net.distance_to_equivariance("shift_x")


def test_the_mean_of_a_corner_has_all_four():
    """So the skew support is not symmetric: one corner c has the mean (c1 + c2 + c3 + c4) / 4, at
    the distance sqrt(3) / 2."""
    net = make("skew", in_channels=1, channels=(1, 1, 1))
    maps = {name: torch.zeros_like(w) for name, w in members(net, 1).items()}
    corner = SUPPORTS["skew"].index(0)
    maps["conv0"][0, corner] = 1
    outside = net.residual(maps)
    assert outside["conv0"].flatten().tolist() == [0.75, 0, -0.25, 0, 0, 0, -0.25, 0, -0.25]
    assert net.distance(maps).tolist() == [[math.sqrt(3) / 2, 0, 0, 0]]
    assert not net.project(maps)["conv0"].any(), "no equivariant kernel on the support has a corner"


# --- bases


def test_free_keeps_the_kernels_in_a_basis_that_is_not_orthogonal():
    net = make("random", channels=(32, 64, 64))
    errors_of: list[Tensor] = []
    for seed in range(20):
        drawn = net.sample_equivariant(torch.Generator().manual_seed(seed))
        freed = net.to_basis(drawn, torch.Generator().manual_seed(seed))
        assert freed.keys() == drawn.keys() | set(net.fixed)
        errors = (net.norms(minus(net.linear_maps(freed), drawn)) / net.norms(drawn))[0]
        assert errors[3] == 0
        errors_of.append(errors[:3])
        for name in net.convs:
            basis = freed[basis_of(name)][0]
            torch.testing.assert_close(basis.norm(dim=0), torch.ones(5), rtol=1e-6, atol=0)
            gram = basis.mT @ basis
            assert (gram - torch.eye(5)).abs().max() > 0.2
    assert not freed["basis1"].equal(freed["basis0"])
    assert torch.stack(errors_of).median() < 3e-7
    assert torch.stack(errors_of).max() < 1e-5, (
        "coefficients are rounded to single precision, some bases are ill conditioned"
    )


def test_the_orthonormal_basis_changes_nothing():
    net = make("skew")
    drawn = net.sample_equivariant(torch.Generator().manual_seed(0))
    freed = net.to_basis(drawn, torch.Generator().manual_seed(0))
    assert list(freed.items()) == list(drawn.items())


@every
def test_gradients_through_the_bases_against_autograd(kind):
    """The bases are not trained, and get none."""
    net = make(kind)
    weights, x = members(net, 2), pictures(2, 3, 2)
    assert list(net.reduce(weights)) == list(net.layers)
    trained = {k: weights[k].clone().requires_grad_() for k in net.layers}
    outputs = net.forward_members(weights | trained, x)
    expected = torch.autograd.grad(outputs.square().sum(), list(trained.values()))
    batches = [Batch(x[:, rows], torch.zeros(2, 1)) for rows in (slice(0, 2), slice(2, 3))]
    found, losses = risk_gradient(net, lambda y, _: y.square().sum(1), weights, batches, 1)
    assert list(found) == list(net.layers)
    for name, gradient in zip(trained, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(losses.sum(), outputs.square().sum().detach())


# --- members and modules


def reference(net: C4Conv, weights: Weights, x: Tensor) -> Tensor:
    """One member [1, ...] on [B, C, H, W], by torch's own layers."""
    kernels = net.linear_maps(weights)
    for name, (c, d) in net.convs.items():
        dense = x.new_zeros(9, c, d).index_copy(0, torch.tensor(net.taps), kernels[name][0])
        x = F.conv2d(x, dense.view(3, 3, c, d).permute(3, 2, 0, 1), padding=1)
        steps = [torch.tanh] if name == "conv2" else [torch.tanh, lambda y: F.avg_pool2d(y, 2)]
        for step in steps if net.order == "tanh_pool" else reversed(steps):
            x = step(x)
        x = F.layer_norm(x, x.shape[2:])
    return torch.einsum("bcp,pck->bk", x.flatten(2), kernels["linear"][0])


@every
@pytest.mark.parametrize("order", ["tanh_pool", "pool_tanh"])
def test_a_member_is_a_network(kind, order):
    net = make(kind, order=order).double()
    weights, x = members(net, 3), pictures(3, 2, 2)
    weights = {k: w + noise(weights)[k] for k, w in weights.items()}
    together = net.forward_members(weights, x)
    for m in range(3):
        one = slice_members(weights, m, m + 1)
        torch.testing.assert_close(
            net.forward_members(one, x[m : m + 1])[0], together[m], rtol=1e-12, atol=1e-12
        )
        torch.testing.assert_close(reference(net, one, x[m]), together[m], rtol=1e-11, atol=1e-11)
        net.load_member(one)
        torch.testing.assert_close(net(x[m]), together[m], rtol=1e-12, atol=1e-12)
    shared = net.forward_members(weights, x[:1])
    torch.testing.assert_close(
        shared,
        net.forward_members(weights, x[:1].expand(3, -1, -1, -1, -1)),
        rtol=1e-12,
        atol=1e-12,
    )


@every
def test_bases_are_buffers_and_go_through_a_file(kind):
    net, x = make(kind), pictures(3, 2).float()
    assert {name for name, _ in net.named_parameters()} == set(net.layers)
    assert set(net.state_dict()) == set(net.layers) | set(net.fixed)
    assert net.fixed == (("basis0", "basis1", "basis2") if kind == "random" else ())
    assert worst_error(net, {k: v[None] for k, v in net.state_dict().items()}, x[None]) < 1e-4, (
        "it starts equivariant"
    )
    torch.save(net.state_dict(), file := io.BytesIO())
    other = C4Conv(2, 3, SIDE, (3, 4, 5), **KINDS[kind])
    assert not other(x).equal(net(x)), "torch's seed decides the start"
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other(x).equal(net(x))
