"""CIFAR-10 and CIFAR-100, from the canonical pickles or from plain .npz files."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from learnsym.data.base import DataInfo, ExampleSpec, Splits
from learnsym.data.images.base import Parts, PublishedImages
from learnsym.data.readers.arrays import read_files
from learnsym.errors import DataError
from learnsym.schema import Positive

SIZES = {"train": 50_000, "test": 10_000}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The usual statistics of natural images, the ones that Augerino's experiments take."""
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HUNDRED_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""


@dataclass(eq=False)
class CIFAR10(PublishedImages):
    """Photographs, 3 x 32 x 32, ten classes, 50 000 for training and 10 000 for testing.

    Plain NAME_train*.npz and NAME_test*.npz in `data_dir` are read where the canonical files are
    not complete. The usual `mean` and `std` are those of ImageNet.
    """

    mean: tuple[float, float, float] | None = None
    std: tuple[Positive, Positive, Positive] | None = None
    name = "cifar10"
    spec = ExampleSpec((3, 32, 32), 10)
    class_names: ClassVar[tuple[str, ...]] = CLASSES
    channel_mean, channel_std = MEAN, STD
    torchvision_class: ClassVar[str] = "CIFAR10"

    def describe(self, splits: Splits, source: str) -> DataInfo:
        """Take the statistics that were asked for."""
        info = super().describe(splits, source)
        return replace(info, mean=self.mean or MEAN, std=self.std or STD)

    def load_published(self) -> Parts:
        """Return the images of the canonical files, or of plain ones in alphabetical order."""
        import torchvision.datasets

        canonical = getattr(torchvision.datasets, self.torchvision_class)
        folder = Path(self.data_dir).expanduser()
        paths = {part: sorted(folder.glob(f"{self.name}_{part}*.npz")) for part in SIZES}
        complete = any((folder / sub / canonical.base_folder).is_dir() for sub in ("", self.name))
        if complete or not any(paths.values()):
            return self.load_torchvision(canonical, {"train": True}, {"train": False})
        parts, source = [], f"Plain .npz files in {folder}"
        for name, files in paths.items():
            if not files:
                raise DataError(
                    f"{self.name}: there are {self.name}_*.npz files in {folder}, but no "
                    f"{self.name}_{name}*.npz. Expected at least one."
                )
            part = read_files([str(path) for path in files], "", "classification")[0][0]
            self.check(f"{files[0]} and the other files", part)
            complete = len(part) == SIZES[name]
            count = f"all {SIZES[name]}" if complete else f"only {len(part)} of {SIZES[name]}"
            source += f"; {name} images: {count}"
            parts.append(part)
        return parts[0], parts[1], f"{source}."


@dataclass(eq=False)
class CIFAR100(CIFAR10):
    """Photographs, 3 x 32 x 32, a hundred classes, 50 000 for training and 10 000 for testing."""

    name = "cifar100"
    spec = ExampleSpec((3, 32, 32), 100)
    class_names = tuple(HUNDRED_CLASSES.split())
    torchvision_class = "CIFAR100"
