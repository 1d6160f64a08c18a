"""Molecules in the formats of ase: (extended) .xyz, .sdf, .db and others."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from learnsym.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

    Molecules = Iterator[tuple[str, Atoms]]  # each with its position in the file

MAX_PADDED = 10**8  # entries for atoms, padding included, that are always allowed
_WIDE = re.compile(r"Properties\s*=\s*\S*:(-|\d{4})")
"""A claim of thousands of columns, or of less than none, which ase believes."""


def read_structures(path: Path, target: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read all molecules of a file: atomic numbers, positions, and the number `target` of each.

    They are [N, A] (0 = padding), [N, A, 3] in angstrom, and [N]. A DataError names the molecule
    that is damaged, periodic or lacks the target.
    """
    by_suffix = {".xyz": _read_xyz, ".extxyz": _read_xyz, ".sdf": _read_sdf}
    molecules, values = [], []
    try:
        for label, atoms in by_suffix.get(path.suffix, _read_other)(path):
            if atoms.pbc.any():
                raise DataError(f"{label} is periodic. Expected molecules without a cell.")
            if not atoms.numbers.all():
                raise DataError(f"{label} has an atom that is no element.")
            if not np.isfinite(atoms.positions).all():
                raise DataError(f"{label} has a position that is not a finite number.")
            molecules.append((atoms.numbers, atoms.positions))
            values.append(_target_of(atoms, target, label))
    except DataError:
        raise
    except Exception as error:  # ase does not say what its many readers raise
        label = f"{path}: molecule {len(molecules)}"
        raise DataError(f"{label} cannot be read ({_reason(error)}).") from error
    if not molecules:
        raise DataError(f"{path} holds no molecule.")
    sizes = [len(numbers) for numbers, _ in molecules]
    shape = len(molecules), max(sizes)
    if shape[0] * shape[1] > max(MAX_PADDED, 100 * sum(sizes)):
        mean = sum(sizes) / shape[0]
        raise DataError(
            f"{path} has {shape[0]} molecules, of {mean:.0f} atoms in the mean and one of "
            f"{shape[1]}, to which all would be padded. Expected molecules of similar size."
        )
    charges, positions = np.zeros(shape, np.int64), np.zeros((*shape, 3))
    for row, (numbers, coordinates) in enumerate(molecules):
        charges[row, : len(numbers)] = numbers
        positions[row, : len(numbers)] = coordinates
    return charges, positions, np.array(values)


def _read_xyz(path: Path) -> "Molecules":
    """Yield the molecules of an .xyz file.

    ase would end at an empty line without a word, and believes any number of atoms.
    """
    from ase.io.extxyz import read_xyz

    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        line = f"{path}, line {start + 1}"
        if not re.fullmatch(r"\s*[1-9]\d{0,8}\s*", lines[start]):
            got = lines[start].strip()[:40]
            raise DataError(f"{line}: Expected the number of atoms of a molecule, got {got!r}.")
        atoms = int(lines[start])
        stop = start + 2 + atoms
        if stop > len(lines):
            ends = f"but the file ends after line {len(lines)}"
            raise DataError(f"{line} announces {atoms} atoms, {ends}.")
        if _WIDE.search(lines[start + 1]):
            raise DataError(f"{path}, line {start + 2}: Properties claims too many columns.")
        if "Properties" not in lines[start + 1] and lines[start + 2].lstrip()[:1].isdigit():
            lines[start + 1] = f"Properties=Z:I:1:pos:R:3 {lines[start + 1]}"  # atomic numbers
        try:
            molecule = next(read_xyz(io.StringIO("".join(lines[start:stop])), 0))
        except Exception as error:
            raise DataError(
                f"{path}: the molecule in lines {start + 1} to {stop} cannot be read "
                f"({_reason(error)}). Expected a symbol and three coordinates a line, or the "
                "columns that Properties names."
            ) from error
        yield f"{path}, line {start + 2}", molecule
        start = stop


def _read_sdf(path: Path) -> "Molecules":
    """Yield all records of an .sdf file, where ase reads the first."""
    from ase.io.sdf import read_sdf

    records = filter(str.strip, path.read_text(encoding="utf-8").split("$$$$\n"))
    for number, record in enumerate(records):
        atoms = read_sdf(io.StringIO(record))
        atoms.info.update(re.findall(r"^> *<(.+?)>.*\n(.*)$", record, re.MULTILINE))
        yield f"{path}: molecule {number}", atoms


def _read_other(path: Path) -> "Molecules":
    """Yield the molecules of a file in another format of ase."""
    import ase.db
    import ase.io
    from ase.io.formats import filetype

    form = filetype(str(path))
    if form in ("bundletrajectory", "trj"):
        raise DataError(f"{path} may hold pickled objects, which are never loaded. Try .xyz.")
    if form not in ("db", "json"):
        for number, atoms in enumerate(ase.io.iread(path, index=":", format=form)):
            yield f"{path}: molecule {number}", atoms
        return
    with ase.db.connect(str(path), type=form) as rows:
        for row in rows.select():
            atoms = row.toatoms()
            atoms.info.update(row.key_value_pairs)
            yield f"{path}: molecule {row.id - 1}", atoms


def _reason(error: Exception) -> str:
    """Return kind and first line of an error."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


def _target_of(atoms: "Atoms", target: str, label: str) -> float:
    """Return the target, which may be among ase's results (energy)."""
    numbers = {**(atoms.calc.results if atoms.calc else {}), **atoms.info}
    if target not in numbers:
        raise DataError(
            f"{label}: dataset.target={target} is not there. Expected {target}=<number>, got "
            f"{', '.join(map(str, numbers)) or 'nothing'}."
        )
    try:
        value = float(numbers[target])
    except (TypeError, ValueError):
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(f"{label}, {target}: Expected a finite number, got {numbers[target]!r}.")
    return value
