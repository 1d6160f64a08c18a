"""The density of eigenvalues integrates to one; its moments are the trace and the squared norm;
effective dimension."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.analysis.curvature import Curvature, Examples
from learnsym.analysis.density import converged, effective_dimension, quadrature
from learnsym.analysis.lanczos import Lanczos


def spectrum(product, size: int, order: int, probes: int, probe_order: int):
    """As mode=spectrum does it."""

    def finished(run: Lanczos) -> Lanczos:
        while not run.done:
            run.step(product)
        return run

    leading = finished(Lanczos(size, order, 0, "leading"))
    ritz = leading.ritz()
    settings = {"deflated": leading.basis[: len(leading.alphas)], "restarts": False}
    runs = [
        finished(Lanczos(size, probe_order, 0, f"probe{i}", **settings)).ritz()
        for i in range(probes)
    ]
    return ritz, quadrature(ritz, leading.betas[-1], runs, size)


def like_a_network(size: int = 400) -> Tensor:
    """A few large eigenvalues of both signs, a bulk near zero."""
    draw = np.random.default_rng(0)
    values = np.concatenate(
        [
            [60.0, 30.0, 12.0, 5.0, -4.0],
            draw.exponential(0.15, size // 4),
            draw.normal(0, 0.02, size - 5 - size // 4),
        ]
    )
    basis, _ = np.linalg.qr(draw.standard_normal((size, size)))
    return torch.from_numpy((basis * values) @ basis.T)


def test_density_and_moments_of_a_matrix() -> None:
    a = like_a_network()
    ritz, found = spectrum(lambda v: a @ v, len(a), 30, 6, 15)
    assert converged(ritz).sum() >= 5
    assert float(found.weights.sum()) == pytest.approx(1, abs=1e-12)
    assert (found.weights >= 0).all()
    grid, density = found.density(0.01, 1024)
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-6)
    assert found.trace == pytest.approx(float(a.trace()), rel=0.02)
    assert found.squared_norm == pytest.approx(float(a.square().sum()), rel=0.02)
    assert found.dimension * float(found.weights @ found.nodes**2) == pytest.approx(
        found.squared_norm, rel=0.01
    ), "little is lost"
    assert abs(found.trace - float(a.trace())) <= 4 * found.trace_error
    # The part of eigenvalues above 0.1, far from the large ones: the shape of the bulk.
    exact = float((torch.linalg.eigvalsh(a) > 0.1).double().mean())
    assert float(found.weights[found.nodes > 0.1].sum()) == pytest.approx(exact, abs=0.04)


class Net(nn.Module):
    """A small network with batch norm: [B, 1, 6, 6] to [B, 3], 351 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(
                nn.Conv2d(1, 6, 3),
                nn.BatchNorm2d(6),
                nn.ReLU(),
                nn.Conv2d(6, 4, 3),
                nn.BatchNorm2d(4),
                nn.ReLU(),
            ),
            *(nn.Flatten(), nn.Linear(16, 3)),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.mark.long
@pytest.mark.parametrize("matrix", ["hessian", "ggn"])
def test_density_and_moments_of_a_network(matrix) -> None:
    """Of a trained one: the moments within 2 % of the trace and the squared norm of the whole
    matrix."""
    torch.manual_seed(0)
    net = Net().double()
    images, targets = torch.randn(60, 1, 6, 6, dtype=torch.float64), torch.randint(3, (60,))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(30):
        optimiser.zero_grad()
        F.cross_entropy(net(images), targets).backward()
        optimiser.step()
    curvature = Curvature(
        net.eval(), F.cross_entropy, lambda: [Examples(images, targets, 1.0)], matrix
    )
    whole = torch.stack([curvature(row) for row in torch.eye(curvature.size, dtype=torch.float64)])
    _, found = spectrum(curvature, curvature.size, 50, 40, 8)
    grid, density = found.density(0.01, 1024)
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-6)
    assert found.trace == pytest.approx(float(whole.trace()), rel=0.02)
    assert found.squared_norm == pytest.approx(float(whole.square().sum()), rel=0.02)


def test_all_eigenvalues_known() -> None:
    a = like_a_network(40)
    _, found = spectrum(lambda v: a @ v, 40, 60, 0, 1)
    assert found.trace == pytest.approx(float(a.trace()), rel=1e-10)
    assert found.squared_norm == pytest.approx(float(a.square().sum()), rel=1e-10)
    assert (found.trace_error, found.squared_norm_error) == (0.0, 0.0)


def test_one_run_alone_is_its_quadrature() -> None:
    """Moments v^T A^k v of its start, without anything known."""
    a = like_a_network(50)
    run = Lanczos(50, 10, 0, "leading")
    start = run.basis[0].clone()
    while not run.done:
        run.step(lambda v: a @ v)
    found = quadrature(run.ritz(), run.betas[-1], [], 50)
    assert found.trace == pytest.approx(50 * float(start @ a @ start))
    assert found.squared_norm == pytest.approx(50 * float((a @ start).square().sum()))
    assert np.isnan(found.trace_error)


def test_a_single_eigenvalue_has_a_density() -> None:
    for value in (0.0, 3.0):
        a = torch.tensor([[value]], dtype=torch.float64)
        _, found = spectrum(lambda v, a=a: a @ v, 1, 5, 0, 1)
        grid, density = found.density(0.01, 1024)
        assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-6)


def test_effective_dimension() -> None:
    values = torch.tensor([100.0, 1.0, 0.01, -5.0], dtype=torch.float64)
    z = torch.logspace(-9, 9, 5, dtype=torch.float64)
    found = effective_dimension(values, z)
    assert found[0] == pytest.approx(3, abs=1e-6), "all that are positive"
    assert found[-1] == pytest.approx(0, abs=1e-6)
    assert effective_dimension(
        values, torch.tensor([1.0], dtype=torch.float64)
    ).item() == pytest.approx(100 / 101 + 0.5 + 0.01 / 1.01)
    assert (found.diff() < 0).all()
