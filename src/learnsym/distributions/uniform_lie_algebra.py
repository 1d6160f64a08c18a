"""The learned distribution of Augerino: uniform on a box of a Lie algebra (Benton et al. 2020,
section 3).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.distributions.base import LearnedRange, LearnedSymmetry
from learnsym.groups.base import LieGroup
from learnsym.schema import Fraction, NonNegative, Positive
from learnsym.utils.rng import BatchRows, batch_uniform


def inverse_softplus(width: float) -> float:
    """The raw number whose softplus log(1 + e^raw) is `width` > 0; exact for tiny and for large
    widths.

    >>> round(inverse_softplus(math.log(2)), 12)
    0.0
    """
    if not 0 < width < math.inf:
        raise ValueError(
            f"the width of a learned generator must be above 0 and finite, got {width}"
        )
    return width + math.log(-math.expm1(-width))


class UniformLieAlgebra(LearnedSymmetry):
    """g = exp(sum_i u_i G_i) with u_i = w_i r_i, r_i uniform on [-1/2, 1/2), w_i = softplus(raw_i);
    gradients reach w.

    A generator that is not learned keeps its width, which may be 0 (it then never acts) and has no
    parameter.

    Args:
        group: the group; its generators are the sides of the box.
        learn: names of the generators whose widths are trained, or "all".
        initial_width: width w at the start; the default is softplus(-5), practically off.
        initial_widths: widths of single generators by name, instead of `initial_width`.
        center: the box is centred at the identity; False is [0, w] per side and, in space, what was
            published for molecules: rows of coordinates are multiplied by the linear part, x L + t,
                so that rotations turn the other way.
        reflection: fixed probability of the mirror, for a group that has one (None: 1/2, both
            halves alike); None for others.

    >>> from learnsym.groups.planar import Rotation2
    >>> UniformLieAlgebra(Rotation2(), initial_width=0.5).extents()[0].metric_name
    'learned_rotation_width_rad'
    """

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
        self.group = group
        if isinstance(learn, str) and learn != "all":
            raise ValueError(
                f"learn must be 'all' or a list of {', '.join(group.names)}, got {learn!r}"
            )
        self.learned = group.names if learn == "all" else tuple(_known(learn, group, "learn"))
        given = dict(initial_widths or {})
        _known(given, group, "initial_widths")
        start = [given.get(name, initial_width) for name in group.names]
        if bad := [w for w in start if not 0 <= w < math.inf]:
            raise ValueError(f"widths must be at least 0 and finite, got {bad[0]}")
        places = [i for i, name in enumerate(group.names) if name in self.learned]
        raw = torch.tensor([inverse_softplus(start[i]) for i in places])
        self.raw_widths = nn.Parameter(raw) if places else None
        self.register_buffer("initial_widths", torch.tensor(start))
        self.register_buffer(
            "learned_places", torch.tensor(places, dtype=torch.long), persistent=False
        )
        self.offset = 0.5 if center else 0.0
        self.rows = not center and self.group.generators.shape[-1] == 4
        self.reflection = _mirror_probability(group, reflection)
        if self.reflection is not None:
            self.register_buffer(
                "mirror", group.components[1].to(torch.get_default_dtype()), persistent=False
            )

    def learned_widths(self) -> Tensor:
        """The widths [n_learned] that training moves, in the group's order."""
        return self.initial_widths[:0] if self.raw_widths is None else F.softplus(self.raw_widths)

    def widths(self) -> Tensor:
        """All widths [n], in the order of the group's generators."""
        learned = self.learned_widths()
        if len(learned) == self.group.dim:
            return learned
        return self.initial_widths.index_copy(0, self.learned_places, learned)

    def sample(
        self, count: int, device: torch.device | str | None = None, rows: BatchRows | None = None
    ) -> Tensor:
        """[count, d + 1, d + 1] elements, one per example (see `learnsym.utils.rng`), by default
        where the widths are.
        """
        widths = self.widths() if device is None else self.widths().to(device)
        n = self.group.dim
        drawn = batch_uniform(
            count,
            n + (self.reflection is not None),
            rows=rows,
            device=widths.device,
            dtype=widths.dtype,
        )
        with torch.autocast(
            widths.device.type, enabled=False
        ):  # angles of three digits would not do
            elements = self.group.exp((drawn[:, :n] - self.offset) * widths)
            if self.rows:
                elements = torch.cat(
                    [F.pad(elements[:, :-1, :-1].mT, (0, 0, 0, 1)), elements[..., -1:]], -1
                )
            if self.reflection is None:
                return elements
            mirrored = (drawn[:, n] < self.reflection)[:, None, None]
            return torch.where(mirrored, elements @ self.mirror.to(elements), elements)

    def norm(self, cap: Positive = math.inf) -> Tensor:
        """||w||_2 over the learned generators; those whose width has reached `cap` are left out, as
        if they were absent.
        """
        return torch.linalg.vector_norm(self._rewarded(cap))

    def sum_of_squares(self, cap: Positive = math.inf) -> Tensor:
        """sum_i w_i^2 over the learned generators, without those whose width has reached `cap`."""
        return self._rewarded(cap).square().sum()

    def _rewarded(self, cap: float) -> Tensor:
        """The learned widths, zero (and without gradient) from `cap` on."""
        widths = self.learned_widths()
        return torch.where(widths < cap, widths, 0.0)

    def extents(self) -> list[LearnedRange]:
        """Width per generator; a mirror as a fraction: 1 if both halves are equally likely, 0 if
        one never occurs.
        """
        values = zip(self.group.names, self.widths().tolist(), self.group.units, strict=True)
        found = [
            LearnedRange(name, width, unit, learned=name in self.learned)
            for name, width, unit in values
        ]
        if self.reflection is not None:
            share = 2 * min(self.reflection, 1 - self.reflection)
            found.append(LearnedRange("reflection", share, "fraction", learned=False))
        return found


def _known(
    names: Sequence[str] | Mapping[str, float], group: LieGroup, what: str
) -> Sequence[str] | Mapping[str, float]:
    """The names themselves, if the group has all of them."""
    if unknown := [name for name in names if name not in group.names]:
        raise ValueError(
            f"{what}: {unknown[0]!r} is no generator of {type(group).__name__}; it has {', '.join(group.names)}"
        )
    return names


def _mirror_probability(group: LieGroup, reflection: float | None) -> float | None:
    """The probability of the mirror; None where the group has none."""
    if group.connected:
        if reflection is not None:
            raise ValueError(
                f"reflection={reflection} needs a group with a mirror; {type(group).__name__} is connected"
            )
        return None
    if reflection is not None and not 0 <= reflection <= 1:
        raise ValueError(f"reflection must lie in [0, 1], got {reflection}")
    return 0.5 if reflection is None else float(reflection)
