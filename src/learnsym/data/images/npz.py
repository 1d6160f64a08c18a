"""A user's images in plain .npz files, for classification or regression."""

from collections.abc import Mapping

from learnsym.data.augment import AugmentName
from learnsym.data.base import DataInfo, Split
from learnsym.data.images.base import Parts, SplitImages
from learnsym.data.readers.arrays import Labels, read_files
from learnsym.data.splits import channel_statistics
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Size


class NpzImages(SplitImages):
    """Arrays images and labels, or images_train, labels_train, images_test and labels_test.

    Images are uint8, or floating point in [0, 1]: [N, H, W], [N, C, H, W] or [N, H, W, C]. Pixels
    are standardised by the mean and standard deviation of the training images.

    Args:
        file: a .npz file, a list of files or a pattern; several are read one after the other.
        data_dir: folder where a relative name is looked for if it is not in the current one.
        kind: classification (labels: whole numbers from 0, [N]) or regression (labels: numbers
            [N] or [N, K]).
        target_unit: unit of regression targets, for the names of metrics.
        test_fraction, train_size, val_size, test_size, seed: see `SplitSettings`.
        augment: fixed augmentation of the training images.
    """

    name = "npz"

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
    ) -> None:
        self.file = file
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
        train, test, paths = read_files(self.file, self.data_dir, self.task)
        names = ", ".join(map(str, paths))
        self.num_outputs = _number_of_outputs(
            [train] if test is None else [train, test], self.task, names
        )
        held_out = ""
        if test is None:
            train, test, held_out = self.hold_out_test(train, names)
        elif train.inputs.shape[1:] != test.inputs.shape[1:]:
            shapes = f"{list(train.inputs.shape[1:])} and {list(test.inputs.shape[1:])}"
            raise DataError(
                f"{names}: Expected training and test images of one shape, got {shapes}."
            )
        return train, test, f"Read from {names}.{held_out}"

    def describe(self, splits: Mapping[str, Split], source: str) -> DataInfo:
        """Return the description, with labels as the names of classes."""
        mean, std = channel_statistics(splits["train"].tensor)
        labels = tuple(map(str, range(self.num_outputs)))
        return DataInfo.of(
            self.name,
            splits,
            source,
            task=self.task,
            class_names=labels if self.task == "classification" else (),
            num_outputs=self.num_outputs,
            target_unit=self.target_unit,
            mean=mean,
            std=std,
        )


def _number_of_outputs(parts: list[Split], task: Labels, names: str) -> int:
    """Count the classes (the largest label and those below) or regression targets."""
    if task == "regression":
        widths = sorted({part.targets.shape[1] for part in parts})
        if len(widths) > 1:
            raise DataError(
                f"{names}: Expected as many columns of training and test labels, got {widths[0]} "
                f"and {widths[1]}."
            )
        return widths[0]
    classes = 1 + max(int(part.targets.max()) for part in parts)
    if classes < 2:
        raise DataError(f"{names}: all labels are 0. Expected at least two classes.")
    return classes
