"""Olivetti faces: what is the angle? The right learned width is 0 (Augerino, section 5)."""

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

from learnsym.data.base import DataInfo, ExampleSpec, ImageData, Split, row_hashes
from learnsym.data.download import find
from learnsym.data.images.base import Degrees
from learnsym.data.readers.arrays import as_images, as_targets, find_named, read_npz
from learnsym.data.rotation import random_angles, rotate_pixels
from learnsym.data.splits import draw_rows
from learnsym.errors import DataError
from learnsym.schema import Count, Size
from learnsym.utils.rng import generator

MAX_PIXEL = 242
"""Largest pixel of the original bytes; scikit-learn divides by it (the smallest is 0)."""


class Olivetti(ImageData):
    """Faces of 40 people, 10 each, 1 x 45 x 45; target [N, 1]: the angle in degrees.

    Angles are counter-clockwise. Training, validation and test images show different people; as
    many more are held out for validation as `val_size` takes. `augment` is always none: each of the
    others would make the target wrong.
    """

    spec = ExampleSpec((1, 45, 45), 1, "regression")

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
        stored = find(data_dir, ("", "olivetti"), ("olivetti.npz",))
        path = find_named(file, data_dir)[0] if file else stored or fetch_faces(data_dir)
        arrays = read_npz(path, ("images", "labels"))
        faces = as_images(arrays["images"], path)
        if faces.shape[1] != 1 or faces.shape[2] != faces.shape[3]:
            raise DataError(f"{path}: Expected grey square images, got {list(faces.shape)}.")
        person = as_targets(arrays["labels"], "classification", len(faces), path, "labels")
        val_people = math.ceil(val_size / (repeats * 10))
        order = person.unique()
        order = order[torch.randperm(len(order), generator=generator(seed, "people"))]
        train_people = len(order) - test_people - val_people
        if train_people < 1:
            raise DataError(
                f"olivetti: {test_people} people for testing and {val_people} for validation leave "
                f"none of {len(order)} for training. Try a smaller dataset.test_people or "
                "dataset.val_size."
            )
        people = order.split([train_people, val_people, test_people])
        limits = {"train": train_size, "val": val_size, "test": test_size}
        splits, hashes = {}, {}
        for (name, limit), shown in zip(limits.items(), people, strict=True):
            upright = faces[torch.isin(person, shown)]
            if not len(upright):
                continue
            images = upright.repeat_interleave(repeats, dim=0)
            angles = random_angles(len(images), rotation_range, seed, f"{name} rotation")
            rows = draw_rows(len(images), limit, seed, f"{name} images", f"dataset.{name}_size")
            rotated = centre_crop(rotate_pixels(images[rows], angles[rows]))
            hashes[name] = row_hashes(upright)[rows // repeats]
            splits[name] = Split(rotated, torch.rad2deg(angles[rows]).float()[:, None])
        source = (
            f"Faces from {path}. {test_people} people are held out for testing (seed {seed}); "
            f"every face occurs {repeats} times, turned uniformly within +-{rotation_range:g} "
            "degrees, and is cropped to its centre."
        )
        truth = {"task": "regression", "target_unit": "deg", "true_widths": {"rotation": 0.0}}
        info = DataInfo.of("olivetti", splits, source, mean=(0.0,), std=(1.0,), **truth)
        super().__init__(info, splits, augment)
        self.hashes = hashes  # of the faces: another angle makes no other face
        self.held_out = True


def centre_crop(images: Tensor) -> Tensor:
    """Cut out the square inscribed in the largest circle, which shows no corner of the image."""
    side = images.shape[-1]
    width = math.isqrt(side * side // 2)
    start = (side - width) // 2
    return images[..., start : start + width, start : start + width].clone()


def fetch_faces(data_dir: str) -> Path:
    """Keep the faces that scikit-learn downloads (checksum included) as olivetti.npz.

    It works in a scratch folder, as it would keep a pickle and load it unchecked the next time.
    """
    from sklearn.datasets import fetch_olivetti_faces

    folder = Path(data_dir).expanduser()
    path = folder / "olivetti.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=folder) as scratch,
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")  # scikit-learn warns of each retry
            bunch = fetch_olivetti_faces(data_home=scratch, n_retries=1)
            images = np.rint(bunch.images * MAX_PIXEL).astype(np.uint8)
            kept = Path(scratch) / path.name
            np.savez_compressed(kept, images=images, labels=bunch.target.astype(np.uint8))
            kept.replace(path)
    except OSError as error:
        raise DataError(
            "olivetti needs the file olivetti.npz (arrays images [400, 64, 64] and labels), and "
            f"scikit-learn could not download the faces ({error}): put it into {folder}, or set "
            "paths.data to a folder that has it."
        ) from error
    return path
