"""Which elements of a stabiliser a group convolution lives on: the whole of it, or a learned part
(Romero and Lohit 2022).

Rotations of a continuous group: 2 pi theta u_i, with u_i evenly spaced in [-1/2, 1/2) behind one
random offset, and theta in [0, 1] learned: every angle is a function of theta, d angle / d theta =
2 pi u_i. Mirror images, and the elements of finite groups but the identity: present with a learned
probability p, drawn by a straight-through Gumbel-sigmoid,

    gate = 1[logit(p) + logit(v) > 0], with the derivative of sigmoid((logit(p) + logit(v)) /
    temperature), v uniform.

An absent element's features are computed and multiplied by 0, so that p has a gradient either way.
In evaluation the set is fixed (unless `evaluation` is random): an element is there if p >= 1/2, and
the offset is one of the layer's own. With one offset for all layers every relative angle would be a
multiple of 2 pi / n, a case that training on independent offsets never sees: networks with few
samples lost up to half of their accuracy by it.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from learnsym.distributions.base import LearnedRange, LearnedSymmetry
from learnsym.distributions.sampling import FullSampling, PartialSampling
from learnsym.groups.point_groups import Elements, Stabiliser, evenly_spaced
from learnsym.utils.rng import BatchRows, batch_uniform


class GroupSampler(LearnedSymmetry):
    """Samples of the stabiliser for one layer: of the whole (`learned` false), or of a part that is
    learned.

    theta and the logits are parameters of this module: `theta` [] for rotations of a continuous
    group, `logits` [1] for its mirror images, or [order - 1] for the elements of a finite group but
    the identity.

    Args:
        sampling: the settings.
        stabiliser: of the group.
        learned: whether the layer learns its part (a lifting never does).
        even_offset: of the evenly spaced set in evaluation, in [0, 1).
    """

    def __init__(
        self,
        sampling: FullSampling,
        stabiliser: Stabiliser,
        learned: bool = False,
        even_offset: float = 0.5,
    ) -> None:
        super().__init__()
        self.plan = sampling.resolve(stabiliser)
        self.stabiliser = self.plan.stabiliser
        self.learned = learned and sampling.partial
        self.even_evaluation, self.even_offset = sampling.evaluation == "even", even_offset
        finite = self.stabiliser.order is not None
        self.theta: nn.Parameter | None = None
        self.logits: nn.Parameter | None = None
        if self.learned:
            assert isinstance(sampling, PartialSampling)
            self.temperatures = sampling.temperature, sampling.last_temperature
            self.temperature = sampling.temperature
            if not finite:
                self.theta = nn.Parameter(torch.tensor(sampling.initial_arc))
            drawn = self.plan.samples - 1 if finite else int(self.stabiliser.has_mirror)
            if drawn:
                self.logits = nn.Parameter(
                    torch.full(
                        (drawn,), math.log(sampling.initial_keep / (1 - sampling.initial_keep))
                    )
                )
        self._places = self.plan.samples // (2 if self.stabiliser.has_mirror else 1)
        self._count = self._places
        self._kept: list[int] | None = None
        self._refresh()

    # --- sampling

    def forward(
        self,
        images: int,
        device: torch.device,
        dtype: torch.dtype,
        shared_offset: Tensor | None = None,
        rows: BatchRows | None = None,
    ) -> Elements:
        """A set of elements, [n] for all images or [images, n]; `shared_offset` [] is that of the
        network, if it has one.
        """
        if self._on_host():
            self._refresh()
        fixed = not self.training and self.even_evaluation
        if self.stabiliser.order is not None:
            whole = self.stabiliser.elements(dtype, device)
        else:
            theta = 1.0 if self.theta is None else within_unit(self.theta).to(dtype)
            whole = self.stabiliser.arc(
                evenly_spaced(
                    self._count, self._offset(images, device, dtype, fixed, shared_offset, rows)
                ),
                theta,
            )
        if self.logits is None:
            return whole
        if fixed:
            assert self._kept is not None
            return Elements(whole.angle[..., self._kept], whole.sign[..., self._kept])
        return Elements(whole.angle, whole.sign, self._gates(images, rows).to(dtype))

    def _offset(
        self,
        images: int,
        device: torch.device,
        dtype: torch.dtype,
        fixed: bool,
        shared_offset: Tensor | None,
        rows: BatchRows | None,
    ) -> Tensor:
        if fixed:
            return torch.full((), self.even_offset, device=device, dtype=dtype)
        if shared_offset is not None:
            return shared_offset
        if self.plan.sets == "image":
            return batch_uniform(images, rows=rows, device=device, dtype=dtype)
        return torch.rand((), device=device, dtype=dtype)

    def _gates(self, images: int, rows: BatchRows | None) -> Tensor:
        """[images, n]: 1 for elements that are there; the derivative with respect to the logits is
        that of the soft gate.
        """
        assert self.logits is not None
        noise = batch_uniform(
            images, self._drawn(), rows=rows, device=self.logits.device, dtype=torch.float32
        )
        raised = self._keep_logits() + torch.logit(noise.to(self.logits.dtype), eps=1e-6)
        soft = torch.sigmoid(raised / self.temperature)
        hard = (raised > 0).to(soft.dtype)
        gates = hard + (soft - soft.detach())  # in this order: exactly 0 or 1
        always = torch.ones(images, self._always(), device=gates.device, dtype=gates.dtype)
        return torch.cat([always, gates], -1)

    def _keep_logits(self) -> Tensor:
        """The logits, one for each element that may be absent."""
        assert self.logits is not None
        return self.logits.expand(self._drawn())

    def _always(self) -> int:
        """How many elements are always there, the first ones: the identity, or the rotations of a
        continuous group.
        """
        return 1 if self.stabiliser.order is not None else self._count

    def _drawn(self) -> int:
        return self.plan.samples - 1 if self.stabiliser.order is not None else self._count

    # --- numbers that the host needs

    def _on_host(self) -> bool:
        parameter = self.theta if self.theta is not None else self.logits
        return parameter is not None and parameter.device.type == "cpu"

    @torch.no_grad()
    def _refresh(self) -> None:
        """Read how many elements there are: n = max(1, ceil(n_full theta)); in evaluation also
        which.

        On a CPU in every pass. On a GPU reading would make the host wait, so there it happens when
        `train` or `eval` is called (once an epoch): between two calls the angles follow theta and
        their number does not.
        """
        if self.theta is not None:
            fraction = min(max(float(self.theta.detach()), 0.0), 1.0)
            self._count = max(1, math.ceil(self._places * fraction - 1e-6))
        if self.logits is not None:
            kept = (self._keep_logits() >= 0).tolist()
            self._kept = [
                *range(self._always()),
                *(self._always() + i for i, there in enumerate(kept) if there),
            ]

    def train(self, mode: bool = True) -> "GroupSampler":
        """As of any module; learned numbers of elements are read anew."""
        self._refresh()
        return super().train(mode)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._refresh()

    # --- training

    def anneal(self, fraction: float) -> None:
        """Set the temperature for a point of the training in [0, 1]."""
        if self.learned:
            first, last = self.temperatures
            self.temperature = first + (last - first) * min(max(fraction, 0.0), 1.0)

    @torch.no_grad()
    def project(self) -> None:
        """Put theta back into [0, 1], where a step has left it."""
        if self.theta is not None:
            self.theta.clamp_(0.0, 1.0)

    def extents(self) -> list[LearnedRange]:
        """The fraction of the rotations, and of the mirror images, that this layer lives on."""
        if self.stabiliser.trivial:
            return []
        rotation, reflection = 1.0, 1.0
        if self.theta is not None:
            rotation = min(max(float(self.theta.detach()), 0.0), 1.0)
        if self.logits is not None:
            keep = self.logits.detach().sigmoid().tolist()
            if self.stabiliser.order is None:
                reflection = keep[0]
            else:
                rotations = self.stabiliser.rotations or 1
                rotation = (1 + sum(keep[: rotations - 1])) / rotations
                reflection = sum(keep[rotations - 1 :]) / rotations
        found = [LearnedRange("rotation", rotation, "fraction", self.learned)]
        if self.stabiliser.has_mirror:
            found.append(LearnedRange("reflection", reflection, "fraction", self.learned))
        return found

    def extra_repr(self) -> str:
        """The group and the number of samples, for print(network)."""
        return f"{self.stabiliser}, samples={self.plan.samples}, learned={self.learned}"


class _WithinUnit(torch.autograd.Function):
    """clamp to [0, 1] whose gradient is 1: a step that has left the interval can come back."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(0.0, 1.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


within_unit = _WithinUnit.apply


def group_samplers(net: nn.Module) -> list[GroupSampler]:
    """All element sets of a network, in the order of its layers."""
    return [m for m in net.modules() if isinstance(m, GroupSampler)]
