"""Olivetti faces, turned: what is the angle? The regression task of Augerino's section 5, where no
rotation may be ignored.
"""

import contextlib
import io
import math
import tempfile
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from learnsym.data.base import DataInfo, Form, ImageData, Split
from learnsym.data.download import find
from learnsym.data.images.mnist import Degrees
from learnsym.data.readers.arrays import as_images, as_targets, find_named, read_npz
from learnsym.data.rotation import random_angles, rotate_pixels
from learnsym.data.splits import generator
from learnsym.errors import DataError
from learnsym.schema import Count, Size

BRIGHTEST = 242
"""Largest pixel of the original bytes; scikit-learn divides by it (the smallest is 0)."""


class Olivetti(ImageData):
    """Faces of 40 people, 10 each, 1 x 45 x 45; target [N, 1]: the angle in degrees,
    counter-clockwise.

    Training, validation and test images show different people.
    """

    form = Form((1, 45, 45), 1, "regression")

    def __init__(
        self,
        data_dir: str = "data",
        file: str | None = None,
        test_people: Size = 10,
        repeats: Size = 30,
        rotation_range: Degrees = 90.0,
        train_size: Size | None = None,
        val_size: Count = 0,
        test_size: Size | None = None,
        augment: Literal["none"] = "none",
        seed: Count = 0,
    ) -> None:
        """Args:
        data_dir: folder where olivetti.npz is looked for; otherwise scikit-learn downloads the
            faces, which are kept there.
        file: a .npz file to read instead, with arrays images [N, H, W] and labels [N] (which
            person).
        test_people: so many people are held out for testing.
        repeats: each face occurs so often, at different angles.
        rotation_range: the angles are uniform within plus or minus so many degrees.
        train_size, test_size: at most so many, drawn at random; None takes all.
        val_size: so many are drawn from as many more held-out people as it takes.
        augment: always none: each of the others would make the target wrong.
        seed: of the choice of people and images and of the angles.
        """
        faces, source = load_faces(data_dir, file)
        per_part = people_of_parts(faces.targets, test_people, -(-val_size // (repeats * 10)), seed)
        splits = {}
        for name, limit in (("train", train_size), ("val", val_size), ("test", test_size)):
            images = faces.inputs[torch.isin(faces.targets, per_part[name])].repeat_interleave(
                repeats, dim=0
            )
            if len(images):
                splits[name] = turned_faces(images, rotation_range, limit, seed, name)
        info = DataInfo(
            name="olivetti",
            task="regression",
            input_shape=tuple(splits["train"].inputs.shape[1:]),
            num_outputs=1,
            class_names=(),
            target_unit="deg",
            mean=(0.0,),
            std=(1.0,),
            sizes={name: len(split) for name, split in splits.items()},
            provenance=f"{source} {test_people} people are held out for testing (seed {seed}); every face occurs {repeats} "
            f"times, turned uniformly within +-{rotation_range:g} degrees, and is cropped to its centre.",
            true_widths={"rotation": 0.0},
        )
        super().__init__(info, splits, augment)


def people_of_parts(
    person: Tensor, test_people: int, val_people: int, seed: int
) -> dict[str, Tensor]:
    """Which people are in which part, drawn at random: disjoint, and at least one is left for
    training.
    """
    people = person.unique()
    order = people[torch.randperm(len(people), generator=generator(seed, "people"))]
    train_people = len(people) - test_people - val_people
    if train_people < 1:
        raise DataError(
            f"olivetti: {test_people} people for testing and {val_people} for validation leave none of {len(people)} for "
            "training; less dataset.test_people or dataset.val_size would be right."
        )
    train, val, test = order.split([train_people, val_people, test_people])
    return {"train": train, "val": val, "test": test}


def turned_faces(images: Tensor, degrees: float, limit: int | None, seed: int, part: str) -> Split:
    """At most `limit` of images [N, 1, S, S], each turned by its own random angle and cropped;
    targets [N, 1] in degrees.
    """
    if limit is not None and limit > len(images):
        raise DataError(
            f"dataset.{part}_size={limit} asks for more images than there are; at most {len(images)} is valid."
        )
    angles = random_angles(len(images), degrees, seed, f"{part} rotation")
    kept = (
        torch.randperm(len(images), generator=generator(seed, f"{part} images"))[:limit]
        .sort()
        .values
    )
    turned = centre_crop(rotate_pixels(images[kept], angles[kept]))
    return Split(turned, torch.rad2deg(angles[kept]).float()[:, None])


def centre_crop(images: Tensor) -> Tensor:
    """The square inscribed in the largest circle, floor(sqrt(2) S / 2) wide, so that no corner of
    the rotated image is seen.
    """
    side = images.shape[-1]
    width = math.isqrt(side * side // 2)
    start = (side - width) // 2
    return images[..., start : start + width, start : start + width].clone()


def load_faces(data_dir: str, file: str | None) -> tuple[Split, str]:
    """The upright faces [N, 1, S, S], uint8 or floating point, with the person as target; and where
    they came from.
    """
    path = (
        find_named(file, data_dir)[0]
        if file
        else find(data_dir, ("", "olivetti"), ("olivetti.npz",))
    )
    if path is None:
        path = fetch_faces(Path(data_dir).expanduser())
    arrays = read_npz(path, ("images", "labels"))
    images = as_images(arrays["images"], path)
    if images.shape[1] != 1 or images.shape[2] != images.shape[3]:
        raise DataError(
            f"{path}: array 'images' is {list(images.shape)}; grey square images, [N, 64, 64], would be right."
        )
    return Split(
        images, as_targets(arrays["labels"], "classification", len(images), path)
    ), f"Faces from {path}."


def fetch_faces(folder: Path) -> Path:
    """scikit-learn's download (checksum included), kept in `folder` as olivetti.npz.

    scikit-learn would keep a pickle and load it unchecked the next time; so it works in a scratch
    folder.
    """
    from sklearn.datasets import fetch_olivetti_faces

    path = folder / "olivetti.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=folder) as scratch,
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter(
                "ignore"
            )  # scikit-learn warns of each retry, and prints what it does
            bunch = fetch_olivetti_faces(data_home=scratch, n_retries=1)
            images = np.rint(bunch.images * BRIGHTEST).astype(np.uint8)
            np.savez_compressed(
                Path(scratch) / path.name, images=images, labels=bunch.target.astype(np.uint8)
            )
            (Path(scratch) / path.name).replace(path)
    except OSError as error:
        raise DataError(
            f"olivetti needs the file olivetti.npz (arrays images [400, 64, 64] and labels), and scikit-learn could not download "
            f"the faces ({error}): put it into {folder}, or set paths.data to a folder that has it."
        ) from error
    return path
