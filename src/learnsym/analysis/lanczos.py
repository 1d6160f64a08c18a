"""Run Lanczos with full reorthogonalisation.

A Q = Q T + r e_m^T with Q^T Q = 1 and T tridiagonal, one product with A a step. The eigenvalues of
T (Ritz values) approach those of A, the leading ones first, and the vectors Q S (T = S theta S^T)
their eigenvectors: |A u_i - theta_i u_i| = beta_m |S_mi|. The recurrence is in float64, whatever
precision A is applied in.
"""

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from learnsym.errors import CheckpointError
from learnsym.utils.files import write_atomically
from learnsym.utils.rng import generator

Product = Callable[[Tensor], Tensor]
"""v -> A v, vectors [P] in float64."""
COLUMNS = 1 << 18
"""Entries of a vector at a time, so that copies in float64 stay small."""
BASIS_BYTES = 2e9
"""A basis of at most this size is kept in float64, a larger one in float32."""


class Ritz(NamedTuple):
    """Eigenvalues [m] of T, descending, eigenvectors S [m, m] in columns, |A u - theta u| [m].

    Within its bound of each value there is an eigenvalue of A.
    """

    values: Tensor
    vectors: Tensor
    bounds: Tensor


@dataclass(eq=False)
class Lanczos:
    """One run from one random start, which can be saved and continued.

    Where an invariant subspace is complete (rank below the order, a degenerate eigenvalue), a run
    that `restarts` goes on with a new random vector orthogonal to all before; T is then a direct
    sum. One that does not is over: its quadrature is exact.

    Seed and name decide the start of a run of at most `order` steps in a space of P = `size`
    dimensions. The orthogonal projection `project` is multiplied to A from both sides, and
    orthonormal rows `deflated` [k, P] are left out likewise; what is left has `dimension` (None:
    P - k). The `precision` that A is applied in decides what counts as zero.
    """

    size: int
    order: int
    seed: int
    name: str
    project: Product | None = None
    deflated: Tensor | None = None
    dimension: int | None = None
    restarts: bool = True
    precision: torch.dtype = torch.float64
    device: torch.device | str = "cpu"
    alphas: list[float] = field(default_factory=list, init=False)
    betas: list[float] = field(default_factory=list, init=False)
    _saved: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.dimension is None:
            self.dimension = self.size - (0 if self.deflated is None else len(self.deflated))
        self.order = min(self.order, self.dimension)
        self.negligible = 10 * torch.finfo(self.precision).eps
        dtype = torch.float64 if 8 * self.size * (self.order + 1) <= BASIS_BYTES else torch.float32
        self.basis = torch.empty(self.order + 1, self.size, dtype=dtype, device=self.device)
        self.complete = self.order < 1
        if not self.complete:
            self._start(0)

    @property
    def done(self) -> bool:
        """Tell whether no step is left."""
        return self.complete or len(self.alphas) == self.order

    def step(self, product: Product) -> None:
        """Extend T by one row and the basis by one vector, with one product."""
        index = len(self.alphas)
        vector = self.basis[index].double()
        image = self._project(product(vector))
        self.alphas.append(float(vector @ image))
        image = self._orthogonal(image, index + 1)
        beta = float(image.norm())
        if len(self.alphas) == self.order:
            self.betas.append(beta)
            return
        scale = max(map(abs, (*self.alphas, *self.betas)))
        negligible = math.isfinite(beta) and beta <= self.negligible * scale
        self.betas.append(0.0 if negligible else beta)
        if not negligible:
            self._append(image / beta, index + 1)
        elif self.restarts:
            self._start(index + 1)
        else:
            self.complete = True

    def _start(self, index: int) -> None:
        """Append a random orthogonal vector, or complete the run."""
        draws = generator(self.seed, f"spectrum/{self.name}/{index}")
        vector = torch.randn(self.size, generator=draws, dtype=torch.float64).to(self.device)
        vector = self._project(vector)
        rest = self._orthogonal(vector, index)
        self.complete = float(rest.norm()) <= 1e-10 * float(vector.norm())
        if not self.complete:
            self._append(rest / float(rest.norm()), index)

    def _append(self, vector: Tensor, index: int) -> None:
        """Append a unit vector, orthogonalised once more: it may have been tiny before."""
        vector = self._orthogonal(self._project(vector), index)
        self.basis[index] = (vector / vector.norm()).to(self.basis.dtype)

    def _orthogonal(self, vector: Tensor, count: int) -> Tensor:
        """Remove components along deflated rows and `count` basis vectors, twice."""
        for _ in range(2):
            for rows in (self.deflated, self.basis[:count]):
                if rows is not None and len(rows):
                    vector = vector - combination(rows, inner(rows, vector))
        return vector

    def _project(self, vector: Tensor) -> Tensor:
        return vector if self.project is None else self.project(vector)

    def ritz(self) -> Ritz:
        """Diagonalise T."""
        m = len(self.alphas)
        off = torch.tensor(self.betas[: m - 1], dtype=torch.float64)
        matrix = torch.diag(torch.tensor(self.alphas, dtype=torch.float64))
        matrix = matrix + torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(matrix)
        last = self.betas[m - 1] if m else 0.0
        return Ritz(values.flip(0), vectors.flip(1), last * vectors[-1].abs().flip(0))

    def save(self, folder: Path) -> None:
        """Write new vectors, then the coefficients, whose number says how many vectors count."""
        count = self._num_vectors()
        for index in range(self._saved, count):
            buffer = io.BytesIO()
            np.save(buffer, self.basis[index].cpu().numpy())
            write_atomically(folder / f"vector_{index:04}.npy", buffer.getvalue())
        self._saved = count
        state = {"alphas": self.alphas, "betas": self.betas, "complete": self.complete}
        write_atomically(folder / "coefficients.json", json.dumps(state))

    def load(self, folder: Path) -> None:
        """Continue from what `save` wrote, if there is anything; CheckpointError if unreadable."""
        path = folder / "coefficients.json"
        if not path.exists():
            return
        try:
            state = json.loads(path.read_text())
            self.alphas, self.betas = list(state["alphas"]), list(state["betas"])
            self.complete = bool(state["complete"])
            for index in range(self._num_vectors()):
                path = folder / f"vector_{index:04}.npy"
                self.basis[index] = torch.from_numpy(np.load(path, allow_pickle=False))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError) as error:
            raise CheckpointError(
                f"{path}: it cannot be read as part of a Lanczos run; fresh=true starts over."
            ) from error
        self._saved = self._num_vectors()

    def _num_vectors(self) -> int:
        """Count the vectors needed to go on; a finished quadrature needs none."""
        return 0 if self.done and not self.restarts else len(self.alphas) + (not self.done)


def inner(rows: Tensor, vector: Tensor) -> Tensor:
    """Compute the products [k] of rows [k, P] with a vector [P], in float64."""
    chunks = zip(rows.split(COLUMNS, dim=1), vector.split(COLUMNS), strict=True)
    return torch.stack([row_chunk.double() @ chunk for row_chunk, chunk in chunks]).sum(0)


def combination(rows: Tensor, numbers: Tensor) -> Tensor:
    """Combine rows [k, P] with numbers [..., k] to [..., P], in float64."""
    return torch.cat([numbers @ chunk.double() for chunk in rows.split(COLUMNS, dim=1)], -1)
