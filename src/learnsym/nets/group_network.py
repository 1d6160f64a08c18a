"""What networks of group convolutions share: the settings that go together, and the losses on what
their layers learn.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from learnsym.distributions.group_sampler import GroupSampler
from learnsym.distributions.sampling import FullSampling
from learnsym.groups.point_groups import Elements, SemidirectProduct, Stabiliser, Trivial
from learnsym.kernels.base import KernelSpec
from learnsym.layers.group_conv import GroupConv, LiftingConv
from learnsym.schema import NonNegative, Size


class GroupNetwork(nn.Module):
    """Base of networks whose layers live on sampled elements of the stabiliser of a planar group.

    Args:
        group: R^2 x| H; its stabiliser H decides over what the layers convolve.
        conv: full, or partial: every group convolution learns on which part of H its output lives.
        kernel: the kind of kernel network.
        kernel_size: side of the kernels, odd.
        monotonic_decay: weight of sum_l relu(theta_(l+1) - theta_l): a later layer shall not live
            on more than an earlier one.
        kernel_decay: weight decay of the sampled kernels and the biases (see
            `ContinuousGroupConv`).
    """

    def __init__(
        self,
        group: SemidirectProduct,
        conv: FullSampling,
        kernel: KernelSpec,
        kernel_size: Size,
        monotonic_decay: NonNegative,
        kernel_decay: NonNegative,
    ) -> None:
        super().__init__()
        self.conv, self.kernel, self.kernel_size = conv, kernel, kernel_size
        self.plan = conv.resolve(group.stabiliser)
        self.monotonic_decay, self.kernel_decay = monotonic_decay, kernel_decay
        if monotonic_decay and not (conv.partial and group.stabiliser.rotations is None):
            raise ValueError(
                f"monotonic_decay={monotonic_decay} has no effect without learned arcs: set it to 0, or take conv=partial, se2"
            )
        self._group = group
        self._layers = 0

    @property
    def stabiliser(self) -> Stabiliser:
        """H; trivial for a planar network."""
        return self._group.stabiliser

    def lifting(self, in_channels: int, out_channels: int) -> LiftingConv:
        """The first convolution, over the whole of H."""
        elements = GroupSampler(self.conv, self.stabiliser, eval_offset=self._eval_offset())
        return LiftingConv(
            in_channels, out_channels, self.kernel, elements, self.kernel_size, self.kernel_decay
        )

    def group_conv(
        self, in_channels: int, out_channels: int, valid: bool = False, planar: bool = False
    ) -> GroupConv:
        """A convolution with a (perhaps learned) set of its own; `planar`: on the identity
        alone.
        """
        conv, stabiliser = (FullSampling(), Trivial()) if planar else (self.conv, self.stabiliser)
        elements = GroupSampler(
            conv, stabiliser, learned=not planar, eval_offset=self._eval_offset()
        )
        return GroupConv(
            in_channels,
            out_channels,
            self.kernel,
            elements,
            self.kernel_size,
            valid,
            self.kernel_decay,
        )

    def _eval_offset(self) -> float:
        """The next layer's offset in evaluation: 1/2 for all where they share their sets; otherwise
        steps of the golden ratio, so that no two layers stand in a special relation.
        """
        self._layers += 1
        return (
            0.5
            if self.plan.sets == "network"
            else (0.5 + (self._layers - 1) * (5**0.5 - 1) / 2) % 1
        )

    def offset(self, images: Tensor) -> Tensor | None:
        """The random offset [] of all layers' sets, where they share one."""
        fixed = not self.training and self.conv.evaluation == "even"
        if self.plan.sets != "network" or not self.plan.random or fixed:
            return None
        return torch.rand((), device=images.device, dtype=next(self.parameters()).dtype)

    def penalty(self) -> Tensor | float:
        """monotonic_decay * sum over group convolutions of relu(theta_(l+1) - theta_l)."""
        if not self.monotonic_decay:
            return 0.0
        theta = torch.stack(
            [m.theta for m in self.modules() if isinstance(m, GroupSampler) and m.theta is not None]
        )
        return self.monotonic_decay * theta.diff().relu().sum()


def widths(channels: int, factors: Sequence[float]) -> list[int]:
    """Channels of every block from pairs (factor, number of blocks): (32, [1, 1, 2, 1]) is [32,
    64].
    """
    if (
        len(factors) % 2
        or any(n != int(n) or n < 1 for n in factors[1::2])
        or any(f <= 0 for f in factors[::2])
    ):
        raise ValueError(
            f"block_width_factors={list(factors)}: pairs of a factor and a number of blocks are right, as [1, 1, 2, 1]"
        )
    return [
        round(f * channels)
        for f, n in zip(factors[::2], factors[1::2], strict=True)
        for _ in range(int(n))
    ]


def check_blocks(name: str, chosen: Sequence[int], blocks: int) -> None:
    """A ValueError unless all of `chosen` are numbers of blocks; 0 is the lifting."""
    if bad := [b for b in chosen if not 0 <= b <= blocks]:
        raise ValueError(
            f"{name}={list(chosen)}: there is no block {bad[0]}; 0 is the lifting, {blocks} the last block"
        )


def max_pool(features: Tensor) -> Tensor:
    """The maximum over 2 x 2 pixels, [B, C, n, H, W] to [B, C, n, H // 2, W // 2]."""
    return nn.functional.max_pool2d(features.flatten(1, 2), 2).unflatten(1, features.shape[1:3])


def present(features: Tensor, elements: Elements) -> Tensor:
    """Features [B, C, n, H, W] times 0 where an element is absent from an image's set."""
    weight = elements.weight
    return (
        features if weight is None else features * weight[:, None, :, None, None].to(features.dtype)
    )


def mean_over_elements(features: Tensor, elements: Elements) -> Tensor:
    """The mean over the elements of each image's set, [B, C, n, H, W] to [B, C, H, W]; absent ones
    are zero already.
    """
    if elements.weight is None:
        return features.mean(2)
    return features.sum(2) / elements.weight.sum(-1)[:, None, None, None].to(features.dtype)
