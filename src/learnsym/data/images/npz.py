"""A user's images in plain .npz files, for classification or regression."""

from learnsym.data.augment import AugmentName
from learnsym.data.base import DataInfo, Split, Splits
from learnsym.data.images.base import Parts, SplitImages
from learnsym.data.readers.arrays import Labels
from learnsym.data.splits import channel_statistics
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Size

MOST_LABELS = 1000
"""So many labels may be larger than the number of images."""


class NpzImages(SplitImages):
    """Arrays images and labels, or images_train, labels_train, images_test and labels_test.

    Images are uint8, or floating point in [0, 1]: [N, H, W], [N, C, H, W] or [N, H, W, C]. Pixels
    are standardised by the mean and standard deviation of the training images.
    """

    name = "npz"
    named_by_data = True

    def __init__(
        self,
        file: str | list[str],
        data_dir: str = "data",
        kind: Labels = "classification",
        target_unit: str = "",
        test_fraction: Fraction = 0.2,
        train_size: Size | None = None,
        val_size: Count = 0,
        test_size: Size | None = None,
        augment: AugmentName = "none",
        seed: Count = 0,
        stratify: bool = True,
    ) -> None:
        self.file = file
        self.stratify = stratify
        self.data_dir = data_dir
        self.task: Labels = kind
        self.target_unit = target_unit if kind == "regression" else ""
        super().__init__(
            test_fraction=test_fraction,
            train_size=train_size,
            val_size=val_size,
            test_size=test_size,
            augment=augment,
            seed=seed,
        )

    def load(self) -> Parts:
        """Read the files."""
        return self.read(self.file, self.data_dir, self.task)

    def check(self, source: str, *parts: Split) -> None:
        """Count the classes (the largest label and those below) or regression targets."""
        shapes = list(dict.fromkeys(part.inputs.shape[1:] for part in parts))
        if self.task == "regression":
            widths = sorted({part.targets.shape[1] for part in parts})
            if len(widths) > 1:
                raise DataError(
                    f"{source}: Expected as many columns of training and test labels, got "
                    f"{widths[0]} and {widths[1]}."
                )
            self.num_outputs = widths[0]
        else:
            self.num_outputs = 1 + max(int(part.targets.max()) for part in parts)
            if self.num_outputs > MOST_LABELS + sum(map(len, parts)):
                raise DataError(
                    f"{source}: the largest label of {sum(map(len, parts))} images is "
                    f"{self.num_outputs - 1}. Expected classes numbered from 0 on."
                )
        if len(shapes) > 1:
            raise DataError(
                f"{source}: Expected training and test images of one shape, got {list(shapes[0])} "
                f"and {list(shapes[1])}."
            )

    def describe(self, splits: Splits, source: str) -> DataInfo:
        """Return the description, with labels as the names of classes."""
        mean, std = channel_statistics(splits["train"].tensor)
        labels = tuple(map(str, range(self.num_outputs)))
        form = {
            "task": self.task,
            "class_names": labels if self.task == "classification" else (),
            "num_outputs": self.num_outputs,
            "target_unit": self.target_unit,
            "center_targets": self.task == "regression",
        }
        return DataInfo.of(self.name, splits, source, mean=mean, std=std, **form)
