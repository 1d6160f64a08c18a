"""Triangles and pentagons, one in each small image: where is which? (optimisation dynamics).

The published images (simpshape.npz) were measured, by fitting the drawing below to 600 of them, and
are imitated: the shape points to the right, has one grey, and is stretched vertically; what varies
is which shape it is, where, and how large. It is cut off at a window narrower than the image. Not
imitated: one image in 25 is squeezed or cut a little more, and there are rings one or two of 256
grey levels deep around a shape, the traces of a compression.
"""

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.data.base import DataInfo, ExampleSpec, ImageData, Split
from learnsym.data.readers.arrays import as_images, find_named, is_binary, read_npz
from learnsym.data.splits import draw_examples
from learnsym.errors import DataError
from learnsym.schema import Count, Size, Task
from learnsym.utils.rng import generator

SIDE = 14  # pixels of an image, across and down; all lengths here are in pixels
SIDES = (3, 5)
CLASSES = ("triangle", "pentagon")
INK = 1 - 110 / 255  # how much darker a shape is than the background, which is 1
RADIUS = (3.45, 3.945)  # range of the circumradius along x, uniform
STRETCH = 1.34  # vertical over horizontal extent
OFFSET = (2.466, 3.3)  # the centre is uniform within so much of the image's, along x and y
WINDOW = (4.93, 6.48)  # half the sides of the window in the middle that a shape is seen through
BLUR = 0.481  # standard deviation of the Gaussian that smooths the edges
FINE = 6  # points per pixel, across and down, at which a shape is drawn before it is smoothed
_CHUNK = 256  # images drawn at once: FINE squared times their memory is needed


class Shapes(ImageData):
    """Images 1 x 14 x 14 of a dark triangle or pentagon, and masks [2, 14, 14].

    Targets are float32, 1 where the triangle (first) or the pentagon (second) is. A `file` has img
    in [0, 1], trig and pent 0/1, each [N, 14, 14], the mask of the shape that is absent all one
    value. `prepare` gives x - 0.5.
    """

    redrawn = True

    task: Task = "segmentation"  # so that a network can be refused before the images are drawn
    spec = ExampleSpec((1, SIDE, SIDE), 2, "segmentation")

    def __init__(
        self,
        data_dir: str = "data",
        file: str | None = None,
        absent_mask: Literal["zeros", "ones"] = "zeros",
        count: Size = 3000,
        test_size: Size = 500,
        seed: Count = 0,
    ) -> None:
        source = f"Shapes drawn by code after the published ones (seed {seed})."
        if file is None:
            train = draw_shapes(count, seed, "train")
        else:
            path = find_named(file, data_dir)[0]
            train = draw_examples(_read_shapes(path), count, seed)
            source = f"Training images from {path}; the test images are not from the file. {source}"
        source = f"{source} The mask of the absent shape is all {absent_mask}."
        splits = {"train": train, "test": draw_shapes(test_size, seed, "test")}
        for name, split in splits.items():
            absent = is_absent(split.targets)[..., None, None]
            masks = split.targets.masked_fill(absent, float(absent_mask == "ones"))
            splits[name] = Split(split.inputs, masks)
        info = DataInfo.of(
            "shapes", splits, source, task=self.task, class_names=CLASSES, mean=(0.5,), std=(1.0,)
        )
        super().__init__(info, splits)


def is_absent(masks: Tensor) -> Tensor:
    """Tell which masks [N, K, H, W] are all one value: bool [N, K]."""
    return masks.flatten(2).amin(2) == masks.flatten(2).amax(2)


def draw_shapes(count: int, seed: int, split: str) -> Split:
    """Draw shapes at random: images [count, 1, 14, 14] and masks, zeros where absent."""
    draws = torch.rand(count, 4, generator=generator(seed, f"{split} shapes"))
    which = (draws[:, 0] < 0.5).long()
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * draws[:, 1]
    centre = SIDE / 2 + torch.tensor(OFFSET) * (2 * draws[:, 2:] - 1)
    batches = zip(*(t.split(_CHUNK) for t in (which, radius, centre)), strict=True)
    ink = torch.cat([render(*batch) for batch in batches])
    # Inside is where at least half of a pixel's ink is, as in the published masks.
    masks = F.one_hot(which, len(SIDES))[..., None, None] * (ink > 0.5).float()[:, None]
    return Split(1 - INK * ink[:, None], masks)


def render(which: Tensor, radius: Tensor, centre: Tensor) -> Tensor:
    """Return the ink in [0, 1], [N, 14, 14], of triangles (`which` = 0) and pentagons (1), [N].

    `radius` [N] is the circumradius along x; `centre` [N, 2] is x to the right and y down, from the
    upper left corner; all in pixels.
    """
    point = (torch.arange(SIDE * FINE) + 0.5) / FINE
    x, y = (point - centre[:, axis, None] for axis in (0, 1))
    covered = torch.ones(len(which), SIDE * FINE, SIDE * FINE)
    for normals, apothem in zip(*_half_planes(), strict=True):  # an edge of each kind of polygon
        to_x, to_y = normals[which].unbind(1)
        distance = (
            (apothem[which] * radius)[:, None, None]
            - (to_x[:, None] * x)[:, None, :]
            - (to_y[:, None] * y)[:, :, None]
        )
        # The part of a fine square inside the edge saves a finer grid: many edges run along it.
        covered = torch.minimum(covered, (distance * FINE + 0.5).clamp(0, 1))
    across, down = (_smoothing(point, half) for half in WINDOW)
    return down @ covered @ across.T


def _half_planes() -> tuple[Tensor, Tensor]:
    """Return outer unit normals [edge, kind, 2] and apothems [edge, kind] per unit of radius.

    The polygons have a corner on the right and are stretched along y. The triangle's edges come
    more than once.
    """
    normals, apothems = [], []
    for sides in SIDES:
        angle = math.pi / sides * (2 * (torch.arange(max(SIDES)) % sides) + 1)
        normal = torch.stack([angle.cos(), angle.sin() / STRETCH], dim=1)
        length = normal.norm(dim=1)
        normals.append(normal / length[:, None])
        apothems.append(math.cos(math.pi / sides) / length)
    return torch.stack(normals, dim=1), torch.stack(apothems, dim=1)


def _smoothing(point: Tensor, half_window: float) -> Tensor:
    """Return weights [14, P] of fine points in the pixels of a row."""
    pixel = torch.arange(SIDE) + 0.5
    weights = torch.exp(-((pixel[:, None] - point) ** 2) / (2 * BLUR**2))
    inside = ((half_window - (point - SIDE / 2).abs()) * FINE + 0.5).clamp(0, 1)
    return weights / weights.sum(1, keepdim=True) * inside


def _read_shapes(path: Path) -> Split:
    """Read the images of a file and their masks as they are."""
    names = ("img", "trig", "pent")
    arrays = read_npz(path, names)
    for name in names:
        array, got = arrays[name], f"{path}: array {name!r} is"
        if array.shape != (len(arrays["img"]), SIDE, SIDE) or len(array) == 0:
            raise DataError(f"{got} {list(array.shape)}. Expected [N, {SIDE}, {SIDE}], N alike.")
        if name != "img" and not is_binary(array):
            raise DataError(f"{got} not of 0 and 1 alone. Expected a mask, 1 inside the shape.")
    masks = torch.from_numpy(np.stack([arrays["trig"], arrays["pent"]], axis=1).astype(np.float32))
    if wrong := int(((~is_absent(masks)).sum(1) != 1).sum()):
        raise DataError(
            f"{path}: {wrong} images show both shapes or none. Expected exactly one mask per image "
            "that is not all one value."
        )
    return Split(as_images(arrays["img"], path, "img"), masks)
