"""Fold the kernels of a trained network of group convolutions into plain convolutions.

In evaluation the sampled elements are fixed, so the kernel of a layer is a constant: [C', n', C, n,
taps] at the elements of its output and of its input. As the weight of a conv2d from C * n to C' *
n' channels it needs neither the kernel network nor samples.
"""

import copy
import dataclasses
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.distributions.group_sampler import group_samplers
from learnsym.groups.point_groups import Elements
from learnsym.layers.continuous_conv import ContinuousGroupConv
from learnsym.layers.group_conv import PointwiseGroupConv
from learnsym.nets.group_network import GroupNetwork


class FrozenConv(nn.Module):
    """Convolve with a constant kernel [C', n', C, n, taps]; called like the layer it stands for."""

    weight: Tensor
    bias: Tensor | None
    angle: Tensor
    sign: Tensor

    def __init__(self, conv: ContinuousGroupConv, kernel: Tensor, out: Elements) -> None:
        super().__init__()
        bias = None if conv.bias is None else conv.bias.detach().repeat_interleave(len(out))
        self.shape = (conv.out_channels, len(out))
        self.padding = conv.padding
        self.is_shortcut = isinstance(conv, PointwiseGroupConv)
        self.register_buffer("weight", conv.conv2d_weight(kernel))
        self.register_buffer("bias", bias)
        self.register_buffer("angle", out.angle.clone())
        self.register_buffer("sign", out.sign.clone())

    def forward(self, features: Tensor, *_: object) -> Tensor | tuple[Tensor, Elements]:
        """Map images [B, C, H, W], or features [B, C, n, H, W], to [B, C', n', H', W'] (and n')."""
        flat = features.flatten(1, 2) if features.ndim == 5 else features
        flat = F.conv2d(flat, self.weight, self.bias, padding=self.padding)
        out = flat.unflatten(1, self.shape)
        return out if self.is_shortcut else (out, Elements(self.angle, self.sign))

    def extra_repr(self) -> str:
        """Show the sizes in print(network)."""
        return f"{list(self.weight.shape)}, padding={self.padding}"


@torch.no_grad()
def freeze(net: nn.Module) -> nn.Module:
    """Copy a network of group convolutions for inference alone, with the same outputs.

    The copy is in evaluation mode and has no kernel networks and nothing to sample; random sets in
    evaluation (`evaluation: random`) are frozen at the even ones.
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
        frozen.set_submodule(name, FrozenConv(conv, kernel, out))
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

    def record(name: str, conv: ContinuousGroupConv, inputs: tuple, output: tuple) -> None:
        # A shortcut takes the elements of its output; the others return them.
        out = inputs[2] if isinstance(conv, PointwiseGroupConv) else output[1]
        records[name] = kernels[conv.kernel], out

    for name, conv in net.named_modules():
        if isinstance(conv, ContinuousGroupConv):
            conv.kernel.register_forward_hook(record_kernel)
            conv.register_forward_hook(partial(record, name))
    like = next(net.parameters())
    net(like.new_zeros(1, net.in_channels, net.smallest_side, net.smallest_side))
    return records
