"""Fold the kernels of a trained network of group convolutions into plain convolutions.

In evaluation the sampled elements are fixed, so the kernel of a layer is a constant: [C', n', C, n,
taps] at the elements of its output and of its input. As the weight of a conv2d from C * n to C' *
n' channels it needs neither the kernel network nor samples.
"""

import copy
import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.distributions.group_sampler import group_samplers
from learnsym.groups.point_groups import Elements
from learnsym.layers.continuous_conv import ContinuousGroupConv
from learnsym.layers.group_conv import PointwiseGroupConv
from learnsym.nets.group_network import GroupNetwork


class FrozenConv(nn.Module):
    """Convolve with a constant kernel; called like the layer that it stands for.

    Args:
        conv: a lifting or group convolution.
        kernel: its kernel at fixed elements, [C', n', C, n, taps].
        out: the n' elements on which its output lives.
    """

    weight: Tensor
    bias: Tensor | None
    angle: Tensor
    sign: Tensor

    def __init__(self, conv: ContinuousGroupConv, kernel: Tensor, out: Elements) -> None:
        super().__init__()
        bias = None if conv.bias is None else conv.bias.detach().repeat_interleave(len(out))
        self.shape = (conv.out_channels, len(out))
        self.padding = conv.padding
        self.register_buffer("weight", conv.conv2d_weight(kernel))
        self.register_buffer("bias", bias)
        self.register_buffer("angle", out.angle.clone())
        self.register_buffer("sign", out.sign.clone())

    def forward(self, features: Tensor, *_: object) -> tuple[Tensor, Elements]:
        """Map images [B, C, H, W], or features [B, C, n, H, W], to [B, C', n', H', W'] and n'."""
        return self.convolve(features), Elements(self.angle, self.sign)

    def convolve(self, features: Tensor) -> Tensor:
        """Return the features alone."""
        flat = features.flatten(1, 2) if features.ndim == 5 else features
        return F.conv2d(flat, self.weight, self.bias, padding=self.padding).unflatten(1, self.shape)

    def extra_repr(self) -> str:
        """Return the sizes, for print(network)."""
        return f"{list(self.weight.shape)}, padding={self.padding}"


class FrozenShortcut(FrozenConv):
    """Convolve with the constant kernel of a pointwise group convolution."""

    def forward(self, features: Tensor, *_: object) -> Tensor:  # type: ignore[override]
        """Map [B, C, n, H, W] to [B, C', n', H, W]."""
        return self.convolve(features)


@torch.no_grad()
def freeze(net: nn.Module) -> nn.Module:
    """Copy a network of group convolutions for inference alone, with the same outputs.

    The copy is in evaluation mode and has no kernel networks and nothing to sample; norms and the
    last linear layer stay what they are, without gradients. Settings with random sets in evaluation
    (`evaluation: random`) are frozen at the even ones.

    Raises:
        ValueError: `net` is no `GroupNetwork`.
    """
    if not isinstance(net, GroupNetwork):
        raise ValueError(
            f"a {type(net).__name__} cannot be frozen: it is no network of group convolutions "
            "(CKResNet, GCNN)"
        )
    frozen = copy.deepcopy(net).requires_grad_(False).eval()
    for elements in group_samplers(frozen):
        elements.even_evaluation = True
    # No offset is drawn that no layer would use.
    frozen.plan = dataclasses.replace(frozen.plan, random=False)
    for name, (kernel, out) in _record(frozen).items():
        conv = frozen.get_submodule(name)
        assert isinstance(conv, ContinuousGroupConv)
        frozen_type = FrozenShortcut if isinstance(conv, PointwiseGroupConv) else FrozenConv
        frozen.set_submodule(name, frozen_type(conv, kernel, out))
    return frozen


def _record(net: GroupNetwork) -> dict[str, tuple[Tensor, Elements]]:
    """Return every convolution's kernel and output elements, as a pass of an empty image has them.

    A copy of the network passes it, without its final pooling, which takes images of one size only.
    """
    net = copy.deepcopy(net)
    if hasattr(net, "pooling"):
        net.pooling = None  # type: ignore[assignment]  # CKResNet alone has it
    kernels: dict[nn.Module, Tensor] = {}
    records: dict[str, tuple[Tensor, Elements]] = {}

    def record_kernel(kernel_network: nn.Module, _inputs: object, kernel: Tensor) -> None:
        kernels[kernel_network] = kernel

    for name, conv in net.named_modules():
        if isinstance(conv, ContinuousGroupConv):

            def record(
                conv: ContinuousGroupConv, inputs: tuple, output: tuple, name: str = name
            ) -> None:
                # A shortcut takes the elements of its output; the others return them.
                out = inputs[2] if isinstance(conv, PointwiseGroupConv) else output[1]
                records[name] = kernels[conv.kernel], out

            conv.kernel.register_forward_hook(record_kernel)
            conv.register_forward_hook(record)
    like = next(net.parameters())
    net(like.new_zeros(1, net.in_channels, net.smallest_side, net.smallest_side))
    return records
