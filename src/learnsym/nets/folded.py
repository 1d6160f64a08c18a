"""A trained network of group convolutions made ready for use: every kernel evaluated once, plain
convolutions left.

In evaluation the sampled elements are fixed, so the kernel of a layer is a constant: [C', n', C, n,
taps] at the elements of its output and of its input. As the weight of a conv2d from C * n to C' *
n' channels it needs neither the kernel network nor samples.
"""

import copy
import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.distributions.group_sampler import group_samplers
from learnsym.groups.point_groups import Elements
from learnsym.layers.group_conv import ContinuousGroupConv, PointwiseGroupConv
from learnsym.nets.group_network import GroupNetwork


class FrozenConv(nn.Module):
    """A lifting or group convolution whose kernel is a constant; it is called as the layer that it
    stands for.

    Args:
        conv: the layer.
        kernel: its kernel at fixed elements, [C', n', C, n, taps].
        out: the n' elements on which its output lives.
    """

    def __init__(self, conv: ContinuousGroupConv, kernel: Tensor, out: Elements) -> None:
        super().__init__()
        self.shape, self.padding = (conv.out_channels, len(out)), conv.padding
        self.register_buffer("weight", conv.conv2d_weight(kernel))
        self.register_buffer(
            "bias", None if conv.bias is None else conv.bias.detach().repeat_interleave(len(out))
        )
        self.register_buffer("angle", out.angle.clone())
        self.register_buffer("sign", out.sign.clone())

    def forward(self, features: Tensor, *_: Any) -> tuple[Tensor, Elements]:
        """Images [B, C, H, W], or features [B, C, n, H, W], to [B, C', n', H', W'] and the n'
        elements.
        """
        return self.convolve(features), Elements(self.angle, self.sign)

    def convolve(self, features: Tensor) -> Tensor:
        """The features alone."""
        flat = features.flatten(1, 2) if features.ndim == 5 else features
        return F.conv2d(flat, self.weight, self.bias, padding=self.padding).unflatten(1, self.shape)

    def extra_repr(self) -> str:
        """Sizes, for print(network)."""
        return f"{list(self.weight.shape)}, padding={self.padding}"


class FrozenShortcut(FrozenConv):
    """A pointwise group convolution whose kernel is a constant."""

    def forward(self, features: Tensor, *_: Any) -> Tensor:  # type: ignore[override]
        """[B, C, n, H, W] to [B, C', n', H, W]."""
        return self.convolve(features)


@torch.no_grad()
def freeze(net: nn.Module) -> nn.Module:
    """A copy of a network of group convolutions with the same outputs in evaluation, for inference
    alone.

    The copy is in evaluation mode and has no kernel networks and nothing to sample; norms and the
    last linear layer stay what they are, without gradients. Settings with random sets in evaluation
    (`evaluation: random`) are frozen at the even ones.

    Raises:
        ValueError: `net` is no `GroupNetwork`.
    """
    if not isinstance(net, GroupNetwork):
        raise ValueError(
            f"a {type(net).__name__} cannot be frozen: it is no network of group convolutions (CKResNet, GCNN)"
        )
    twin = copy.deepcopy(net).requires_grad_(False).eval()
    for elements in group_samplers(twin):
        elements.even_evaluation = True
    twin.plan = dataclasses.replace(
        twin.plan, random=False
    )  # no offset is drawn that no layer would use
    recorded = _record(twin)
    for name, (kernel, out) in recorded.items():
        conv = twin.get_submodule(name)
        assert isinstance(conv, ContinuousGroupConv)
        kind = FrozenShortcut if isinstance(conv, PointwiseGroupConv) else FrozenConv
        twin.set_submodule(name, kind(conv, kernel, out))
    return twin


def _record(net: GroupNetwork) -> dict[str, tuple[Tensor, Elements]]:
    """Of every convolution the kernel and the elements of the output, as one pass of an empty image
    uses them.
    """
    convs = {name: m for name, m in net.named_modules() if isinstance(m, ContinuousGroupConv)}
    kernels: dict[str, Tensor] = {}
    outs: dict[str, Elements] = {}
    hooks = []
    for name, conv in convs.items():
        hooks.append(
            conv.kernel.register_forward_hook(
                lambda _m, _i, made, name=name: kernels.__setitem__(name, made)
            )
        )
        # A shortcut takes the elements of its output as its last argument; the others return them.
        hooks.append(
            conv.register_forward_hook(
                lambda m, given, made, name=name: outs.__setitem__(
                    name, given[-1] if isinstance(m, PointwiseGroupConv) else made[1]
                )
            )
        )
    pooling = getattr(net, "pooling", None)
    if pooling is not None:
        net.pooling = None  # it takes images of one size only, which the kernels do not depend on
    like = next(net.parameters())
    net(like.new_zeros(1, net.in_channels, net.smallest_side, net.smallest_side))
    for hook in hooks:
        hook.remove()
    if pooling is not None:
        net.pooling = pooling
    return {name: (kernels[name], outs[name]) for name in convs}
