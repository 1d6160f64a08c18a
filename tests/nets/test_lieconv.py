"""LieConvNet: its size, its structure, clouds of mixed sizes, and its symmetries."""

import copy
import functools
import inspect
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from learnsym.groups.rotations import uniform_rotations
from learnsym.layers.lifting import LIFTS
from learnsym.layers.neighbourhoods import clouds_by_size
from learnsym.nets.lieconv import LieConvNet
from learnsym.utils.rng import BatchRows

CFG = Path(__file__).parents[2] / "cfg" / "net"
GROUPS = list(LIFTS)
SAMPLED = ("so3", "se3")


def clouds(sizes, features=3, padding=0, seed=0, dtype=torch.float64):
    """[B, longest + padding, 3 + features]: a few angstrom, every third feature 0."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(
        len(sizes), max(sizes) + padding, 3 + features, generator=generator, dtype=torch.float64
    )
    x[..., 4::3] = 0
    for place, size in enumerate(sizes):
        x[place, size:] = 0
    return x.to(dtype)


def net_of(group, samples=1, dtype=torch.float64, training=False, **more):
    """A small network with running statistics, in evaluation unless training."""
    return copy.deepcopy(_net_of(group, samples, dtype, **more)).train(training)


@functools.cache
def _net_of(group, samples, dtype, **more):
    torch.manual_seed(0)
    settings = {"width": 16, "blocks": 2, "mixing": 4, "weight_widths": (6, 5)} | more
    net = LieConvNet(3, 2, group=group, lift_samples=samples, **settings).to(dtype)
    with torch.no_grad():
        for block in net.blocks:  # or the blocks would add little to the embedding
            block.widen.weight.mul_(4)
            block.conv.linear.weight.mul_(4)
        for seed in range(20):
            net(clouds([4, 7, 5, 6], seed=seed, dtype=dtype))
    return net


def test_published_number_of_parameters():
    k, inner, pairs = 1536, 384, 3  # t3: coordinate differences

    def linear(a, b):
        return a * b + b

    def norm(c):
        return 2 * c

    weight_network = (
        linear(pairs, 32) + norm(32) + linear(32, 32) + norm(32) + linear(32, 16) + norm(16)
    )
    conv = weight_network + linear(16 * inner, inner)
    block = norm(k) + linear(k, inner) + norm(inner) + conv + norm(inner) + linear(inner, k)
    expected = linear(15, k) + 6 * block + norm(k) + linear(k, 1)
    with torch.device("meta"):
        net = LieConvNet(15, 1)
    assert sum(p.numel() for p in net.parameters()) == expected == 21_315_553
    assert "21 315 553" in LieConvNet.__doc__
    assert "21 315 553" in (CFG / "lieconv.yaml").read_text()


@pytest.mark.parametrize("training", [False, True])
def test_it_is_the_network_of_the_description(training):
    """On t3 and molecules of one size, with torch's own norms; every parameter by name."""
    net = net_of("t3", training=training)
    x = clouds([5, 5, 5])

    def swish_norm(rows, norm):
        statistics = (None, None) if training else (norm.running_mean, norm.running_var)
        return F.silu(F.batch_norm(rows, *statistics, norm.weight, norm.bias, training))

    features = net.embedding(x[..., 3:]).flatten(0, 1)
    gaps = (x[:, None, :, :3] - x[:, :, None, :3]).flatten(0, 2)
    for block in net.blocks:
        m = gaps
        for linear, norm in zip(block.conv.weights.linears, block.conv.weights.norms, strict=True):
            m = swish_norm(linear(m), norm)
        inner = swish_norm(block.narrow(swish_norm(features, block.norm1)), block.norm2)
        mixed = torch.einsum("bvuj,buc->bvjc", m.view(3, 5, 5, -1), inner.view(3, 5, -1)).reshape(
            15, -1
        )
        features = features + block.widen(swish_norm(block.conv.linear(mixed) / 5, block.norm3))
    expected = net.head(swish_norm(features, net.norm)).view(3, 5, -1).mean(1)
    torch.testing.assert_close(copy.deepcopy(net)(x), expected, atol=1e-9, rtol=1e-9)


# --- batches


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("group", GROUPS)
def test_mixed_sizes_give_what_each_cloud_gives_alone(group, dtype, tolerance):
    sizes = [4, 1, 9, 4, 6, 9]
    net = net_of(group, 2 if group in SAMPLED else 1, dtype, fill=0.8)
    x = clouds(sizes, padding=3, dtype=dtype)
    together = net(x)
    alone = torch.cat([net(cloud[None, :size]) for cloud, size in zip(x, sizes, strict=True)])
    torch.testing.assert_close(together, alone, atol=tolerance, rtol=tolerance)
    assert together.std(0).min() > 1e-3


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    padding=st.integers(0, 4),
    data=st.data(),
)
def test_padding_may_be_anywhere_and_points_in_any_order(sizes, padding, data):
    x = clouds(sizes, padding=padding)
    order = torch.tensor(data.draw(st.permutations(range(x.shape[1]))))
    for group in ("trivial3", "t3"):
        torch.testing.assert_close(
            net_of(group)(x[:, order]), net_of(group)(x), atol=1e-10, rtol=1e-10
        )
    # Padding between points does not change the sequence that lifts them; another order of the
    # points does.
    spread = torch.cat([x[:, :1], torch.zeros_like(x), x[:, 1:]], 1)
    for group in SAMPLED:
        net = net_of(group, 2)
        torch.testing.assert_close(net(spread), net(x), atol=1e-10, rtol=1e-10)


def test_batch_norm_sees_points_only():
    """Statistics of every norm of points and of pairs: over what is there, clouds of one point and
    padding among them."""
    x = clouds([2, 7, 1, 4], padding=5)
    net = net_of("t3", training=True)
    present = torch.cat([cloud[:size] for cloud, size in zip(x, [2, 7, 1, 4], strict=True)])
    for norm in (net.blocks[0].norm1, net.blocks[0].conv.weights.norms[0]):
        norm.reset_running_stats()
    net(x)
    gaps = [
        cloud[u, :3] - cloud[v, :3]
        for cloud, n in zip(x, [2, 7, 1, 4], strict=True)
        for v in range(n)
        for u in range(n)
    ]
    for norm, rows in (
        (net.blocks[0].norm1, net.embedding(present[:, 3:])),
        (
            net.blocks[0].conv.weights.norms[0],
            net.blocks[0].conv.weights.linears[0](torch.stack(gaps)),
        ),
    ):
        torch.testing.assert_close(norm.running_mean, 0.1 * rows.mean(0), atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(
            norm.running_var, 0.9 + 0.1 * rows.var(0), atol=1e-10, rtol=1e-10
        )


# --- symmetry


def moved(x, rotation=None, shift=(0.0, 0.0, 0.0)):
    """Coordinates of the points transformed, padding left at zero."""
    rotation = torch.eye(3, dtype=x.dtype) if rotation is None else rotation
    y = x.clone()
    y[..., :3] = (x[..., :3] @ rotation.mT + torch.tensor(shift, dtype=x.dtype)) * (
        x[..., 3:] != 0
    ).any(-1, keepdim=True)
    return y


SHIFT = (3.0, -2.0, 5.0)


def rotation(seed=5):
    return uniform_rotations(
        torch.rand(3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    )


def test_translations():
    x = clouds([4, 7, 5])
    for group in ("t3", "se3"):
        net = net_of(group)
        torch.testing.assert_close(net(moved(x, shift=SHIFT)), net(x), atol=1e-10, rtol=1e-10)
    for group in ("trivial3", "so3"):
        net = net_of(group)
        assert (net(moved(x, shift=SHIFT)) - net(x)).abs().max() > 1e-3


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("group", SAMPLED)
def test_exact_when_the_draws_turn_along(group, training, monkeypatch):
    """Rotate the molecule by g and the rotations that lift it, h -> g h: the same output to
    rounding."""
    net = net_of(group, 3, training=training, fill=0.6)
    x, g, shift = clouds([4, 7, 5]), rotation(), SHIFT if group == "se3" else (0, 0, 0)
    torch.manual_seed(4)
    h = uniform_rotations(torch.rand(4 + 5 + 7, 3, 3, dtype=torch.float64))
    monkeypatch.setattr(net, "lifting_rotations", lambda mask, index, rows: h)
    expected = net(x)
    monkeypatch.setattr(net, "lifting_rotations", lambda mask, index, rows: g @ h)
    torch.testing.assert_close(net(moved(x, g, shift)), expected, atol=1e-10, rtol=1e-10)
    assert (net(x) - expected).abs().max() > 1e-4, (
        "the draws do not matter: the comparison says nothing"
    )


@pytest.mark.parametrize("group", SAMPLED)
def test_points_in_any_order_with_their_draws(group, monkeypatch):
    net = net_of(group, 2)
    x, order = clouds([6]), torch.tensor([4, 0, 5, 2, 1, 3])
    torch.manual_seed(4)
    h = uniform_rotations(torch.rand(6, 2, 3, dtype=torch.float64))
    monkeypatch.setattr(net, "lifting_rotations", lambda mask, index, rows: h)
    expected = net(x)
    monkeypatch.setattr(net, "lifting_rotations", lambda mask, index, rows: h[order])
    torch.testing.assert_close(net(x[:, order]), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("group", SAMPLED)
@torch.no_grad()
def test_more_samples_vary_less_under_rotations(group):
    """In evaluation, of the same weights: spread over rotations of the molecule, relative to that
    over molecules."""
    x, turns = clouds([6] * 8), [rotation(seed) for seed in range(8)]
    found = []
    for samples in (1, 3, 9):
        net = net_of(group, samples, max_neighbours=1000)
        net.load_state_dict(net_of(group, 3).state_dict())
        outputs = torch.stack([net(moved(x, g)) for g in turns])
        found.append(float(outputs.std(0).mean() / outputs.mean(0).std(0).mean()))
    assert found[0] > 1.3 * found[1] > 1.3**2 * found[2], found
    plain = net_of("t3")
    outputs = torch.stack([plain(moved(x, g)) for g in turns])
    assert found[2] < 0.5 * float(outputs.std(0).mean() / outputs.mean(0).std(0).mean())


@pytest.mark.parametrize("group", SAMPLED)
def test_draws_belong_to_examples(group):
    """In training random, of a part of a batch those of its rows; in evaluation always the same."""
    net = net_of(group, 2, training=True)
    x = clouds([4, 7, 5, 6])
    mask = (x[..., 3:] != 0).any(-1)

    def drawn(part, rows=None):
        index = mask[part].flatten().nonzero().squeeze(1)
        return net.lifting_rotations(mask[part], index, rows)

    torch.manual_seed(1)
    whole = drawn(slice(0, 4))
    assert not torch.equal(drawn(slice(0, 4)), whole)
    torch.manual_seed(1)
    part = drawn(slice(2, 4), BatchRows(2, 4, 4))
    assert torch.equal(part, whole[4 + 7 :])
    net.eval()
    fixed = drawn(slice(0, 4))
    assert torch.equal(drawn(slice(1, 2)), fixed[4:11])
    assert fixed.flatten(0, 1).unique(dim=0).shape[0] == 7 * 2, (
        "one sequence for the points of every cloud"
    )
    assert clouds_by_size([7, 4]) == [(1, 4), (1, 7)]


# --- precision, refusals, configuration


def test_half_precision_is_near():
    net = net_of("se3", 2, torch.float32, training=True)
    x = clouds([4, 7, 5, 6], dtype=torch.float32)
    found = []
    for half in (False, True):
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = copy.deepcopy(net)(x)
        found.append(y)
    torch.testing.assert_close(found[1].float(), found[0], atol=0.1, rtol=0.1)
    found[1].float().square().sum().backward()


def test_second_derivatives_in_training_and_evaluation():
    """Hessian-vector products by reverse over reverse, against differences of gradients."""
    for training in (False, True):
        net = net_of("t3", training=training)
        x = clouds([4, 7, 5])
        parameters = list(net.parameters())
        direction = [torch.randn_like(p) for p in parameters]

        def gradients(create_graph=False, net=net, x=x, parameters=parameters):
            return torch.autograd.grad(net(x).square().sum(), parameters, create_graph=create_graph)

        slope = sum((g * d).sum() for g, d in zip(gradients(True), direction, strict=True))
        product = torch.autograd.grad(slope, parameters)
        step, sides = 1e-6, []
        for sign in (1, -1):
            with torch.no_grad():
                torch._foreach_add_(parameters, direction, alpha=sign * step)
            sides.append(gradients())
            with torch.no_grad():
                torch._foreach_sub_(parameters, direction, alpha=sign * step)
        largest = max(float(p.abs().max()) for p in product)
        for found, up, down in zip(product, *sides, strict=True):
            assert float((found - (up - down) / (2 * step)).abs().max()) < 1e-6 * largest


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"width": 18}, "width=18 is no multiple of bottleneck=4"),
        ({"fill": 0.0}, "fill=0.0"),
        ({"fill": 1.5}, "fill=1.5"),
        ({"group": "e3"}, "group='e3': net=lieconv knows trivial3, t3, so3, se3"),
        ({"group": "t3", "lift_samples": 2}, "lift_samples=2 has no effect on group=t3"),
        ({"group": "se3", "lift_samples": 0}, "lift_samples=0"),
        ({"task": "segmentation"}, "task=segmentation"),
    ],
)
def test_what_cannot_be_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        LieConvNet(3, 2, **{"width": 16, **arguments})


def test_wrong_clouds_are_named():
    net = net_of("t3")
    for shape in ((2, 4, 5), (4, 6), (0, 4, 6), (2, 0, 6)):
        with pytest.raises(
            ValueError,
            match=re.escape(
                f"point clouds [B, N, 3 + 3], coordinates and features, and got {list(shape)}"
            ),
        ):
            net(torch.zeros(shape))
    x = clouds([4, 2])
    x[1] = 0
    with pytest.raises(ValueError, match="cloud 1 of the batch is all padding"):
        net(x)


def test_yaml_sets_every_argument_and_explains_it():
    text = (CFG / "lieconv.yaml").read_text()
    config = yaml.safe_load(text)
    assert config.pop("_target_") == f"{LieConvNet.__module__}.{LieConvNet.__name__}"
    signature = inspect.signature(LieConvNet).parameters
    assert set(config) == set(signature) - {"in_channels", "num_outputs", "task"}
    assert all("  # " in line for line in text.splitlines() if line.split(":")[0] in config)
    defaults = {
        key: list(p) if isinstance(p := signature[key].default, tuple) else p for key in config
    }
    assert config == defaults
