"""Transform inputs, the maps inside a network, and group elements.

A transform g acts on images by (g f)(y) = f(g^-1 y), on clouds of points, and on group elements.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from learnsym.dynamics.risk import act_on_images
from learnsym.errors import ConfigError
from learnsym.groups.actions import rotate_images
from learnsym.groups.permutation import GroupName, PermutationGroup, named_group
from learnsym.groups.point_groups import ANGLE_TOLERANCE, Elements, wrap_angle
from learnsym.groups.rotations import rotation_exp

TransformGroup = Literal["rotation", GroupName]
"""Rotations by given angles, or a group that permutes pixels."""


@dataclass(frozen=True)
class Rotation:
    """A rotation, after a mirror image if `mirror`.

    Images turn counter-clockwise as seen on the screen, after left and right were exchanged. Clouds
    turn about the origin, each about a uniform axis of its own, after x -> -x.

    >>> Rotation(90.0)(torch.tensor([[[[1, 2], [3, 4]]]])).tolist()
    [[[[2, 4], [1, 3]]]]
    """

    degrees: float
    mirror: bool = False

    @property
    def name(self) -> str:
        """Name the transform as metrics do: 90deg, mirror or mirror_90deg."""
        turn = f"{self.degrees:g}deg" if self.degrees or not self.mirror else ""
        return "_".join(filter(None, ("mirror" if self.mirror else "", turn)))

    @property
    def exact(self) -> bool:
        """Tell whether pixels go to pixels."""
        return self.degrees % 90 == 0

    def acts_on(self, maps: Tensor) -> bool:
        """Return True: all maps turn."""
        return True

    def __call__(self, inputs: Tensor) -> Tensor:
        """Transform images [B, C, H, W], or clouds [B, N, 3 + C]."""
        if inputs.ndim != 4:
            return self._rotate_clouds(inputs)
        images = inputs.flip(-1) if self.mirror else inputs
        if self.exact:
            return torch.rot90(images, int(self.degrees // 90), (-2, -1))
        angles = torch.full((len(images),), math.radians(self.degrees), dtype=images.dtype)
        return rotate_images(images, angles.to(images.device))

    def _rotate_clouds(self, clouds: Tensor) -> Tensor:
        """Rotate clouds; padding, zeros, stays where it is."""
        draws = torch.Generator().manual_seed(0)  # the same for every network
        axes = torch.randn(len(clouds), 3, generator=draws, dtype=torch.float64)
        matrices = rotation_exp(math.radians(self.degrees) * axes / axes.norm(dim=1, keepdim=True))
        if self.mirror:
            matrices = matrices * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
        positions = clouds[..., :3] @ matrices.to(clouds.device, clouds.dtype).mT
        return torch.cat([positions, clouds[..., 3:]], -1)

    def preimages(self, elements: Elements) -> Tensor:
        """Find the index of g^-1 h for each h, or -1: [n]."""
        # y runs down, so that counter-clockwise on the screen is the angle -r.
        unit = torch.ones(1, dtype=elements.angle.dtype, device=elements.angle.device)
        g = Elements(-math.radians(self.degrees) * unit, -unit if self.mirror else unit)
        preimage = g.inverse().product(elements)
        differences = wrap_angle(preimage.angle[:, None] - elements.angle).abs()
        same = (differences < 10 * ANGLE_TOLERANCE) & (preimage.sign[:, None] == elements.sign)
        return torch.where(same.any(1), same.to(torch.int8).argmax(1), -1)


@dataclass(frozen=True)
class PixelPermutation:
    """Random elements of a group of pixels, one for each image."""

    group: PermutationGroup
    name: str
    exact: ClassVar[bool] = True

    def acts_on(self, maps: Tensor) -> bool:
        """Tell whether maps [..., H, W] have the side of the images."""
        return maps.shape[-2:] == (self.group.side, self.group.side)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Transform images [B, C, H, W]."""
        if inputs.ndim != 4:
            raise ValueError(f"{self.group} acts on images, not on clouds of points")
        tables = self.group.sample(len(inputs), torch.Generator().manual_seed(0))
        return act_on_images(self.group, tables, inputs)

    def preimages(self, elements: Elements) -> Tensor:
        """Keep all elements for shifts; find none for other groups."""
        index = torch.arange(len(elements), device=elements.angle.device)
        return index if self.name in ("shift_x", "shift_xy") else torch.full_like(index, -1)


Transform = Rotation | PixelPermutation
"""One transform of all examples, or one drawn for each example."""


def quarter_turns() -> dict[str, Rotation]:
    """Return the exact rotations of images by 90, 180 and 270 degrees."""
    return {f"{degrees:g} degrees": Rotation(degrees) for degrees in (90.0, 180.0, 270.0)}


def mirror_images() -> dict[str, Rotation]:
    """Return the exact reflections of images in the four axes of a square."""
    degrees = {"left-right": 0.0, "up-down": 180.0, "diagonal": 90.0, "antidiagonal": 270.0}
    return {axis: Rotation(turn, mirror=True) for axis, turn in degrees.items()}


def transforms_of(
    group: TransformGroup, angles: Sequence[float], mirror: bool, input_shape: Sequence[int]
) -> list[Transform]:
    """List the transforms to measure a network against, or raise a ConfigError.

    These are rotations by `angles` in degrees, the three quarter turns (both with the mirror image
    if `mirror`), or a group that permutes pixels; inputs are images [C, H, W] or clouds [A, 4].
    """
    mirrors = [Rotation(0.0, mirror=True)] if mirror else []
    if group == "rotation":
        return [*map(Rotation, angles), *mirrors]
    if group == "quarter_turns":
        return [*quarter_turns().values(), *mirrors]
    if len(input_shape) != 3:
        raise ConfigError(
            f"group={group} acts on images, and these are clouds of points. Try group=rotation."
        )
    height, width = input_shape[-2:]
    if height != width:
        raise ConfigError(
            f"group={group} acts on square images, and these have {height} x {width} pixels."
        )
    return [PixelPermutation(named_group(group, width), group)]
