"""Mario and Iggy, the two sprites of Augerino's section 5, from a file of the two images."""

from pathlib import Path

import torch
from torch import Tensor

from learnsym.data.augment import AugmentName
from learnsym.data.base import Form, ImageData
from learnsym.data.download import find
from learnsym.data.images.sprite_task import sprite_info, sprite_prototypes, sprite_splits
from learnsym.data.readers.arrays import as_images, find_named, read_npz
from learnsym.errors import DataError
from learnsym.schema import Count, Size

FILES = ("mario_iggy_images.npz", "images.npz")


class MarioIggy(ImageData):
    """3 x 32 x 32, four classes: which sprite, and upright or upside down. `dataset=sprites` is the
    same without a file.
    """

    form = Form((3, 32, 32), 4)

    def __init__(
        self,
        data_dir: str = "data",
        file: str | None = None,
        train_size: Size = 10_000,
        val_size: Count = 0,
        test_size: Size = 5_000,
        augment: AugmentName = "none",
        seed: Count = 0,
    ) -> None:
        """Args:
        data_dir: folder in which, or in whose mario_iggy/, lies mario_iggy_images.npz or
            images.npz.
        file: a .npz file to read instead, with arrays mario and iggy, [1, 3, H, W], floating
            point in [0, 1].
        train_size, val_size, test_size: how many pictures of each split are made.
        augment: fixed augmentation of the training images.
        seed: of the angles and of the order of the classes.
        """
        path = find_named(file, data_dir)[0] if file else find(data_dir, ("", "mario_iggy"), FILES)
        if path is None:
            raise DataError(
                f"mario_iggy needs the file {FILES[0]} (arrays mario and iggy): put it into {data_dir}, set paths.data to a "
                "folder that has it, or take dataset=sprites, which needs no file."
            )
        pair = read_pair(path)
        splits = sprite_splits(
            pair, {"train": train_size, "val": val_size, "test": test_size}, seed
        )
        super().__init__(
            sprite_info("mario_iggy", ("mario", "iggy"), splits, f"Sprites from {path}.", seed),
            splits,
            augment,
        )
        self.prototypes = sprite_prototypes(pair)


def read_pair(path: Path) -> Tensor:
    """The two sprites [2, 3, H, W], uint8."""
    arrays = read_npz(path, ("mario", "iggy"))
    mario, iggy = (as_images(arrays[name], path, name) for name in ("mario", "iggy"))
    if mario.shape != iggy.shape or len(mario) != 1:
        raise DataError(
            f"{path}: mario is {list(mario.shape)} and iggy {list(iggy.shape)}; both [1, 3, 32, 32] would be right."
        )
    both = torch.cat(
        [sprite if sprite.dtype == torch.uint8 else sprite * 255 for sprite in (mario, iggy)]
    )
    return both.round().to(torch.uint8) if both.is_floating_point() else both
