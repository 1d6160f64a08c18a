"""The density of all eigenvalues of a matrix [P, P] from Lanczos runs, and what follows from it.

Stochastic Lanczos quadrature: for a random unit vector v, sum_i S_1i^2 delta(theta_i) has the
moments v^T A^k v, k <= 2m - 1, and their mean over v is tr A^k / P. What a first run of k steps has
found (Q [P, k], T with eigenvalues theta) is left out of the random vectors and of A, so that what
dominates trace and squared norm is not left to chance (Meyer et al., "Hutch++", 2021):

    density = 1/P sum_i delta(theta_i) + (P - k)/P mean over probes of the quadrature of (1 - Q Q^T)
    A (1 - Q Q^T)

Its trace is that of A. Only the coupling A Q - Q T = beta_k q e_k^T is lost, of rank one: the
number of eigenvalues below any bound is off by two at most, and 2 beta_k^2 belong to the squared
norm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learnsym.analysis.lanczos import Ritz

CONVERGED = 1e-4
"""An eigenvalue counts as converged if its bound is at most so many times the largest one's
size."""


@dataclass(frozen=True)
class Quadrature:
    """A discrete density of eigenvalues.

    Attributes:
        nodes: [n], eigenvalues.
        weights: [n], positive, with sum 1.
        dimension: P, how many eigenvalues it stands for.
        lost: part of the squared norm that the density has not.
        trace_error, squared_norm_error: standard errors of the two moments over the probes; 0 with
            none, nan with one.
    """

    nodes: Tensor
    weights: Tensor
    dimension: int
    lost: float = 0.0
    trace_error: float = 0.0
    squared_norm_error: float = 0.0

    @property
    def trace(self) -> float:
        """Tr A."""
        return self.dimension * float(self.weights @ self.nodes)

    @property
    def squared_norm(self) -> float:
        """The squared Frobenius norm, tr A^2."""
        return self.dimension * float(self.weights @ self.nodes.square()) + self.lost

    def density(self, broadening: float, points: int) -> tuple[Tensor, Tensor]:
        """A grid [points] and on it the density, each node a Gaussian whose deviation is
        `broadening` times the range.
        """
        low, high = float(self.nodes.min()), float(self.nodes.max())
        sigma = broadening * ((high - low) or abs(high) or 1.0)
        grid = torch.linspace(low - 6 * sigma, high + 6 * sigma, points, dtype=torch.float64)
        away = (grid.unsqueeze(1) - self.nodes) / sigma
        return grid, (torch.exp(-0.5 * away.square()) @ self.weights) / (
            sigma * (2 * math.pi) ** 0.5
        )


def converged(ritz: Ritz) -> Tensor:
    """Which Ritz values are eigenvalues within `CONVERGED` times the largest size, [m] bool."""
    return ritz.bounds <= CONVERGED * ritz.values.abs().max().clamp_min(
        torch.finfo(torch.float64).tiny
    )


def quadrature(first: Ritz, coupling: float, probes: Sequence[Ritz], dimension: int) -> Quadrature:
    """The density from a first run and its last beta, and the runs of probes in what it has left.

    None means that nothing is left, or that there is to be no more than the first run: then its own
    quadrature.
    """
    k = len(first.values)
    if not probes and k < dimension:
        return Quadrature(
            first.values, first.vectors[0].square(), dimension, 0.0, math.nan, math.nan
        )
    share = torch.full_like(first.values, 1 / dimension)
    rest = (dimension - k) / dimension
    nodes = torch.cat([first.values, *(run.values for run in probes)])
    weights = torch.cat(
        [share, *(run.vectors[0].square() * (rest / len(probes)) for run in probes)]
    )
    order = nodes.argsort(descending=True)
    errors = [0.0, 0.0]
    if probes:
        powers = [torch.stack([run.values, run.values.square()]) for run in probes]
        moments = torch.stack(
            [p @ run.vectors[0].square() for p, run in zip(powers, probes, strict=True)]
        )  # [probes, 2]
        spread = moments.std(dim=0) if len(probes) > 1 else torch.full((2,), math.nan)
        errors = ((dimension - k) * spread / len(probes) ** 0.5).tolist()
    return Quadrature(nodes[order], weights[order], dimension, 2 * coupling**2, *errors)


def effective_dimension(eigenvalues: Tensor, z: Tensor) -> Tensor:
    """N_eff(z) = sum over positive eigenvalues of lambda / (lambda + z), [n] for z [n] > 0 (MacKay
    1992).

    >>> effective_dimension(torch.tensor([3.0, 1.0, -2.0]), torch.tensor([1.0])).tolist()
    [1.25]
    """
    positive = eigenvalues.clamp_min(0)
    return (positive / (positive + z.unsqueeze(1))).sum(1)


def log_range(low: float, high: float, points: int) -> Tensor:
    """Numbers from low to high, evenly spaced in their logarithm."""
    return torch.from_numpy(np.geomspace(low, high, points))
