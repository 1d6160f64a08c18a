"""Augerino's learned distribution, uniform on a box in a Lie algebra (Benton et al. 2020)."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.distributions.base import LearnedRange, LearnedSymmetry
from learnsym.groups.base import LieGroup
from learnsym.schema import Fraction, NonNegative, Positive
from learnsym.utils.rng import BatchRows, batch_uniform


def inverse_softplus(width: float) -> float:
    """Return raw with softplus(raw) = log(1 + e^raw) = `width` > 0, exact for any width."""
    if not 0 < width < math.inf:
        raise ValueError(f"Expected a finite width above 0 for a learned generator, got {width}.")
    return width + math.log(-math.expm1(-width))


class UniformLieAlgebra(LearnedSymmetry):
    """A learned uniform distribution on a box in the Lie algebra of a group.

    g = exp(sum_i u_i G_i) with u_i = w_i r_i, r_i uniform on [-1/2, 1/2) and w_i = softplus(raw_i);
    gradients reach w. A generator that is not learned keeps its width, which may be 0 (it then
    never acts) and has no parameter.

    Args:
        group: its generators are the sides of the box.
        learn: names of the generators whose widths are trained, or "all".
        initial_width: w at the start; the default is softplus(-5), practically off.
        initial_widths: of single generators by name, instead of `initial_width`.
        center: the box is centred at the identity. False is [0, w] per side and, in space, what was
            published for molecules: rows of coordinates are multiplied by the linear part, x L + t,
            so that rotations are reversed.
        reflection: fixed probability of the mirror, for a group that has one (None: 1/2, both
            components alike); None for others.

    >>> from learnsym.groups.planar import Rotation2
    >>> UniformLieAlgebra(Rotation2(), initial_width=0.5).ranges()[0].metric_name
    'learned_rotation_width_rad'
    """

    raw_widths: nn.Parameter | None
    initial_widths: Tensor
    learned_index: Tensor
    mirror: Tensor

    def __init__(
        self,
        group: LieGroup,
        learn: list[str] | Literal["all"] = "all",
        initial_width: NonNegative = 0.006715348489118068,
        initial_widths: Mapping[str, NonNegative] | None = None,
        center: bool = True,
        reflection: Fraction | None = None,
    ) -> None:
        super().__init__()
        if isinstance(learn, str) and learn != "all":
            raise ValueError(
                f"learn must be 'all' or a list of {', '.join(group.names)}, got {learn!r}"
            )
        self.group = group
        self.learned = group.names if learn == "all" else tuple(learn)
        widths = dict(initial_widths or {})
        for argument, names in (("learn", self.learned), ("initial_widths", widths)):
            if unknown := [name for name in names if name not in group.names]:
                raise ValueError(
                    f"{argument}: {unknown[0]!r} is no generator of {type(group).__name__}; "
                    f"it has {', '.join(group.names)}"
                )
        start = [widths.get(name, initial_width) for name in group.names]
        if bad := [w for w in start if not 0 <= w < math.inf]:
            raise ValueError(f"widths must be at least 0 and finite, got {bad[0]}")
        index = [i for i, name in enumerate(group.names) if name in self.learned]
        raw = torch.tensor([inverse_softplus(start[i]) for i in index])
        self.raw_widths = nn.Parameter(raw) if index else None
        self.register_buffer("initial_widths", torch.tensor(start))
        positions = torch.tensor(index, dtype=torch.long)
        self.register_buffer("learned_index", positions, persistent=False)
        self.offset = 0.5 if center else 0.0
        self.acts_on_rows = not center and group.space_dim == 3
        if group.connected and reflection is not None:
            raise ValueError(
                f"{reflection=} needs a group with a mirror; {type(group).__name__} is connected"
            )
        if not 0 <= (reflection or 0.0) <= 1:
            raise ValueError(f"reflection must lie in [0, 1], got {reflection}")
        default = None if group.connected else 0.5
        self.reflection = default if reflection is None else float(reflection)
        if self.reflection is not None:
            mirror = group.components[1].to(torch.get_default_dtype())
            self.register_buffer("mirror", mirror, persistent=False)

    def learned_widths(self) -> Tensor:
        """Return the widths [n_learned] that training changes, in the group's order."""
        return self.initial_widths[:0] if self.raw_widths is None else F.softplus(self.raw_widths)

    def widths(self) -> Tensor:
        """Return all widths [n], in the order of the group's generators."""
        learned = self.learned_widths()
        if len(learned) == self.group.dim:
            return learned
        return self.initial_widths.index_copy(0, self.learned_index, learned)

    def sample(
        self, count: int, device: torch.device | str | None = None, rows: BatchRows | None = None
    ) -> Tensor:
        """Draw elements [count, d + 1, d + 1], one per example (see `learnsym.utils.rng`)."""
        widths = self.widths() if device is None else self.widths().to(device)
        n = self.group.dim
        numbers = n + (self.reflection is not None)
        device, dtype = widths.device, widths.dtype
        drawn = batch_uniform(count, numbers, rows=rows, device=device, dtype=dtype)
        # Half precision would know angles to three digits.
        with torch.autocast(widths.device.type, enabled=False):
            elements = self.group.exp((drawn[:, :n] - self.offset) * widths)
            if self.acts_on_rows:
                transposed = F.pad(elements[:, :-1, :-1].mT, (0, 0, 0, 1))
                elements = torch.cat([transposed, elements[..., -1:]], -1)
            if self.reflection is None:
                return elements
            mirrored = (drawn[:, n] < self.reflection)[:, None, None]
            return torch.where(mirrored, elements @ self.mirror.to(elements), elements)

    def norm(self, cap: Positive = math.inf) -> Tensor:
        """Return ||w||_2 over the learned generators whose width is below `cap`."""
        return torch.linalg.vector_norm(self._rewarded_widths(cap))

    def sum_of_squares(self, cap: Positive = math.inf) -> Tensor:
        """Return sum_i w_i^2 over the learned generators whose width is below `cap`."""
        return self._rewarded_widths(cap).square().sum()

    def _rewarded_widths(self, cap: float) -> Tensor:
        """Return the learned widths, zero (and without gradient) from `cap` on."""
        widths = self.learned_widths()
        return torch.where(widths < cap, widths, 0.0)

    def ranges(self) -> list[LearnedRange]:
        """Return the width per generator, and a mirror's share: 1 if as likely as not."""
        widths = zip(self.group.names, self.widths().tolist(), self.group.units, strict=True)
        ranges = [LearnedRange(name, w, unit, name in self.learned) for name, w, unit in widths]
        if self.reflection is not None:
            share = 2 * min(self.reflection, 1 - self.reflection)
            ranges.append(LearnedRange("reflection", share, "fraction", learned=False))
        return ranges
