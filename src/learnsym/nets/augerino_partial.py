"""Augerino on a learned part of the rotations (Romero and Lohit 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.distributions.group_sampler import GroupSampler
from learnsym.distributions.sampling import FullSampling
from learnsym.groups.actions import warp
from learnsym.groups.point_groups import SemidirectProduct
from learnsym.layers.forward_context import ForwardContext, rows_of
from learnsym.nets.augerino import AveragingNetwork
from learnsym.schema import Task


class PartialAugerino(AveragingNetwork):
    """Average f(h x), (h x)(p) = x(h^-1 p), over the learned part of the stabiliser.

    `Augerino` draws every transformation independently from a box, and rewards wide ones. Here the
    set is that of a layer of a partial group convolution (see `GroupSampler`): evenly spaced
    rotations, and, for a group with mirror images, as many of these. Only the task drives it. The
    mean is over plain outputs: logits of a classifier. With `conv=full` it is the fixed average
    over the whole stabiliser H of the group R^2 x| H. The backbone f must be planar.
    """

    images_only = True

    def __init__(
        self,
        backbone: nn.Module,
        group: SemidirectProduct,
        conv: FullSampling,
        task: Task = "classification",
    ) -> None:
        super().__init__("augerino_partial", backbone, task)
        self.augmentation = GroupSampler(conv, group.stabiliser, learned=True)

    def forward(self, images: Tensor, context: ForwardContext | None = None) -> Tensor:
        """Map [B, C, H, W] to [B, K], in float32 or better."""
        dtype = next((p.dtype for p in self.parameters()), torch.float32)
        elements = self.augmentation(len(images), images.device, dtype, rows=rows_of(context))
        count = len(elements)
        with torch.autocast(images.device.type, enabled=False):
            maps = F.pad(elements.inverse().matrices(), (0, 1))  # [*L, n, 2, 3]
        copies = images.repeat_interleave(count, dim=0)  # those of one image side by side
        copies = warp(copies, maps.expand(len(images), count, 2, 3).flatten(0, 1))
        outputs = self.outputs(copies, count, context)
        if elements.weight is None:
            return outputs.mean(1)
        weight = elements.weight.to(outputs.dtype).unsqueeze(-1)
        return (outputs * weight).sum(1) / weight.sum(1)
