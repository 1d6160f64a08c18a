"""Convolutional network on five of nine taps (dynamics paper, version 2).

The projection of a kernel is its mean over quarter turns, see `C4Conv.project`.
"""

import itertools
from typing import Literal

import torch
from torch import Tensor

from learnsym.dynamics.ensemble import EnsembleNet, Weights
from learnsym.groups.permutation import GroupName, QuarterTurns
from learnsym.layers.fast.batched_conv import average_pool, tanh_pool_norm, tap_conv
from learnsym.layers.input_checks import check_images
from learnsym.schema import Positive, Size

SUPPORTS = {
    "cross": (4, 1, 3, 5, 7),  # the centre and the four sides
    "skew": (0, 1, 3, 5, 7),  # one corner and the four sides, no centre
}
"""Taps of a 3 x 3 kernel, row by row: tap 3 r + s joins output (i, j) to input (i + r - 1,
j + s - 1)."""


class C4Conv(EnsembleNet):
    """Three convolutions 3x3 and a linear layer, without biases, of kernels on five taps.

    Tanh follows each convolution, average pool 2 the first two, and layer norm over space, without
    parameters, all. The cross is symmetric under quarter turns: the projections onto it and onto
    equivariant kernels commute. The skew support is not. With `basis="random"` the kernel is B c
    for trained numbers c and a matrix B of five random unit vectors, not orthogonal: gradient
    descent on c is not gradient descent on the kernel.

    Weights, of M members: `conv<l>` [M, 5, c, c'] (taps, or coefficients), `basis<l>` [M, 5, 5]
    where there is one (not trained) and `linear` [M, points, c, num_outputs].

    Shape: [B, C, side, side] to [B, num_outputs].

    Args:
        side: of the images, a multiple of 4 from 12 on. Below, the last layer norm acts on 2 x 2
            points, one orbit: equivariant weights would answer 0 to everything.
        order: of tanh and average pool; the paper says "tanh_pool", its code does "pool_tanh".
        start_variance: of the first weights, times their fan-in.
    """

    full_orbit: Tensor
    """[5, 1, 1]: which taps have their orbit in the support; equivariant kernels on it vanish on
    all others."""

    def __init__(
        self,
        in_channels: Size,
        num_outputs: Size,
        side: Size = 28,
        channels: tuple[Size, Size, Size] = (32, 64, 64),
        support: Literal["cross", "skew"] = "cross",
        basis: Literal["orthonormal", "random"] = "orthonormal",
        order: Literal["tanh_pool", "pool_tanh"] = "tanh_pool",
        start_variance: Positive = 1.0,
    ) -> None:
        if side % 4 or side < 12:
            raise ValueError(
                f"side={side}: two poolings need a multiple of 4, and below 12 equivariant weights "
                "can only answer 0. Try side=28"
            )
        super().__init__()
        self.in_channels, self.num_outputs, self.side = in_channels, num_outputs, side
        self.basis, self.order, self.start_variance = basis, order, start_variance
        self.taps = SUPPORTS[support]
        widths = itertools.pairwise((in_channels, *channels))
        self.convs = {f"conv{index}": pair for index, pair in enumerate(widths)}
        self.layers = (*self.convs, "linear")
        self.fixed = tuple(basis_of(name) for name in self.convs) if basis == "random" else ()
        self.kernel_turns, self.map_turns = QuarterTurns(3), QuarterTurns(side // 4)
        orbits = self.kernel_turns.orbits()
        on_support = torch.tensor([tap in self.taps for tap in range(9)])
        full = torch.stack([on_support[orbits == orbits[tap]].all() for tap in self.taps])
        self.register_buffer("full_orbit", full[:, None, None], persistent=False)
        seed = int(torch.randint(2**62, ()))
        weights = self.sample_equivariant(torch.Generator().manual_seed(seed))
        self.load_member(self.to_basis(weights, torch.Generator().manual_seed(seed + 1)))

    def sample_equivariant(self, generator: torch.Generator) -> Weights:
        """Draw a Gaussian for each orbit of taps or points, of variance start / fan-in."""
        weights = {}
        for name, (c, d) in self.convs.items():
            kernel = _draw_on_orbits(self.kernel_turns, c, d, generator)[:, list(self.taps)]
            kernel = kernel * (self.start_variance / (len(self.taps) * c)) ** 0.5
            weights[name] = kernel * self.full_orbit.cpu()
        c = self.convs["conv2"][1]
        linear = _draw_on_orbits(self.map_turns, c, self.num_outputs, generator)
        weights["linear"] = linear * (self.start_variance / (self.map_turns.points * c)) ** 0.5
        return weights

    def to_basis(self, weights: Weights, generator: torch.Generator) -> Weights:
        """Express kernels [1, ...] in the basis, drawn if it is random."""
        result = dict(weights)
        for name in self.convs if self.basis == "random" else ():
            kernel = weights[name]
            vectors = torch.randn(1, 5, 5, generator=generator, dtype=torch.float64)
            basis = (vectors / vectors.norm(dim=1, keepdim=True)).float()
            result[basis_of(name)] = basis.to(kernel.dtype)
            coefficients = torch.linalg.solve(basis.double(), kernel.double().flatten(2))
            result[name] = coefficients.to(kernel.dtype).view_as(kernel)
        return result

    def project(self, weights: Weights) -> Weights:
        """Project weights in the orthonormal basis: means over C_4, cut to the support."""
        means = self._group_means(weights)
        for name in self.convs:
            means[name] = means[name][:, list(self.taps)] * self.full_orbit
        return means

    def equivariant_dimension(self) -> int:
        """Count the orbits of taps and of points, times the channels."""
        kernel_orbits = self.kernel_turns.orbits()[list(self.taps)][self.full_orbit.flatten().cpu()]
        orbits = dict.fromkeys(self.convs, len(kernel_orbits.unique()))
        orbits["linear"] = len(self.map_turns.orbits().unique())
        return sum(orbits[name] * self.get_parameter(name)[0].numel() for name in self.layers)

    def linear_maps(self, weights: Weights) -> Weights:
        """Compute the taps of the kernels, and select the linear layer."""
        return self.reduce(weights)

    def residual(self, maps: Weights) -> Weights:
        """Subtract means over C_4, on all nine taps."""
        means = self._group_means(maps)
        return {name: self._on_grid(name, maps[name]) - means[name] for name in self.layers}

    def _group_means(self, maps: Weights) -> Weights:
        """Compute the means over C_4 of kernels [M, 9, c, c'] and of the linear layer."""
        means = {}
        for name in self.layers:
            full = self._on_grid(name, maps[name])
            group = self.kernel_turns if name in self.convs else self.map_turns
            means[name] = group.project_invariant(full.flatten(2)).view(full.shape)
        return means

    def _on_grid(self, name: str, weight: Tensor) -> Tensor:
        """Extend kernels [M, 5, c, c'] by zero to [M, 9, c, c']; keep the linear layer."""
        if name not in self.convs:
            return weight
        full = weight.new_zeros(len(weight), 9, *weight.shape[2:])
        full[:, list(self.taps)] = weight
        return full

    def distance_to_equivariance(self, group: GroupName) -> dict[str, float]:
        """Measure the distance of every layer from E of `quarter_turns`."""
        if group != "quarter_turns":
            raise ValueError(f"C4Conv knows its distance for quarter_turns, not for {group}")
        distance = self.distance(self.member_weights())[0]
        return dict(zip(self.layers, distance.tolist(), strict=True))

    def reduce(self, weights: Weights) -> Weights:
        """Compute taps from coefficients."""
        reduced = {name: weights[name] for name in self.layers}
        for name in self.convs:
            if (basis := weights.get(basis_of(name))) is not None:
                kernel = weights[name]
                reduced[name] = torch.bmm(basis, kernel.flatten(2)).view_as(kernel)
        return reduced

    def forward_reduced(self, reduced: Weights, images: Tensor) -> Tensor:
        """Compute outputs [M, B, num_outputs]; see `EnsembleNet`."""
        check_images("C4Conv", images[0], self.in_channels, self.side)
        if max(images.shape[-2:]) > self.side:
            sides = list(images.shape[-2:])
            raise ValueError(f"C4Conv was built for images of side {self.side} and got {sides}")
        x = images.permute(0, 1, 3, 4, 2)  # [M, B, H, W, C], as matrix products want them
        for name in self.convs:
            x, pool = tap_conv(x, reduced[name], self.taps), name != "conv2"
            if pool and self.order == "pool_tanh":
                x, pool = average_pool(x), False
            x = tanh_pool_norm(x, pool)
        return torch.bmm(x.flatten(2), reduced["linear"].flatten(1, 2))


def _draw_on_orbits(group: QuarterTurns, c: int, d: int, generator: torch.Generator) -> Tensor:
    """Draw Gaussians [1, points, c, d] that are constant on the orbits of points."""
    orbits = group.orbits()
    return torch.randn(1, len(orbits.unique()), c, d, generator=generator)[:, orbits]


def basis_of(conv: str) -> str:
    """Return the name of a convolution's basis: conv0 -> basis0."""
    return conv.replace("conv", "basis")
