"""Sample the elements of a stabiliser that a group convolution lives on.

It is the whole stabiliser, or a learned subset (Romero and Lohit 2022). Rotations of a continuous
group are 2 pi theta u_i, with u_i evenly spaced in [-1/2, 1/2) behind one random offset, and theta
in [0, 1] learned: every angle is a function of theta, d angle / d theta = 2 pi u_i. Mirror images,
and the elements of finite groups but the identity, are present with a learned probability p, drawn
by a straight-through Gumbel-sigmoid,

    gate = 1[logit(p) + logit(v) > 0], with the derivative of sigmoid((logit(p) + logit(v)) /
    temperature), v uniform.

An absent element's features are computed and multiplied by 0, so that p has a gradient either way.

In evaluation the set is fixed (unless `evaluation` is random): an element is present if p >= 1/2,
and the offset is one of the layer alone. With one offset for all layers every relative angle would
be a multiple of 2 pi / n, a case that training on independent offsets never sees, and on which
networks with few samples are much less accurate.
"""

import math

import torch
from torch import Tensor, nn

from learnsym.distributions.base import LearnedRange, LearnedSymmetry
from learnsym.distributions.sampling import FullSampling, PartialSampling
from learnsym.groups.point_groups import Elements, Stabiliser, evenly_spaced
from learnsym.utils.rng import BatchRows, batch_uniform


class GroupSampler(LearnedSymmetry):
    """Samples of the stabiliser for one layer: of all of it, or of a learned subset.

    The parameters are theta [] for rotations of a continuous group, and `logits`: [1] for its
    mirror images, or [order - 1] for the elements of a finite group but the identity. A lifting
    never learns. `eval_offset` in [0, 1) is that of the evenly spaced set in evaluation.
    """

    theta: nn.Parameter | None
    logits: nn.Parameter | None

    def __init__(
        self,
        sampling: FullSampling,
        stabiliser: Stabiliser,
        learned: bool = False,
        eval_offset: float = 0.5,
    ) -> None:
        super().__init__()
        self.plan = sampling.resolve(stabiliser)
        self.stabiliser = self.plan.stabiliser
        self.learned = learned and sampling.partial
        self.even_evaluation = sampling.evaluation == "even"
        self.eval_offset = eval_offset
        self.theta = self.logits = None
        if learned and isinstance(sampling, PartialSampling):
            self._temperatures = sampling.temperature, sampling.last_temperature
            self.temperature = sampling.temperature
            finite = self.stabiliser.order is not None
            if not finite:
                self.theta = nn.Parameter(torch.tensor(sampling.initial_arc))
            if gated := self.plan.samples - 1 if finite else int(self.stabiliser.has_mirror):
                logit = math.log(sampling.initial_keep / (1 - sampling.initial_keep))
                self.logits = nn.Parameter(torch.full((gated,), logit))
        self._rotations = self.plan.samples // (2 if self.stabiliser.has_mirror else 1)
        self._count = self._rotations  # fewer where theta is below 1
        self._present: list[int] = []
        self._refresh()

    def forward(
        self,
        images: int,
        device: torch.device,
        dtype: torch.dtype,
        shared_offset: Tensor | None = None,
        rows: BatchRows | None = None,
    ) -> Elements:
        """Draw a set of elements, [n] for all images or [images, n]."""
        parameter = self.logits if self.theta is None else self.theta
        if parameter is not None and parameter.device.type == "cpu":
            self._refresh()
        fixed = not self.training and self.even_evaluation
        if self.stabiliser.order is not None:
            elements = self.stabiliser.elements(dtype, device)
        else:
            if fixed:
                offset = torch.full((), self.eval_offset, device=device, dtype=dtype)
            elif shared_offset is not None:
                offset = shared_offset
            elif self.plan.sets == "image":
                offset = batch_uniform(images, rows=rows, device=device, dtype=dtype)
            else:
                offset = torch.rand((), device=device, dtype=dtype)
            theta = 1.0 if self.theta is None else _clamp_to_unit(self.theta).to(dtype)
            elements = self.stabiliser.rotations_from(evenly_spaced(self._count, offset), theta)
        if self.logits is None:
            return elements
        if fixed:
            return Elements(elements.angle[..., self._present], elements.sign[..., self._present])
        gates = self._gates(self.logits, images, rows).to(dtype)
        return Elements(elements.angle, elements.sign, gates)

    def _gates(self, logits: Tensor, images: int, rows: BatchRows | None) -> Tensor:
        """Draw gates [images, n], 0 or 1, with the derivative of the soft gate."""
        always, gated = self._split()
        noise = batch_uniform(images, gated, rows=rows, device=logits.device, dtype=torch.float32)
        logits = logits + torch.logit(noise.to(logits.dtype), eps=1e-6)
        soft = torch.sigmoid(logits / self.temperature)
        hard = (logits > 0).to(soft.dtype)
        gates = hard + (soft - soft.detach())  # in this order: exactly 0 or 1
        return torch.cat([gates.new_ones(images, always), gates], -1)

    def _split(self) -> tuple[int, int]:
        """Return how many elements are always present (identity or rotations), how many gated."""
        if self.stabiliser.order is not None:
            return 1, self.plan.samples - 1
        return self._count, self._count

    @torch.no_grad()
    def _refresh(self) -> None:
        """Read how many elements there are, and which of them in evaluation.

        n = max(1, ceil(n_full theta)). On a CPU this happens in every pass. On a GPU reading would
        make the host wait, so it happens when `train` or `eval` is called (once an epoch): between
        two calls the angles follow theta and their number does not.
        """
        if self.theta is not None:
            self._count = max(1, math.ceil(self._rotations * self._fraction() - 1e-6))
        if self.logits is not None:
            always, gated = self._split()
            present = (self.logits.expand(gated) >= 0).nonzero().flatten().tolist()
            self._present = [*range(always), *(always + i for i in present)]

    def _fraction(self) -> float:
        return 1.0 if self.theta is None else min(max(float(self.theta.detach()), 0.0), 1.0)

    def train(self, mode: bool = True) -> "GroupSampler":
        """Set the mode, as of any module, and read the number of elements."""
        self._refresh()
        return super().train(mode)

    def _load_from_state_dict(self, *arguments: object) -> None:
        super()._load_from_state_dict(*arguments)
        self._refresh()

    def anneal(self, fraction: float) -> None:
        """Set the temperature, linear in the fraction of the training in [0, 1]."""
        if self.learned:
            first, last = self._temperatures
            self.temperature = first + (last - first) * min(max(fraction, 0.0), 1.0)

    @torch.no_grad()
    def project(self) -> None:
        """Put theta back into [0, 1]."""
        if self.theta is not None:
            self.theta.clamp_(0.0, 1.0)

    def ranges(self) -> list[LearnedRange]:
        """Return the fraction of the rotations, and of the mirror images, that are present."""
        if self.stabiliser.trivial:
            return []
        n, mirror = self.stabiliser.rotations, self.stabiliser.has_mirror
        fractions = {"rotation": self._fraction()} | ({"reflection": 1.0} if mirror else {})
        if self.logits is not None:
            probabilities = self.logits.detach().sigmoid().tolist()
            if n is not None:
                fractions["rotation"] = (1 + sum(probabilities[: n - 1])) / n
            if mirror:
                mirrored = probabilities if n is None else probabilities[n - 1 :]
                fractions["reflection"] = sum(mirrored) / len(mirrored)
        return [LearnedRange(g, f, "fraction", self.learned) for g, f in fractions.items()]

    def extra_repr(self) -> str:
        """Show the group and the number of samples in print(network)."""
        return f"{self.stabiliser}, samples={self.plan.samples}, learned={self.learned}"


def _clamp_to_unit(x: Tensor) -> Tensor:
    """Clamp to [0, 1] with gradient 1, so that a step that has left the interval can come back."""
    return x.detach().clamp(0.0, 1.0) + (x - x.detach())


def group_samplers(net: nn.Module) -> list[GroupSampler]:
    """Return all samplers of a network, in the order of its layers."""
    return [m for m in net.modules() if isinstance(m, GroupSampler)]
