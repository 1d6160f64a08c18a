"""LieConvNet on molecules (Finzi et al. 2020; Benton et al. 2020, appendix on QM9)."""

import torch
from torch import Tensor, nn

from learnsym.groups.rotations import uniform_rotations
from learnsym.layers.forward_context import ForwardContext, rows_of
from learnsym.layers.input_checks import check_clouds
from learnsym.layers.lie_conv import LieConv
from learnsym.layers.lifting import LIFTS, PointGroup, even_numbers
from learnsym.layers.neighbourhoods import (
    Neighbourhoods,
    clouds_by_size,
    neighbourhoods,
    sorted_points,
)
from learnsym.layers.norms import SwishNorm
from learnsym.schema import Fraction, Size, Task
from learnsym.utils.rng import BatchRows, batch_uniform


class LieConvNet(nn.Module):
    """Predict numbers of point clouds by LieConv in bottleneck blocks.

    Linear embedding; blocks; batch norm, swish, linear to the outputs; mean over points. A block
    adds to its input batch norm, swish, linear k -> k/4, batch norm, swish, LieConv, batch norm,
    swish, linear k/4 -> k. Padding never enters: what is computed are the P points of all clouds,
    laid end to end.

    Outputs do not change under translations on t3; on so3 (about the origin of the coordinates) and
    se3 not in the mean over the rotations drawn in lifting, and less from draw to draw the more
    samples there are. In training these are random, uniform and independent; in evaluation a fixed
    even sequence goes over the points of a cloud in their order, so that the outputs are the same
    each time (of a cloud whose points come in another order: up to this sampling).

    Args:
        task: "regression" or "classification" of whole clouds.
        group: see `learnsym.layers.lifting`.
        width: k; 1536 makes 21 315 553 parameters on t3, at C = 15 and one output.
        bottleneck: 4, the factor by which blocks are narrower inside; divides the width.
        mixing, weight_widths: outputs for each pair, and hidden widths, of the weight network.
        fill: part of a cloud that is a point's neighbourhood: the nearest points, rounded up, but
            at most `max_neighbours`.
        lift_samples: rotations drawn for each point on so3 and se3; 1 on the others.

    Shape: [B, N, 3 + C] to [B, num_outputs]. Columns: x, y, z in angstrom, features; a point whose
        features are all 0 is padding, wherever in its cloud.

    >>> clouds = torch.cat([torch.randn(2, 5, 3), torch.ones(2, 5, 4)], -1)
    >>> LieConvNet(4, 1, width=8, blocks=1)(clouds).shape
    torch.Size([2, 1])
    """

    def __init__(
        self,
        in_channels: Size,
        num_outputs: Size,
        task: Task = "regression",
        group: PointGroup = "t3",
        width: Size = 1536,
        blocks: Size = 6,
        bottleneck: Size = 4,
        mixing: Size = 16,
        weight_widths: tuple[Size, ...] = (32, 32),
        fill: Fraction = 1.0,
        max_neighbours: Size = 100,
        lift_samples: Size = 1,
    ) -> None:
        super().__init__()
        if task == "segmentation":
            raise ValueError(
                "task=segmentation: net=lieconv gives numbers for whole clouds. Try regression or "
                "classification."
            )
        if group not in LIFTS:
            raise ValueError(f"group={group!r}: net=lieconv knows {', '.join(LIFTS)}.")
        if width % bottleneck:
            raise ValueError(
                f"{width=} is no multiple of {bottleneck=}, by which blocks are narrower inside."
            )
        if not 0 < fill <= 1:
            raise ValueError(f"{fill=}: a neighbourhood is a part of a cloud above 0, up to 1.")
        if lift_samples < 1:
            raise ValueError(f"{lift_samples=}: a point takes at least one.")
        if lift_samples > 1 and not LIFTS[group].sampled:
            raise ValueError(
                f"{lift_samples=} has no effect on group={group}, with one element over each "
                "point. Set 1."
            )
        self.in_channels, self.group, self.lift_samples = in_channels, group, lift_samples
        self.fill, self.max_neighbours = fill, max_neighbours
        self.lift = LIFTS[group]
        conv = (self.lift.pair_size, mixing, tuple(weight_widths))
        self.embedding = nn.Linear(in_channels, width)
        self.blocks = nn.ModuleList(_Block(width, width // bottleneck, conv) for _ in range(blocks))
        self.norm = SwishNorm(width)
        self.head = nn.Linear(width, num_outputs)

    def forward(self, clouds: Tensor, context: ForwardContext | None = None) -> Tensor:
        """Map [B, N, 3 + C] to [B, num_outputs]."""
        check_clouds("LieConvNet", clouds, self.in_channels)
        mask = (clouds[..., 3:] != 0).any(-1)
        sizes = mask.sum(1).tolist()
        if 0 in sizes:
            raise ValueError(
                "LieConvNet takes clouds of at least one point; "
                f"cloud {sizes.index(0)} of the batch is all padding."
            )
        index = sorted_points(mask, sizes)
        points = clouds.flatten(0, 1)[index]
        rotations = self.lifting_rotations(mask, index, rows_of(context))
        hoods = self._connect(points[:, :3], rotations, clouds_by_size(sizes))
        features = self.embedding(points[:, 3:]).repeat_interleave(self.lift_samples, 0)
        for block in self.blocks:
            features = block(features, hoods)
        outputs = self.norm(features, self.head).split([block.rows for block in hoods.blocks])
        means = [
            y.view(block.clouds, block.points, -1).mean(1)
            for y, block in zip(outputs, hoods.blocks, strict=True)
        ]
        order = sorted(range(len(sizes)), key=sizes.__getitem__)
        return torch.cat(means)[torch.tensor(order, device=clouds.device).argsort()]

    def lifting_rotations(
        self, mask: Tensor, index: Tensor, rows: BatchRows | None
    ) -> Tensor | None:
        """Return rotations [P, lift_samples, 3, 3] that lift the points; None if none are needed.

        The mask [B, N] says where there are points, the index [P] which of the B N they are.
        """
        if not self.lift.sampled:
            return None
        precision = torch.promote_types(self.embedding.weight.dtype, torch.float32)
        if self.training:
            drawn = batch_uniform(
                *mask.shape, self.lift_samples, 3, rows=rows, device=mask.device, dtype=precision
            )
            return uniform_rotations(drawn.flatten(0, 1)[index])
        index_in_cloud = (mask.cumsum(1) - 1).flatten()[index]
        numbers = even_numbers(mask.shape[1] * self.lift_samples, mask.device, precision)
        return uniform_rotations(numbers.unflatten(0, (-1, self.lift_samples))[index_in_cloud])

    def _connect(
        self, positions: Tensor, rotations: Tensor | None, sizes: list[tuple[int, int]]
    ) -> Neighbourhoods:
        """Lift positions [P, 3] of clouds (number, points of each); find neighbours."""
        split = [b * n * self.lift_samples for b, n in sizes]
        # bfloat16 knows positions to one part in 256 only.
        with torch.autocast(positions.device.type, enabled=False):
            positions = positions.to(torch.promote_types(positions.dtype, torch.float32))
            positions = positions.repeat_interleave(self.lift_samples, 0)
            none = positions.new_empty(len(positions), 0)
            rotations = none if rotations is None else rotations.flatten(0, 1)
            lifted = [
                self.lift.elements(x.unflatten(0, (b, -1)), h.unflatten(0, (b, -1)))
                for x, h, (b, _) in zip(
                    positions.split(split), rotations.split(split), sizes, strict=True
                )
            ]
            return neighbourhoods(self.lift, lifted, self.fill, self.max_neighbours)

    def extra_repr(self) -> str:
        """Show the group and what neighbourhoods depend on in print(network)."""
        return (
            f"group={self.group}, lift_samples={self.lift_samples}, fill={self.fill}, "
            f"max_neighbours={self.max_neighbours}"
        )


class _Block(nn.Module):
    """A bottleneck block [P, k] to [P, k], see `LieConvNet`."""

    def __init__(self, width: int, inner: int, conv: tuple[int, int, tuple[int, ...]]) -> None:
        super().__init__()
        self.norm1, self.narrow = SwishNorm(width), nn.Linear(width, inner)
        self.norm2, self.conv = SwishNorm(inner), LieConv(inner, inner, *conv)
        self.norm3, self.widen = SwishNorm(inner), nn.Linear(inner, width)

    def forward(self, features: Tensor, hoods: Neighbourhoods) -> Tensor:
        inner = self.conv(self.norm2(self.norm1(features, self.narrow)), hoods)
        return features + self.norm3(inner, self.widen)
