"""Fully linear networks: which weights are equivariant, what follows for the function, and that
members are networks."""

import io
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.dynamics.ensemble import Weights, concat_members
from learnsym.dynamics.projected_linear import ProjectedLinear
from learnsym.dynamics.risk import Batch, risk_gradient
from learnsym.groups.permutation import (
    GROUPS,
    CyclicShifts2d,
    PermutationGroup,
    QuarterTurns,
    SymmetricGroup,
    named_group,
)
from learnsym.groups.planar import SE2

SIDE = 4
TASKS = ("classification", "segmentation")
every = pytest.mark.parametrize("name", list(GROUPS))
both = pytest.mark.parametrize("task", TASKS)


def make(
    group: PermutationGroup,
    task: str,
    num_outputs: int = 3,
    in_channels: int = 2,
    **settings: object,
) -> ProjectedLinear:
    features = {"features": 4, "hidden": (3,)} if task == "classification" else {"features": None}
    return ProjectedLinear(
        in_channels,
        num_outputs,
        task,
        group,
        **{"channels": (3, 2), "seed": 0, **features, **settings},
    )


def members(net: ProjectedLinear, count: int, start: int = 0) -> Weights:
    """Weights of so many members, equivariant to the last bit of float64."""
    drawn = [net.sample_equivariant(torch.Generator().manual_seed(start + m)) for m in range(count)]
    return net.project({name: w.double() for name, w in concat_members(drawn).items()})


def pictures(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(
        *shape, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def perturbed(weights: Weights, layer: str) -> Weights:
    noise = torch.randn(
        weights[layer].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    return weights | {layer: weights[layer] + 0.1 * noise}


def worst_error(net: ProjectedLinear, weights: Weights, x: Tensor) -> float:
    """The largest |f(g x) - g f(x)| over all elements, g acting on images and not on classes."""
    group, outputs, errors = net.group, net.forward_members(weights, x), []
    for table in group.elements():
        expected = (
            group.act(table, outputs.flatten(-2)).view(outputs.shape)
            if outputs.ndim == 5
            else outputs
        )
        errors.append(
            net.forward_members(weights, group.act(table, x.flatten(-2)).view(x.shape)) - expected
        )
    return float(torch.stack(errors).abs().max())


def dense_distance(group: PermutationGroup, weights: Weights, layers: tuple[str, ...]) -> Tensor:
    """|A - mean_g rho_out(g) A rho_in(g)^-1| with the matrices rho(g) of all elements written out,
    [M, layers]."""
    rho = F.one_hot(group.elements(), group.points).double()  # (rho(g) x)[p] = x[table_g[p]]
    found = []
    for name in layers:
        a = weights[name]
        if name == "invariant":
            mean = torch.einsum("mscf,gqs->mqcf", a, rho) / len(rho)
        else:
            left = torch.einsum("gpr,mrosi->gmposi", rho, a)
            mean = torch.einsum("gmposi,gqs->mpoqi", left, rho) / len(rho)
        found.append((a - mean).flatten(1).norm(dim=1))
    return torch.stack(found, dim=1)


# --- symmetry


@every
@both
def test_drawn_weights_are_equivariant_and_so_is_the_function(name, task):
    net = make(named_group(name, SIDE), task)
    drawn = net.sample_equivariant(torch.Generator().manual_seed(3))
    assert all(w.dtype == torch.float32 and len(w) == 1 for w in drawn.values())
    assert net.distance(drawn).eq(0).all(), "single precision is projected to the last bit"
    weights = members(net, 2)
    assert net.distance(weights).max() < 1e-14
    x = pictures(2, 3, 2)
    outputs = net.forward_members(weights, x)
    assert outputs.shape == ((2, 3, 3) if task == "classification" else (2, 3, 3, SIDE, SIDE))
    assert outputs.std(1).max() > 0.1, (
        "all examples give the same output: the comparison says nothing"
    )
    assert worst_error(net, weights, x) < 1e-10


@every
@both
def test_of_other_weights_it_is_not(name, task):
    net = make(named_group(name, SIDE), task)
    weights, x = members(net, 1), pictures(1, 3, 2)
    for place, layer in enumerate(net.layers):
        moved = perturbed(weights, layer)
        distance = net.distance(moved)[0]
        assert distance[place] > 0.1
        assert distance[torch.arange(len(distance)) != place].max() < 1e-14
        assert worst_error(net, moved, x) > 1e-3


@every
@both
def test_the_distance_is_that_from_the_mean_over_the_group(name, task):
    net = make(named_group(name, SIDE), task)
    weights = members(net, 2)
    for layer in net.layers:
        weights = perturbed(weights, layer)
    found = net.distance(weights)
    torch.testing.assert_close(
        found, dense_distance(net.group, weights, net.layers), rtol=1e-12, atol=0
    )
    assert found.shape == (2, len(net.layers))
    projected = net.project(weights)
    assert net.distance(projected).max() < 1e-13
    # Pythagoras: |A|^2 = |Pi A|^2 + |A - Pi A|^2
    squares = [net.norms(maps).square() for maps in (weights, projected, net.residual(weights))]
    torch.testing.assert_close(squares[0], squares[1] + squares[2], rtol=1e-12, atol=0)
    assert all(projected[other] is weights[other] for other in weights if other not in net.layers)


@every
@both
def test_free_numbers_and_weights(name, task):
    net = make(named_group(name, SIDE), task)
    weights = members(net, 2)
    numbers = net.coordinates(weights)
    again = net.from_coordinates(numbers)
    for key, weight in weights.items():
        torch.testing.assert_close(again[key], weight, rtol=0, atol=1e-13)
        torch.testing.assert_close(numbers[key].norm(), weight.norm(), rtol=1e-12, atol=0)
    assert numbers["linear0"].numel() <= weights["linear0"].numel() / 4


# --- members


@both
@pytest.mark.parametrize("seen", [1, 3], ids=["the same images", "images of their own"])
def test_members_are_networks_of_their_own(task, seen):
    net = make(QuarterTurns(SIDE), task)
    weights, x = members(net, 3), pictures(seen, 5, 2)
    together = net.forward_members(weights, x)
    for m in range(3):
        alone = net.forward_members(
            {k: w[m : m + 1] for k, w in weights.items()}, x[m % seen][None]
        )
        torch.testing.assert_close(together[m], alone[0], rtol=0, atol=1e-13)
    assert (together[0] - together[1]).abs().max() > 0.1


@both
def test_a_module_is_one_member(task):
    net = make(QuarterTurns(SIDE), task).double()
    weights, x = members(net, 3), pictures(5, 2)
    net.load_member({k: w[1:2] for k, w in weights.items()})
    assert net(x).equal(net.forward_members(weights, x[None])[1])
    assert {k: tuple(p.shape) for k, p in net.named_parameters()} == {
        k: tuple(w.shape[1:]) for k, w in weights.items()
    }
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other = make(QuarterTurns(SIDE), task, seed=5).double()
    assert not other(x).equal(net(x))
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert other(x).equal(net(x))
    assert weights["linear0"][1].data_ptr() != net.linear0.data_ptr(), "its parameters are its own"


def test_the_seed_decides_the_weights():
    group = QuarterTurns(SIDE)
    one, same, other = (make(group, "classification", seed=seed) for seed in (4, 4, 5))
    assert one.linear0.equal(same.linear0)
    assert not one.linear0.equal(other.linear0)
    torch.manual_seed(0)
    drawn = [make(group, "classification", seed=None).linear0 for _ in range(2)]
    torch.manual_seed(0)
    assert drawn[0].equal(make(group, "classification", seed=None).linear0)
    assert not drawn[0].equal(drawn[1])


@pytest.mark.parametrize("fans", ["in", "both"])
@pytest.mark.parametrize("group", [SymmetricGroup(4), CyclicShifts2d(3), QuarterTurns(4)], ids=repr)
def test_the_size_of_the_first_weights(group, fans):
    """A Gaussian of standard deviation s projected onto d dimensions has a squared norm d s^2 +-
    s^2 sqrt(2 d)."""
    c, d, f = 8, 10, 12
    net = ProjectedLinear(c, 5, "classification", group, (d,), f, (40,), fans, seed=0)
    weights = net.sample_equivariant(torch.Generator().manual_seed(1))
    free = {
        "linear0": int(group.pair_orbits().max() + 1) * c * d,
        "invariant": int(group.orbits().max() + 1) * d * f,
    }
    for name, (inputs, outputs) in {"linear0": (c, d), "invariant": (d, f)}.items():
        variance = 1 / (group.points * inputs * (outputs if fans == "both" else 1))
        square = float(weights[name].double().square().sum())
        assert abs(square / variance - free[name]) < 5 * math.sqrt(2 * free[name]), name
    assert float(weights["dense0"].std()) == pytest.approx(f**-0.5, rel=0.15)
    assert float(weights["dense1"].std()) == pytest.approx(40**-0.5, rel=0.25)
    assert weights["bias0"].eq(0).all()
    assert weights["bias1"].eq(0).all()


# --- the function


@both
@pytest.mark.parametrize("name", ["permutation", "quarter_turns"])
def test_symmetric_inputs_cost_less_and_give_the_same(name, task):
    """Outputs, and gradients with respect to all weights: by autograd through either, and as
    the training computes them."""
    group = named_group(name, SIDE)
    plain, folded = make(group, task), make(group, task, symmetric_inputs=True)
    weights = perturbed(members(plain, 2), "linear0")
    x = pictures(1, 5, 2)
    x = x + x.mT
    assert folded.reduce(weights)["linear0"].shape == (2, 16, 3, 10, 2)
    torch.testing.assert_close(
        folded.forward_members(weights, x), plain.forward_members(weights, x), rtol=0, atol=1e-12
    )

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.flatten(1).square().sum(1) - outputs.flatten(1).sum(1) * targets).sin()

    batches = [Batch(x, torch.arange(5.0, dtype=torch.float64)[None])]
    by_hand, _ = risk_gradient(folded, losses, weights, batches, 5)
    for net in (plain, folded):
        leaves = {k: w.clone().requires_grad_() for k, w in weights.items()}
        outputs = net.forward_members(leaves, x)
        total = sum(losses(outputs[m], batches[0].targets[0]).mean() for m in range(2))
        for key, found in zip(
            leaves, torch.autograd.grad(total, list(leaves.values())), strict=True
        ):
            torch.testing.assert_close(by_hand[key], found, rtol=0, atol=1e-12)
            assert found.abs().max() > 1e-3


def test_two_classes_are_one_number():
    """Logits (0, z): their cross-entropy is the binary one of sigmoid(z)."""
    net = make(QuarterTurns(SIDE), "classification", 2).double()
    logits, labels = net(pictures(6, 2)), torch.tensor([0, 1, 1, 0, 1, 0])
    assert net.dense1.shape == (1, 3)
    assert logits.shape == (6, 2)
    assert logits[:, 0].eq(0).all()
    z = logits[:, 1]
    assert z.std() > 0.01
    expected = F.binary_cross_entropy(z.sigmoid(), labels.double(), reduction="none")
    torch.testing.assert_close(
        F.cross_entropy(logits, labels, reduction="none"), expected, rtol=1e-12, atol=0
    )
    assert make(QuarterTurns(SIDE), "regression", 2, features=4).dense0.shape == (2, 4), (
        "two numbers are two numbers"
    )


def normalised(a: Tensor, axis: int) -> Tensor:
    return (a - a.mean(axis, keepdim=True)) / (
        a.var(axis, correction=0, keepdim=True) + 1e-5
    ).sqrt()


@both
def test_against_plain_matrix_products(task):
    """The formulas of the class's description, for one image and one member."""
    net = make(QuarterTurns(SIDE), task, slope=0.3).double()
    x = pictures(1, 2)

    def bend(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.3 * x)

    a = bend(torch.einsum("poqi,iq->op", net.linear0, x[0].flatten(1)))
    a = bend(torch.einsum("poqi,iq->op", net.linear1, a))
    if task == "segmentation":
        a = normalised(torch.einsum("poqi,iq->op", net.linear2, a), 0).view(3, SIDE, SIDE)
    else:
        a = normalised(torch.einsum("qif,iq->f", net.invariant, a), 0)
        a = net.dense1 @ bend(net.dense0 @ a + net.bias0) + net.bias1
    torch.testing.assert_close(net(x)[0], a, rtol=0, atol=1e-12)


# --- mistakes


@pytest.mark.parametrize(
    ("task", "settings", "words"),
    [
        ("segmentation", {"features": 32}, "features=32 does not go with a segmentation"),
        (
            "classification",
            {"features": None, "hidden": ()},
            "features=null does not go with a classification",
        ),
        (
            "segmentation",
            {"hidden": (3,)},
            "hidden=\\[3\\] would have no effect with features=null",
        ),
        ("classification", {"channels": ()}, "channels is empty"),
        ("classification", {"group": SE2()}, "group: SE2 does not permute pixels"),
        (
            "segmentation",
            {"invariant_start": "constant"},
            "invariant_start=constant would have no effect with features=null",
        ),
        (
            "segmentation",
            {"softmax": True},
            "softmax=true goes with classes, and the task is a segmentation",
        ),
        (
            "classification",
            {"before_norm": {"shift_x": "tanh"}},
            "an activation for shift_x, and none for quarter_turns",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(task, settings, words):
    settings = {"group": QuarterTurns(SIDE)} | settings
    with pytest.raises(ValueError, match=words) as caught:
        make(settings.pop("group"), task, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((2, 5, 5), "4 x 4.*5, 5"), ((2, 4, 3), "4 x 4"), ((3, 4, 4), "2, H, W"), ((4, 4), "2")],
)
def test_images_that_do_not_fit_are_refused_in_a_sentence(shape, words):
    with pytest.raises(ValueError, match=words) as caught:
        make(QuarterTurns(SIDE), "classification")(torch.zeros(6, *shape))
    assert "\n" not in str(caught.value)
