"""Lanczos with full reorthogonalisation: A Q = Q T + r e_m^T with Q^T Q = 1 and T tridiagonal, one
product with A a step.

The eigenvalues of T (Ritz values) approach those of A, the leading ones first, and the vectors Q S
(T = S theta S^T) their
eigenvectors: |A u_i - theta_i u_i| = beta_m |S_mi|. The recurrence is in float64, whatever
precision A is applied in.
"""

import io
import json
import math
from collections.abc import Callable
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
"""Entries of a vector that are worked on at a time, so that copies in float64 stay small."""
BASIS_BYTES = 2e9
"""A basis of at most this size is kept in float64, a larger one in float32."""


class Ritz(NamedTuple):
    """What T says.

    Attributes:
        values: [m], descending.
        vectors: [m, m], S, a column for each value.
        bounds: [m], |A u - theta u|: within so much of each value there is an eigenvalue.
    """

    values: Tensor
    vectors: Tensor
    bounds: Tensor


class Lanczos:
    """One run from one random start; can be kept in a folder and taken up again, to the last bit on
    a CPU.

    Where an invariant subspace is complete (rank below the order, an eigenvalue several times), a
    run that `restarts` goes on with a new random vector orthogonal to all before; T is then a
    direct sum. One that does not is over: its quadrature is exact.
    """

    def __init__(
        self,
        size: int,
        order: int,
        seed: int,
        name: str,
        *,
        project: Product | None = None,
        deflated: Tensor | None = None,
        dimension: int | None = None,
        restarts: bool = True,
        precision: torch.dtype = torch.float64,
        home: torch.device | str = "cpu",
    ) -> None:
        """Args:
        size: P.
        order: steps at most.
        seed, name: decide the start.
        project: an orthogonal projection; the run then is of its product with A from both
            sides.
        deflated: [k, P], orthonormal rows that are left out likewise.
        dimension: of the space that is left; None: P less k.
        restarts: see above.
        precision: that A is applied in; decides what counts as zero.
        home: where vectors live.
        """
        self.size, self.seed, self.name, self.restarts = size, seed, name, restarts
        self.project = project or (lambda vector: vector)
        self.deflated = torch.empty(0, size, device=home) if deflated is None else deflated
        room = size - len(self.deflated) if dimension is None else dimension
        self.order, self.home = min(order, room), torch.device(home)
        self.negligible = 10 * torch.finfo(precision).eps
        kept = torch.float64 if 8 * size * (self.order + 1) <= BASIS_BYTES else torch.float32
        self.basis = torch.empty(self.order + 1, size, dtype=kept, device=home)
        self.alphas: list[float] = []
        self.betas: list[float] = []
        self.complete = self.order < 1
        self._written = 0
        if not self.complete:
            self._begin(0)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.complete or len(self.alphas) == self.order

    def step(self, product: Product) -> None:
        """One product and what follows from it."""
        place = len(self.alphas)
        vector = self.basis[place].double()
        image = self.project(product(vector))
        alpha = float(vector @ image)
        image = self._without(image, place + 1)
        beta = float(image.norm())
        self.alphas.append(alpha)
        if len(self.alphas) == self.order:
            self.betas.append(beta)
            return
        scale = max(abs(a) for a in (*self.alphas, *self.betas))
        if math.isfinite(beta) and beta <= self.negligible * scale:
            self.betas.append(0.0)
            if not self.restarts:
                self.complete = True
            else:
                self._begin(place + 1)
            return
        self.betas.append(beta)
        self._append(image / beta, place + 1)

    def _begin(self, place: int) -> None:
        """A random unit vector orthogonal to all before, or the end where there is none."""
        draws = generator(self.seed, f"spectrum/{self.name}/{place}")
        vector = self.project(
            torch.randn(self.size, generator=draws, dtype=torch.float64).to(self.home)
        )
        before = float(vector.norm())
        vector = self._without(vector, place)
        after = float(vector.norm())
        if after <= 1e-10 * before:
            self.complete = True
            return
        self._append(vector / after, place)

    def _append(self, vector: Tensor, place: int) -> None:
        """A unit vector that may have been tiny before: what was left of the others in it is taken
        out once more.
        """
        vector = self._without(self.project(vector), place)
        self.basis[place] = (vector / vector.norm()).to(self.basis.dtype)

    def _without(self, vector: Tensor, count: int) -> Tensor:
        """A vector [P] less its part in what is deflated and in the first `count` of the basis;
        twice is enough.
        """
        for _ in range(2):
            for rows in (self.deflated, self.basis[:count]):
                vector = vector - combination(rows, inner(rows, vector)) if len(rows) else vector
        return vector

    def ritz(self) -> Ritz:
        """Eigenvalues of T and what belongs to them."""
        m = len(self.alphas)
        matrix = torch.diag(torch.tensor(self.alphas, dtype=torch.float64))
        off = torch.tensor(self.betas[: m - 1], dtype=torch.float64)
        matrix = matrix + torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(matrix)
        last = self.betas[m - 1] if m else 0.0
        return Ritz(values.flip(0), vectors.flip(1), last * vectors[-1].abs().flip(0))

    def keep(self, folder: Path) -> None:
        """Write what is new: vectors first, then the coefficients that say how many of them
        count.
        """
        needed = 0 if self.done and not self.restarts else self._vectors()
        for place in range(self._written, needed):
            buffer = io.BytesIO()
            np.save(buffer, self.basis[place].cpu().numpy())
            write_atomically(folder / f"vector_{place:04}.npy", buffer.getvalue())
        self._written = needed
        state = {"alphas": self.alphas, "betas": self.betas, "complete": self.complete}
        write_atomically(folder / "coefficients.json", json.dumps(state))

    def _vectors(self) -> int:
        """How many of the basis there are."""
        return len(self.alphas) + (not self.done)

    def resume(self, folder: Path) -> None:
        """Go on from what `keep` wrote, if there is anything.

        Raises:
            CheckpointError: it cannot be read.
        """
        path = folder / "coefficients.json"
        if not path.exists():
            return
        try:
            state = json.loads(path.read_text())
            self.alphas, self.betas, self.complete = (
                list(state["alphas"]),
                list(state["betas"]),
                bool(state["complete"]),
            )
            if self.done and not self.restarts:
                return  # a quadrature: its vectors have served
            for place in range(self._vectors()):
                path = folder / f"vector_{place:04}.npy"
                self.basis[place] = torch.from_numpy(np.load(path, allow_pickle=False)).to(
                    self.home
                )
            self._written = self._vectors()
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError) as error:
            raise CheckpointError(
                f"{path}: it cannot be read as part of a Lanczos run; fresh=true starts over."
            ) from error


def inner(rows: Tensor, vector: Tensor) -> Tensor:
    """Products [k] of rows [k, P] with a vector [P], in float64."""
    parts = zip(rows.split(COLUMNS, dim=1), vector.split(COLUMNS), strict=True)
    return torch.stack([part.double() @ piece for part, piece in parts]).sum(0)


def combination(rows: Tensor, numbers: Tensor) -> Tensor:
    """The combination [..., P] of rows [k, P] with numbers [..., k], in float64."""
    return torch.cat([numbers @ part.double() for part in rows.split(COLUMNS, dim=1)], -1)
