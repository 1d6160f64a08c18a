"""The convolutional network of the dynamics paper's second version: kernels on five of nine taps,
symmetric under C_4 or not.
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
"""Taps of a 3 x 3 kernel, row by row: tap 3 r + s joins output (i, j) to input (i + r - 1, j + s -
1)."""


class C4Conv(EnsembleNet):
    """Three convolutions 3x3 without bias and a linear layer: tanh after each convolution, average
    pool 2 after the first two, layer norm over space, without parameters, after all.

    Kernels live on five taps. The cross is symmetric under quarter turns: the projections onto it
    and onto equivariant kernels commute. The skew support is not. With `basis="random"` the kernel
    is B c for trained numbers c and a matrix B of five random unit vectors, not orthogonal:
    gradient descent on c is not gradient descent on the kernel.

    Weights, of M members: `conv<l>` [M, 5, c, c'] (taps, or coefficients), `basis<l>` [M, 5, 5]
    where there is one (not trained) and `linear` [M, points, c, num_outputs].

    Shape: [B, C, side, side] to [B, num_outputs].
    """

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
        """Args:
            in_channels, num_outputs: of the data.
            side: of the images, a multiple of 4 from 12 on. Of 8 pixels the last layer norm leaves
                2 x 2 points, one orbit, over which it makes every sum zero: equivariant weights
                    would answer 0 to everything.
            channels: outputs of the convolutions.
            support: where the kernels live.
            basis: of the kernels' space, see above.
            order: of tanh and average pool: "tanh_pool", as the paper says, or "pool_tanh", as the
                published code does.
            start_variance: of the first weights, times their fan-in.

        Raises:
            ValueError: the side is another.
        """
        if side % 4 or side < 12:
            raise ValueError(
                f"side={side}: two poolings need a multiple of 4, and below 12 equivariant weights can only answer 0; "
                "side=28 would be right"
            )
        super().__init__()
        self.in_channels, self.num_outputs, self.side, self.basis = (
            in_channels,
            num_outputs,
            side,
            basis,
        )
        self.order, self.start_variance = order, start_variance
        self.taps = SUPPORTS[support]
        widths = (in_channels, *channels)
        self.convs = {f"conv{place}": pair for place, pair in enumerate(itertools.pairwise(widths))}
        self.layers = (*self.convs, "linear")
        self.kernel_turns, self.map_turns = QuarterTurns(3), QuarterTurns(side // 4)
        orbits = self.kernel_turns.orbits()
        inside = torch.tensor([tap in self.taps for tap in range(9)])
        whole = torch.stack([inside[orbits == orbits[tap]].all() for tap in self.taps])
        self.register_buffer("whole", whole[:, None, None], persistent=False)
        """[5, 1, 1]: the taps whose orbit lies in the support, the only ones where an equivariant
        kernel on it is not zero."""
        self.fixed = tuple(basis_of(name) for name in self.convs) if basis == "random" else ()
        seed = int(torch.randint(2**62, ()))
        weights = self.draw(torch.Generator().manual_seed(seed))
        self.become(self.free(weights, torch.Generator().manual_seed(seed + 1)))

    # --- weights

    def draw(self, generator: torch.Generator) -> Weights:
        """Draw equivariant kernels in the orthonormal basis, and an equivariant linear layer.

        One Gaussian for each orbit of taps or of points, of variance `start_variance` / fan-in
        (taps or points times c).
        """
        weights = {}
        for name, (c, d) in self.convs.items():
            free = torch.randn(
                1, len(self.kernel_turns.orbits().unique()), c * d, generator=generator
            )
            taps = (
                free[:, self.kernel_turns.orbits()][:, list(self.taps)]
                * (self.start_variance / (len(self.taps) * c)) ** 0.5
            )
            weights[name] = taps.unflatten(2, (c, d)) * self.whole.cpu()
        c, points = self.convs["conv2"][1], self.map_turns.points
        free = torch.randn(
            1, len(self.map_turns.orbits().unique()), c * self.num_outputs, generator=generator
        )
        spread = free[:, self.map_turns.orbits()].unflatten(2, (c, self.num_outputs))
        weights["linear"] = spread * (self.start_variance / (points * c)) ** 0.5
        return weights

    def free(self, weights: Weights, generator: torch.Generator) -> Weights:
        """The same kernels [1, ...] in this network's own basis: what the free training starts
        from.
        """
        if self.basis == "orthonormal":
            return dict(weights)
        found = dict(weights)
        for name in self.convs:
            vectors = torch.randn(1, 5, 5, generator=generator, dtype=torch.float64)
            basis = vectors / vectors.norm(dim=1, keepdim=True)
            found[basis_of(name)] = basis.float().to(weights[name].dtype)
            taps = weights[name].double().flatten(2)
            found[name] = (
                torch.linalg.solve(basis.float().double(), taps)
                .to(weights[name].dtype)
                .view_as(weights[name])
            )
        return found

    def project(self, weights: Weights) -> Weights:
        """Of weights in the orthonormal basis."""
        full = self._means(weights)
        return {
            name: full[name][:, list(self.taps)] * self.whole if name in self.convs else full[name]
            for name in self.layers
        }

    def equivariant_dimension(self) -> int:
        inside = self.kernel_turns.orbits()[list(self.taps)][self.whole.flatten().cpu()]
        free = {name: len(inside.unique()) for name in self.convs} | {
            "linear": len(self.map_turns.orbits().unique())
        }
        return sum(free[name] * self.get_parameter(name)[0].numel() for name in self.layers)

    def linear_maps(self, weights: Weights) -> Weights:
        compact = self.compact(weights)
        return {name: compact[name] for name in self.layers}

    def outside(self, maps: Weights) -> Weights:
        """On all nine taps: the mean over the group of a kernel on the skew support has all four
        corners.
        """
        means = self._means(maps)
        return {
            name: (self._nine(maps[name]) if name in self.convs else maps[name]) - means[name]
            for name in self.layers
        }

    def _means(self, maps: Weights) -> Weights:
        """The means over the group, of kernels [M, 9, c, c'] and of the linear layer."""
        means = {}
        for name in self.layers:
            full, group = (
                (self._nine(maps[name]), self.kernel_turns)
                if name in self.convs
                else (maps[name], self.map_turns)
            )
            means[name] = group.project_invariant(full.flatten(2)).view(full.shape)
        return means

    def _nine(self, kernel: Tensor) -> Tensor:
        """[M, 5, c, c'] to [M, 9, c, c'], zero outside the support."""
        full = kernel.new_zeros(len(kernel), 9, *kernel.shape[2:])
        full[:, list(self.taps)] = kernel
        return full

    def distance_to_equivariance(self, group: GroupName) -> dict[str, float]:
        if group != "quarter_turns":
            raise ValueError(f"C4Conv knows its distance for quarter_turns, not for {group}")
        return dict(zip(self.layers, self.distance(self.own_weights())[0].tolist(), strict=True))

    # --- the function

    def compact(self, weights: Weights) -> Weights:
        """Taps from coefficients."""
        found = {name: weights[name] for name in self.layers}
        for name in self.convs:
            if basis_of(name) in weights:
                found[name] = torch.bmm(weights[basis_of(name)], weights[name].flatten(2)).view_as(
                    weights[name]
                )
        return found

    def compact_adjoint(self, gradient: Weights, weights: Weights) -> Weights:
        """Coefficients from taps, by the transposed bases."""
        found = dict(gradient)
        for name in self.convs:
            if basis_of(name) in weights:
                found[name] = torch.bmm(
                    weights[basis_of(name)].mT, gradient[name].flatten(2)
                ).view_as(gradient[name])
        return found

    def evaluate(self, compact: Weights, images: Tensor) -> Tensor:
        check_images("C4Conv", images[0], self.in_channels, self.side)
        if max(images.shape[-2:]) > self.side:
            raise ValueError(
                f"C4Conv was built for images of side {self.side} and got {list(images.shape[-2:])}"
            )
        x = images.permute(
            0, 1, 3, 4, 2
        )  # [M, B, H, W, C]: channels innermost, as matrix products want them
        for name in self.convs:
            x, pool = tap_conv(x, compact[name], self.taps), name != "conv2"
            if pool and self.order == "pool_tanh":
                x, pool = average_pool(x), False
            x = tanh_pool_norm(x, pool)
        return torch.bmm(x.flatten(2), compact["linear"].flatten(1, 2))


def basis_of(conv: str) -> str:
    """conv0 -> basis0."""
    return conv.replace("conv", "basis")
