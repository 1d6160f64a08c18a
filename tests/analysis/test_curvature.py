"""Products with Hessians and Gauss-Newton matrices against dense ones, on whole spaces and on E and
its complement."""

import pytest
import torch
import torch.nn.functional as F
from strategies import Seeded
from torch import Tensor, nn
from torch.func import functional_call

from learnsym.analysis.curvature import Curvature, Examples
from learnsym.analysis.lanczos import Lanczos
from learnsym.distributions.base import penalty
from learnsym.dynamics.c4_conv import C4Conv
from learnsym.dynamics.equivariant_projection import EquivariantSubspace
from learnsym.dynamics.projected_linear import ProjectedLinear
from learnsym.errors import ConfigError
from learnsym.groups.permutation import QuarterTurns
from learnsym.groups.planar import Affine2
from learnsym.layers.fast.batched_mlp import _BatchedMLP
from learnsym.nets.augerino import Augerino


class Small(nn.Module):
    """Convolution, batch norm, ReLU, pooling, convolution, batch norm, tanh, linear: [B, 2, 8, 8]
    to [B, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(3, 3)),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def plain() -> nn.Module:
    torch.manual_seed(0)
    net = Small().double()
    for _ in range(5):
        net(
            torch.randn(16, 2, 8, 8, dtype=torch.float64) + 0.3
        )  # running statistics that are not 0 and 1
    return net.eval()


def augerino() -> nn.Module:
    net = (
        Augerino(plain(), Affine2(), initial_width=0.5, regularisation=0.3, test_copies=2)
        .double()
        .eval()
    )
    return Seeded(net)


def batches(sizes: tuple[int, ...] = (5, 7)) -> list[Examples]:
    torch.manual_seed(1)
    total = sum(sizes)
    images, targets = torch.randn(total, 2, 8, 8, dtype=torch.float64), torch.randint(3, (total,))
    parts = zip(images.split(sizes), targets.split(sizes), sizes, strict=True)
    return [Examples(x, y, n / total) for x, y, n in parts]


def flat(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def outputs_of(net: nn.Module, images: Tensor, weights: Tensor) -> Tensor:
    """The network's outputs as a function of one vector."""
    named = dict(net.named_parameters())
    parts = weights.split([p.numel() for p in named.values()])
    return functional_call(
        net, {k: v.view_as(p) for (k, p), v in zip(named.items(), parts, strict=True)}, (images,)
    )


def dense_hessian(net: nn.Module, examples: list[Examples], reward: bool = False) -> Tensor:
    """By torch.autograd.functional, the whole matrix at once."""

    def loss(weights: Tensor) -> Tensor:
        return sum(
            F.cross_entropy(outputs_of(net, e.inputs, weights), e.targets) * e.share
            for e in examples
        )

    found = torch.autograd.functional.hessian(loss, flat(net))
    if reward:
        names = dict(net.named_parameters())
        start = 0
        for name, p in names.items():
            if name.endswith("raw_widths"):
                block = torch.autograd.functional.hessian(
                    lambda raw: -0.3 * F.softplus(raw).norm(), p.detach()
                )
                found[start : start + p.numel(), start : start + p.numel()] += block
            start += p.numel()
    return found


def matrix(curvature: Curvature) -> Tensor:
    return torch.stack([curvature(row) for row in torch.eye(curvature.size, dtype=torch.float64)])


@pytest.mark.parametrize("build", [plain, augerino])
def test_leading_eigenvalues_are_those_of_the_dense_hessian(build) -> None:
    net, examples = build(), batches()
    expected = torch.linalg.eigvalsh(dense_hessian(net, examples, reward=True)).flip(0)
    curvature = Curvature(net, F.cross_entropy, lambda: examples, penalty=lambda: penalty(net))
    run = Lanczos(curvature.size, 100, 0, "leading")
    while not run.done:
        run.step(curvature)
    found = run.ritz()
    torch.testing.assert_close(found.values[:20], expected[:20], rtol=1e-6, atol=0)
    torch.testing.assert_close(found.values[-1], expected[-1], rtol=1e-6, atol=0)
    assert (found.bounds[:20] <= 1e-4 * found.values[:20]).all()


@pytest.mark.parametrize("build", [plain, augerino])
def test_float32_products_give_four_digits(build) -> None:
    net, examples = build(), batches()
    expected = torch.linalg.eigvalsh(dense_hessian(net, examples)).flip(0)
    single = [Examples(e.inputs.float(), e.targets, e.share) for e in examples]
    # The same draws in both precisions: they are made in that of the widths.
    curvature = Curvature(net.float(), F.cross_entropy, lambda: single)
    if build is augerino:
        expected = torch.linalg.eigvalsh(dense_hessian(net, single).double()).flip(0)
    run = Lanczos(curvature.size, 100, 0, "leading", precision=torch.float32)
    while not run.done:
        run.step(curvature)
    torch.testing.assert_close(run.ritz().values[:20], expected[:20], rtol=1e-4, atol=0)


def test_the_penalty_is_in_the_hessian_alone() -> None:
    net, examples = augerino(), batches()
    settings = {"penalty": lambda: penalty(net)}
    vector = torch.randn(
        Curvature(net, F.cross_entropy, lambda: examples).size, dtype=torch.float64
    )
    without, with_it = (
        Curvature(net, F.cross_entropy, lambda: examples, **s)(vector) for s in ({}, settings)
    )
    expected = (dense_hessian(net, examples, reward=True) - dense_hessian(net, examples)) @ vector
    torch.testing.assert_close(with_it - without, expected)
    assert expected.norm() > 1e-3
    ggn = [
        Curvature(net, F.cross_entropy, lambda: examples, "ggn", **s)(vector)
        for s in ({}, settings)
    ]
    assert torch.equal(*ggn)


@pytest.mark.long
@pytest.mark.parametrize("build", [plain, augerino])
@pytest.mark.parametrize(
    "loss", [F.cross_entropy, lambda z, y: (z - F.one_hot(y, 3)).square().mean(1).mean()]
)
def test_gauss_newton_is_the_sandwich_of_jacobians(build, loss) -> None:
    net, examples = build(), batches((4, 3))
    expected = 0
    for inputs, targets, share, _ in examples:
        jacobian = torch.autograd.functional.jacobian(
            lambda w, x=inputs: outputs_of(net, x, w), flat(net)
        ).flatten(0, 1)
        outputs = net(inputs).detach()
        inner = torch.autograd.functional.hessian(lambda z, y=targets: loss(z, y), outputs).view(
            outputs.numel(), -1
        )
        expected = expected + share * jacobian.T @ inner @ jacobian
    found = matrix(Curvature(net, loss, lambda: examples, "ggn"))
    torch.testing.assert_close(found, expected)
    assert torch.linalg.eigvalsh(found).min() > -1e-10


def test_parameters_that_are_not_trained_are_left_out() -> None:
    net, examples = plain(), batches()
    whole = dense_hessian(net, examples)
    kept = torch.cat([torch.full((p.numel(),), p.ndim == 1) for p in net.parameters()])
    for p in net.parameters():
        p.requires_grad_(p.ndim == 1)
    torch.testing.assert_close(
        matrix(Curvature(net, F.cross_entropy, lambda: examples)), whole[kept][:, kept]
    )


# --- E and its complement


def linear() -> ProjectedLinear:
    return ProjectedLinear(1, 3, "classification", QuarterTurns(3), channels=(2,), features=3)


def convolutions() -> C4Conv:
    return C4Conv(1, 3, 12, (2, 2, 2), "skew")


@pytest.mark.parametrize("build", [linear, convolutions])
@pytest.mark.parametrize("restriction", ["equivariant", "complement"])
def test_restricted_spectra_are_those_of_the_conjugated_hessian(build, restriction) -> None:
    torch.manual_seed(0)
    net = build().double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p), alpha=0.3)  # not equivariant: H has no blocks by itself
    side = 3 if build is linear else 12
    examples = [
        Examples(torch.randn(6, 1, side, side, dtype=torch.float64), torch.randint(3, (6,)), 1.0)
    ]
    curvature = Curvature(net, F.cross_entropy, lambda: examples)
    whole = matrix(curvature)
    space = EquivariantSubspace(net, restriction)
    projection = torch.stack([space(row) for row in torch.eye(curvature.size, dtype=torch.float64)])
    torch.testing.assert_close(projection, projection.T)
    torch.testing.assert_close(projection @ projection, projection)
    assert space.dimension == round(float(projection.trace()))
    values, vectors = torch.linalg.eigh(projection)
    basis = vectors[:, values > 0.5]
    expected = torch.linalg.eigvalsh(basis.T @ whole @ basis).flip(0)
    run = Lanczos(
        curvature.size, space.dimension, 0, "leading", project=space, dimension=space.dimension
    )
    while not run.done:
        run.step(curvature)
    found = run.ritz().values
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)
    assert (
        run.basis[: len(run.alphas)] @ (torch.eye(curvature.size).double() - projection)
    ).abs().max() < 1e-10


def test_what_cannot_be_restricted_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Small knows no projection .* net=projected_linear"):
        EquivariantSubspace(plain(), "equivariant")
    with pytest.raises(ConfigError, match=r"net\.basis=random .* Try net\.basis=orthonormal"):
        EquivariantSubspace(C4Conv(1, 3, 12, (2, 2, 2), basis="random"), "complement")


def test_a_layer_that_is_differentiable_once_is_refused() -> None:
    """Autograd itself would leave its part out and say nothing."""

    class Once(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(1, 3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return _BatchedMLP.apply(x, 0.1, self.weight)[0]

    examples = [Examples(torch.randn(1, 2, 4), torch.tensor([0, 2]), 1.0)]
    for kind in ("hessian", "ggn"):
        with pytest.raises(
            ConfigError,
            match=r"mode=spectrum: Once cannot be differentiated twice .*once_differentiable",
        ):
            Curvature(Once(), F.cross_entropy, lambda: examples, kind)(
                torch.ones(12, dtype=torch.float64)
            )


def test_a_network_without_parameters_has_no_curvature() -> None:
    with pytest.raises(ValueError, match="Flatten has no trained parameters"):
        Curvature(nn.Flatten(), F.cross_entropy, batches)
