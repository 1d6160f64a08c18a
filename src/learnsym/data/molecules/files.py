"""The user's own molecules, in plain .npz or extended .xyz files, one property as the target."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learnsym.data.base import DataInfo, Split
from learnsym.data.molecules.base import PointAugmentName, PointData
from learnsym.data.molecules.elements import check_elements
from learnsym.data.molecules.units import QM9_UNITS, Unit, reported
from learnsym.data.readers.arrays import find_named, read_npz
from learnsym.data.readers.xyz import read_xyz
from learnsym.data.splits import choose, split_off_test, take
from learnsym.errors import DataError
from learnsym.schema import Count, Fraction, Size

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Atomic numbers [N, A] with 0 for padding, positions [N, A, 3] in angstrom, values of the target
[N]."""


class Molecules(PointData):
    """A .npz with charges [N, A] (atomic numbers, 0 = padding), positions [N, A, 3] (angstrom) and
    one array [N] per property, or extended .xyz files with the property in the second line of every
    molecule.

    The target is reported in meV if it is an energy. All examples are shuffled by `seed` before
    they are split.
    """

    def __init__(
        self,
        file: str | list[str],
        data_dir: str = "data",
        target: str = "homo",
        unit: Unit | None = None,
        test_fraction: Fraction = 0.2,
        train_size: Size | None = None,
        val_size: Count = 0,
        test_size: Size | None = None,
        augment: PointAugmentName = "none",
        center: bool = True,
        seed: Count = 0,
    ) -> None:
        """Args:
        file: a file, a list of files or a pattern; several are read one after the other.
        data_dir: folder where a relative name is looked for if it is not in the current one.
        target: which property.
        unit: of that property in the file; None: as in QM9, for its properties.
        test_fraction: part held out for testing.
        train_size, test_size: at most so many, drawn at random; None takes all.
        val_size: so many are held out from the training part.
        augment, center: see `PointData`.
        seed: of the splits.
        """
        unit = unit or unit_of(target)
        paths = find_named(file, data_dir)
        parts = [as_examples(reader(path)(path, target), str(path), unit) for path in paths]
        names = ", ".join(map(str, paths))
        source = f"{target} ({unit} in the file) of the molecules of {names}."
        splits = split_molecules(
            concatenate(parts), test_fraction, train_size, val_size, test_size, seed, names
        )
        super().__init__(
            molecule_info("molecules", splits, reported(unit)[1], f"{source} {how_split(seed)}"),
            splits,
            augment,
            center,
        )


def unit_of(target: str) -> Unit:
    """The unit of a property of QM9 in QM9's files; a DataError for others."""
    if target.lower() not in QM9_UNITS:
        raise DataError(
            f"dataset.unit=null with dataset.target={target}: no property of QM9 has this name ({', '.join(QM9_UNITS)}), so its "
            "unit in the file must be said, such as dataset.unit=hartree."
        )
    return QM9_UNITS[target.lower()]


def reader(path: Path) -> Callable[[Path, str], Arrays]:
    """What reads a file with such a name."""
    return read_xyz if path.suffix in (".xyz", ".extxyz") else read_arrays


def read_arrays(path: Path, target: str) -> Arrays:
    """The arrays of a .npz file; a DataError says which one is missing or of another form."""
    arrays = read_npz(path, ("charges", "positions"))
    charges, positions = arrays["charges"], arrays["positions"]
    properties = [
        k
        for k, a in arrays.items()
        if a.ndim == 1 and a.dtype.kind in "iuf" and len(a) == len(charges)
    ]
    if (
        charges.ndim != 2
        or 0 in charges.shape
        or charges.dtype.kind not in "iuf"
        or (charges != np.rint(charges)).any()
    ):
        raise DataError(
            f"{path}: array 'charges' is {_form(charges)}; atomic numbers, [N, A] with 0 for padding, would be right."
        )
    if positions.shape != (*charges.shape, 3) or positions.dtype.kind != "f":
        raise DataError(
            f"{path}: array 'positions' is {_form(positions)}; numbers {[*charges.shape, 3]} would be right."
        )
    if target not in properties:
        what = (
            f"array {target!r} is {_form(arrays[target])}"
            if target in arrays
            else f"there is no array {target!r}"
        )
        raise DataError(
            f"{path}: dataset.target={target}, but {what}; one number for each of its {len(charges)} molecules would be right, "
            f"as in {', '.join(properties) or 'none of its arrays'}."
        )
    return charges.astype(np.int64), positions, arrays[target]


def _form(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {list(array.shape)}"


def as_examples(arrays: Arrays, where: str, unit: Unit) -> Split:
    """Molecules [N, A, 4] as `PointData` holds them, targets [N, 1] in the reported unit, float64:
    total energies need it.
    """
    charges, positions, values = arrays
    check_elements(charges, where)
    there = charges != 0
    for name, numbers in (("a position", positions[there]), ("a target", values)):
        if not np.isfinite(numbers).all():
            raise DataError(f"{where}: {name} is not a finite number; finite ones would be right.")
    order = np.argsort(~there, axis=1, kind="stable")[
        :, : there.sum(1).max()
    ]  # the atoms first, the padding last
    held = np.concatenate([np.where(there[..., None], positions, 0), charges[..., None]], -1)
    inputs = torch.from_numpy(np.take_along_axis(held, order[..., None], 1).astype(np.float32))
    return Split(inputs, torch.from_numpy(values.astype(np.float64) * reported(unit)[0])[:, None])


def concatenate(parts: list[Split]) -> Split:
    """Several files as one, padded to the largest molecule of all."""
    most = max(part.inputs.shape[1] for part in parts)

    def padded(inputs: Tensor) -> Tensor:
        return torch.nn.functional.pad(inputs, (0, 0, 0, most - inputs.shape[1]))

    return Split(
        torch.cat([padded(part.inputs) for part in parts]),
        torch.cat([part.targets for part in parts]),
    )


def split_molecules(
    everything: Split,
    test_fraction: float,
    train_size: int | None,
    val_size: int,
    test_size: int | None,
    seed: int,
    what: str,
) -> dict[str, Split]:
    """Training, validation and test part, all drawn at random by the seed."""
    train, test = split_off_test(everything, test_fraction, seed, what)
    return take(train, test, choose(len(train), len(test), train_size, val_size, test_size, seed))


def how_split(seed: int) -> str:
    """For the provenance."""
    return f"The parts were drawn at random (seed {seed}); median and mean absolute deviation are those of the training part."


def molecule_info(name: str, splits: dict[str, Split], unit: str, provenance: str) -> DataInfo:
    """The description of molecules with one number as the target, in `unit`."""
    return DataInfo(
        name=name,
        task="regression",
        input_shape=tuple(splits["train"].inputs.shape[1:]),
        num_outputs=1,
        class_names=(),
        target_unit=unit,
        mean=(),
        std=(),
        sizes={part: len(split) for part, split in splits.items()},
        provenance=provenance,
        target_error="absolute",
    )
