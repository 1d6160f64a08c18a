"""Estimate the density of all eigenvalues from Lanczos runs.

Stochastic Lanczos quadrature: for a random unit vector v, sum_i S_1i^2 delta(theta_i) has the
moments v^T A^k v, k <= 2m - 1, and their mean over v is tr A^k / P. What a first run of k steps has
found (Q [P, k], T with eigenvalues theta) is left out of the random vectors and of A, so that what
dominates trace and squared norm is not left to chance (Meyer et al., "Hutch++", 2021):

    density = 1/P sum_i delta(theta_i)
              + (P - k)/P mean over probes of the quadrature of (1 - Q Q^T) A (1 - Q Q^T)

Its trace is that of A. Only the coupling A Q - Q T = beta_k q e_k^T is lost, of rank one: the
number of eigenvalues below any bound is off by two at most, and 2 beta_k^2 belong to the squared
norm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learnsym.analysis.lanczos import Ritz

CONVERGED = 1e-4
"""Largest bound of a converged eigenvalue, relative to the size of the largest."""


@dataclass(frozen=True)
class Quadrature:
    """A discrete density: eigenvalues [n] and positive weights [n] with sum 1.

    It stands for P = `dimension` eigenvalues; a part of the squared norm is `missing` in it. The
    standard errors over the probes are 0 with none and nan with one.
    """

    nodes: Tensor
    weights: Tensor
    dimension: int
    missing: float = 0.0
    trace_error: float = 0.0
    squared_norm_error: float = 0.0

    @property
    def trace(self) -> float:
        """Return tr A."""
        return self.dimension * float(self.weights @ self.nodes)

    @property
    def squared_norm(self) -> float:
        """Return the squared Frobenius norm, tr A^2."""
        return self.dimension * float(self.weights @ self.nodes.square()) + self.missing

    def density(self, broadening: float, points: int) -> tuple[Tensor, Tensor]:
        """Return a grid [points] and on it Gaussians of deviation `broadening` times the range."""
        low, high = float(self.nodes.min()), float(self.nodes.max())
        sigma = broadening * ((high - low) or abs(high) or 1.0)
        grid = torch.linspace(low - 6 * sigma, high + 6 * sigma, points, dtype=torch.float64)
        deviations = (grid.unsqueeze(1) - self.nodes) / sigma
        gaussians = torch.exp(-0.5 * deviations.square())
        return grid, (gaussians @ self.weights) / (sigma * (2 * math.pi) ** 0.5)


def converged(ritz: Ritz) -> Tensor:
    """Tell which Ritz values have converged, [m] bool, see `CONVERGED`."""
    tiny = torch.finfo(torch.float64).tiny
    return ritz.bounds <= CONVERGED * ritz.values.abs().max().clamp_min(tiny)


def quadrature(first: Ritz, coupling: float, probes: Sequence[Ritz], dimension: int) -> Quadrature:
    """Combine a first run, its last beta, and probes of the rest, if any is left."""
    k = len(first.values)
    if not probes and k < dimension:
        weights = first.vectors[0].square()
        return Quadrature(first.values, weights, dimension, 0.0, math.nan, math.nan)
    rest = (dimension - k) / dimension
    nodes = torch.cat([first.values, *(run.values for run in probes)])
    probe_weights = [run.vectors[0].square() * (rest / len(probes)) for run in probes]
    weights = torch.cat([torch.full_like(first.values, 1 / dimension), *probe_weights])
    order = nodes.argsort(descending=True)
    errors = [0.0, 0.0]
    if probes:
        powers = [torch.stack([run.values, run.values.square()]) for run in probes]
        moments = torch.stack(
            [power @ run.vectors[0].square() for power, run in zip(powers, probes, strict=True)]
        )  # [probes, 2]
        spread = moments.std(dim=0) if len(probes) > 1 else torch.full((2,), math.nan)
        errors = ((dimension - k) * spread / len(probes) ** 0.5).tolist()
    return Quadrature(nodes[order], weights[order], dimension, 2 * coupling**2, *errors)


def effective_dimension(eigenvalues: Tensor, z: Tensor) -> Tensor:
    """Compute N_eff(z) = sum of lambda / (lambda + z) over positive eigenvalues."""
    positive = eigenvalues.clamp_min(0)
    return (positive / (positive + z.unsqueeze(1))).sum(1)
