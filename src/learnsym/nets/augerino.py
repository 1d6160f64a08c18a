"""Augerino: average a network over transformations of its input (Benton et al. 2020)."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.distributions.uniform_lie_algebra import UniformLieAlgebra
from learnsym.groups.actions import act_on_points, warp
from learnsym.groups.base import LieGroup
from learnsym.layers.forward_context import ForwardContext, rows_of, takes_context
from learnsym.schema import Fraction, NonNegative, Positive, Size, Task
from learnsym.utils.rng import BatchRows


class AveragingNetwork(nn.Module):
    """Base of networks that average a backbone over transformations of its input."""

    def __init__(self, net: str, backbone: nn.Module, task: Task) -> None:
        super().__init__()
        if task == "segmentation":
            raise ValueError(
                f"task=segmentation: net={net} averages outputs over transformations of the input, "
                "and masks would move with it. Try net=projected_linear, or a data set of "
                "classification or regression."
            )
        stabiliser = getattr(backbone, "stabiliser", None)
        if stabiliser is not None and not stabiliser.trivial:
            raise ValueError(
                f"net={net} around a backbone that is not planar (its stabiliser is {stabiliser}). "
                "Learn the symmetry at the input, with a backbone on translation2, or in the "
                "layers, with net=ckresnet alone."
            )
        self.backbone = backbone
        self._backbone_takes_context = takes_context(backbone)

    def outputs(self, inputs: Tensor, copies: int, context: ForwardContext | None) -> Tensor:
        """Map copies side by side [B * copies, ...] to [B, copies, K], in float32 or better."""
        arguments = (inputs, context) if self._backbone_takes_context else (inputs,)
        outputs = self.backbone(*arguments)
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        return outputs.unflatten(0, (-1, copies))


class Augerino(AveragingNetwork):
    """Average a network over transformations whose extent is learned.

        h(x) = E_g f(g x) ~ (1/J) sum_j f(g_j x)

    with g drawn from a learned box of a Lie algebra (`UniformLieAlgebra`). For classification the
    average is over log-softmax outputs, for regression over plain ones. The loss is task loss +
    penalty(), with penalty() = -regularisation * R(w): wide distributions are rewarded.

    Inputs are images [B, C, H, W], whose sampling grid is moved by a group of the plane, or point
    clouds [B, N, 3 + C], whose coordinates (the first three columns) are moved by a group of space.
    A point of which all C features are 0 is padding.

    Args:
        backbone: the network f, to [B, K]; without a symmetry of its own.
        regulariser: R(w) over the learned generators: "norm" is ||w||_2, "squares" is sum_i w_i^2.
        learn, initial_width, initial_widths, center, reflection: see `UniformLieAlgebra`.
        width_cap: a width that has reached it stops being rewarded; None: every width is.
        train_copies, test_copies: J, transformations per input, in training and in testing.

    >>> from learnsym.groups.planar import SE2
    >>> from learnsym.nets.plain_cnn import SimpleConv
    >>> net = Augerino(SimpleConv(3, 4, width=4), SE2())
    >>> net(torch.randn(2, 3, 32, 32)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        backbone: nn.Module,
        group: LieGroup,
        task: Task = "classification",
        regularisation: NonNegative = 0.01,
        regulariser: Literal["norm", "squares"] = "norm",
        learn: list[str] | Literal["all"] = "all",
        initial_width: NonNegative = 0.006715348489118068,
        initial_widths: Mapping[str, NonNegative] | None = None,
        width_cap: Positive | None = 10.0,
        center: bool = True,
        reflection: Fraction | None = None,
        train_copies: Size = 1,
        test_copies: Size = 4,
    ) -> None:
        super().__init__("augerino", backbone, task)
        if group.space_dim not in (2, 3):
            raise ValueError(
                f"images need a group of the plane and point clouds one of space; {group} acts on "
                f"{group.space_dim} dimensions."
            )
        if min(train_copies, test_copies) < 1:
            raise ValueError(f"copies must be at least 1, got {train_copies=}, {test_copies=}.")
        self.augmentation = UniformLieAlgebra(
            group, learn, initial_width, initial_widths, center, reflection
        )
        self.task = task
        self.regularisation, self.regulariser = regularisation, regulariser
        self.width_cap = math.inf if width_cap is None else width_cap
        self.train_copies, self.test_copies = train_copies, test_copies

    def forward(self, inputs: Tensor, context: ForwardContext | None = None) -> Tensor:
        """Map inputs to log-probabilities or, in regression, values [B, K], at least float32."""
        copies = self.train_copies if self.training else self.test_copies
        outputs = self.outputs(self.augment(inputs, copies, rows_of(context)), copies, context)
        if self.task == "classification":
            outputs = F.log_softmax(outputs, dim=-1)
        return outputs.mean(dim=1)

    def augment(self, inputs: Tensor, copies: int = 1, rows: BatchRows | None = None) -> Tensor:
        """Transform inputs to [B * copies, ...], the copies of one input side by side."""
        group = self.augmentation.group
        if inputs.ndim != 6 - group.space_dim:
            wanted = "images [B, C, H, W]" if group.space_dim == 2 else "point clouds [B, N, 3 + C]"
            raise ValueError(
                f"{group} transforms {wanted}, not inputs of shape {list(inputs.shape)}."
            )
        if copies > 1:
            inputs = inputs.repeat_interleave(copies, dim=0)
        elements = self.augmentation.sample(len(inputs), inputs.device, rows)
        if group.space_dim == 2:
            return warp(inputs, elements)
        points, features = inputs[..., :3], inputs[..., 3:]
        return torch.cat([act_on_points(elements, points, (features != 0).any(-1)), features], -1)

    def penalty(self) -> Tensor:
        """Return -regularisation * R(w), a scalar to add to the loss."""
        widths = self.augmentation
        reward = widths.norm if self.regulariser == "norm" else widths.sum_of_squares
        return -self.regularisation * reward(self.width_cap)
