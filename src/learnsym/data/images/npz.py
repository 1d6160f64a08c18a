"""The user's own images in plain .npz files, for classification or regression."""

from learnsym.data.augment import AugmentName
from learnsym.data.base import DataInfo, ImageData, Split
from learnsym.data.readers.arrays import Labels, read_files
from learnsym.data.splits import channel_statistics, choose, split_off_test, take
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Size


class NpzImages(ImageData):
    """Arrays images and labels, or images_train, labels_train, images_test and labels_test.

    Images are uint8, or floating point in [0, 1]: [N, H, W], [N, C, H, W] or [N, H, W, C]. Pixels
    are standardised by the mean and standard deviation of the training images.
    """

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
        """Args:
        file: a .npz file, a list of files or a pattern; several are read one after the other.
        data_dir: folder where a relative name is looked for if it is not in the current one.
        kind: classification (labels: whole numbers from 0, [N]) or regression (labels: numbers
            [N] or [N, K]).
        target_unit: unit of regression targets, for the names of metrics.
        test_fraction: part held out for testing if there is no test set.
        train_size, test_size: at most so many, drawn at random; None takes all.
        val_size: so many are held out from the training part.
        augment: fixed augmentation of the training images.
        seed: of the splits.
        """
        train, test, paths = read_files(file, data_dir, kind)
        names = ", ".join(map(str, paths))
        source = f"Read from {names}."
        outputs = number_of_outputs([train] if test is None else [train, test], kind, names)
        if test is None:
            train, test = split_off_test(train, test_fraction, seed, names)
            source += (
                f" The test set was held out at random (fraction {test_fraction:g}, seed {seed})."
            )
        elif train.inputs.shape[1:] != test.inputs.shape[1:]:
            found = f"{list(train.inputs.shape[1:])} and {list(test.inputs.shape[1:])}"
            raise DataError(
                f"{names}: training and test images have shapes {found}; the same shape would be right."
            )
        splits = take(
            train, test, choose(len(train), len(test), train_size, val_size, test_size, seed)
        )
        mean, std = channel_statistics(splits["train"].inputs)
        channels, height, width = train.inputs.shape[1:]
        info = DataInfo(
            name="npz",
            task=kind,
            input_shape=(channels, height, width),
            num_outputs=outputs,
            class_names=tuple(str(label) for label in range(outputs))
            if kind == "classification"
            else (),
            target_unit=target_unit if kind == "regression" else "",
            mean=mean,
            std=std,
            sizes={name: len(split) for name, split in splits.items()},
            provenance=source,
        )
        super().__init__(info, splits, augment)


def number_of_outputs(parts: list[Split], task: Labels, names: str) -> int:
    """How many classes (the largest label and those below) or regression targets there are."""
    if task == "regression":
        widths = sorted({part.targets.shape[1] for part in parts})
        if len(widths) > 1:
            raise DataError(
                f"{names}: training and test labels have {widths[0]} and {widths[1]} columns; as many would be right."
            )
        return widths[0]
    classes = 1 + max(int(part.targets.max()) for part in parts)
    if classes < 2:
        raise DataError(f"{names}: all labels are 0; at least two classes would be right.")
    return classes
