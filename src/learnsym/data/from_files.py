"""What the known classification data sets share: the user's own file in place of the canonical
ones, and a check of its form.
"""

from collections.abc import Callable, Sequence

from learnsym.data.base import Split
from learnsym.data.readers.arrays import read_files
from learnsym.data.splits import split_off_test
from learnsym.errors import DataError

Parts = tuple[Split, Split, str]
"""Training part, test part, and where they came from."""


def from_file_or(
    load: Callable[[], Parts],
    file: str | Sequence[str] | None,
    data_dir: str,
    test_fraction: float,
    seed: int,
    shape: tuple[int, int, int],
    classes: int,
) -> Parts:
    """The parts that `file` holds, or `load()` if it is None; DataError if they are not images of
    `shape` in so many classes.
    """
    if file is None:
        return load()
    train, test, paths = read_files(file, data_dir, "classification")
    names = ", ".join(map(str, paths))
    source = f"Read from {names}."
    for part in (train, test):
        if part is not None:
            check(part, shape, classes, names)
    if test is None:
        train, test = split_off_test(train, test_fraction, seed, names)
        source += f" The test set was held out at random (fraction {test_fraction:g}, seed {seed})."
    return train, test, source


def check(part: Split, shape: tuple[int, int, int], classes: int, source: str) -> None:
    """A DataError unless the images are [N, *shape] and the labels below `classes`."""
    found = tuple(part.inputs.shape[1:])
    if found != shape:
        raise DataError(
            f"{source}: images of shape {list(found)}; {list(shape)} would be right for this data set, others go by dataset=npz."
        )
    if len(part) == 0 or part.targets.max() >= classes:
        what = f"labels up to {int(part.targets.max())}" if len(part) else "no images"
        raise DataError(
            f"{source}: {what}; labels from 0 to {classes - 1} would be right for this data set, others go by dataset=npz."
        )
