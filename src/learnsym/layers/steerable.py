"""Steerable convolutions, norms and poolings on plain tensors (Weiler and Cesa 2019).

A feature map is [B, F * d, H, W]: F fields of one type, each with d components that a group element
g mixes by a matrix rho(g). The bases of equivariant kernels come from e2cnn (see
nets/e2_steerable.py). Its modules are not used: their expanded filters appear in and vanish from
the state, networks share bases (moving one moves all), and they pool in float32 only.
"""

import torch
from torch import Tensor, nn


class SteerableConv(nn.Module):
    """Convolve with a kernel sum_b w_b K_b from an equivariant basis [D, d_out, d_in, k, k].

    The K_b solve K(g x) = rho_out(g) K(x) rho_in(g)^-1. Only the weights w [F_out, F_in, D] and the
    bias are in the state: the filter is expanded in every pass, so that none can be stale. Output
    fields may be shifted along an invariant vector, the bias_direction [d_out].
    """

    basis: Tensor
    bias_direction: Tensor

    def __init__(
        self, basis: Tensor, weights: Tensor, bias_direction: Tensor, padding: int = 1
    ) -> None:
        super().__init__()
        self.padding = padding
        dtype = torch.get_default_dtype()
        self.weights = nn.Parameter(weights.to(dtype, copy=True))
        self.bias = nn.Parameter(torch.zeros(len(weights), dtype=dtype))
        # Given by the group, not learned: kept out of the state, which stays small.
        for name, given in {"basis": basis, "bias_direction": bias_direction}.items():
            self.register_buffer(name, given.to(dtype, copy=True), persistent=False)

    def kernel(self) -> Tensor:
        """Return the expanded filter, [F_out * d_out, F_in * d_in, k, k]."""
        expanded = (self.weights @ self.basis.flatten(1)).unflatten(-1, self.basis.shape[1:])
        return expanded.transpose(1, 2).flatten(0, 1).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, F_in * d_in, H, W] to [B, F_out * d_out, H', W']."""
        # bf16 sums of basis elements would break the symmetry by 1e-3; the convolution may be bf16.
        with torch.autocast(x.device.type, enabled=False):
            kernel, bias = self.kernel(), torch.outer(self.bias, self.bias_direction).flatten()
        return nn.functional.conv2d(x, kernel, bias, padding=self.padding)

    def extra_repr(self) -> str:
        """Return the sizes, for print(network)."""
        dimension, d_out, d_in, k, _ = self.basis.shape
        out_fields, in_fields, _ = self.weights.shape
        return f"{in_fields} x {d_in} -> {out_fields} x {d_out}, kernel={k}, basis={dimension}"


class RegularReLU(nn.Module):
    """Apply batch norm and ReLU to fields whose components the group permutes, each as a whole."""

    def __init__(self, fields: int) -> None:
        super().__init__()
        self.fields = fields
        self.norm = nn.BatchNorm2d(fields)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, F * N, H, W] to the same."""
        # A field's components side by side are one channel of a taller image, [B, F, N * H, W].
        return torch.relu(self.norm(x.reshape(len(x), self.fields, -1, x.shape[-1])).view(x.shape))


class RegularPool(nn.Module):
    """Take the maximum over the components of each regular field, an invariant scalar."""

    def __init__(self, fields: int) -> None:
        super().__init__()
        self.fields = fields

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, F * N, H, W] to [B, F, H, W]."""
        return x.unflatten(1, (self.fields, -1)).amax(2)


class NormPool(nn.Module):
    """Take the norm of each irrep of each field, or its value where it is trivial.

    `sizes` are the dimensions of a field's irreps, `trivial` says which of them are trivial.
    """

    def __init__(self, fields: int, sizes: tuple[int, ...], trivial: tuple[bool, ...]) -> None:
        super().__init__()
        self.fields, self.sizes, self.trivial = fields, sizes, trivial

    def irreps(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the irreps of all fields, [B, F, s, H, W] each."""
        return x.unflatten(1, (self.fields, -1)).split(self.sizes, dim=2)

    def invariants(self, irreps: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the invariant of each irrep, [B, F, H, W]; |v| = sqrt(v.v + 1e-12) is smooth."""
        return [
            v.squeeze(2) if trivial else (v.square().sum(2) + 1e-12).sqrt()
            for v, trivial in zip(irreps, self.trivial, strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, F * d, H, W] to [B, F * len(sizes), H, W]."""
        return torch.stack(self.invariants(self.irreps(x)), dim=2).flatten(1, 2)


class NormReLU(NormPool):
    """Map each irrep v of a field to v / |v| * ReLU(BN(|v|)).

    The norm is an invariant scalar, which may pass through anything; a trivial irrep is a scalar
    already and passes with its sign.
    """

    def __init__(self, fields: int, sizes: tuple[int, ...], trivial: tuple[bool, ...]) -> None:
        super().__init__(fields, sizes, trivial)
        self.norms = nn.ModuleList(nn.BatchNorm2d(fields) for _ in sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, F * d, H, W] to the same."""
        irreps = self.irreps(x)
        scalars = self.invariants(irreps)
        active = [torch.relu(norm(n)) for norm, n in zip(self.norms, scalars, strict=True)]
        passed = [
            a.unsqueeze(2) if trivial else v * (a / n).unsqueeze(2)
            for v, n, a, trivial in zip(irreps, scalars, active, self.trivial, strict=True)
        ]
        return torch.cat(passed, dim=2).flatten(1, 2)
