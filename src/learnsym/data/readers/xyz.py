"""Molecules from (extended) .xyz files: per molecule a line with the number of atoms, a line of
key=value pairs, a line an atom.

The second line may say which columns there are, Properties=species:S:1:pos:R:3:..., and carries the
molecule's own numbers, homo=-0.25; without Properties the columns are species, x, y, z, in
angstrom.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from learnsym.data.molecules.elements import CHARGES
from learnsym.errors import DataError

Frame = tuple[list[int], list[list[float]], float]
MOST_PADDED = 10**8
"""Places for atoms, padding included, that are allocated without further thought."""
_PAIR = re.compile(r"""([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|\{([^}]*)\}|\[([^\]]*)\]|(\S+))""")


def read_xyz(path: Path, target: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atomic numbers [N, A] (0 = padding), positions [N, A, 3] in angstrom, and the number `target`
    of every molecule [N].

    Raises:
        DataError: the file and line, what is there, and what would be right.
    """
    frames = list(_frames(path, target))
    if not frames:
        raise DataError(f"{path} holds no molecule; an extended .xyz file would be right.")
    sizes = [len(numbers) for numbers, *_ in frames]
    most = max(sizes)
    if len(frames) * most > max(MOST_PADDED, 100 * sum(sizes)):
        raise DataError(
            f"{path} has {len(frames)} molecules, of {sum(sizes) / len(frames):.0f} atoms in the mean and one of {most}, to "
            "which all would be padded; molecules of similar size would be right."
        )
    charges, positions = np.zeros((len(frames), most), np.int64), np.zeros((len(frames), most, 3))
    for row, (numbers, places, _) in enumerate(frames):
        charges[row, : len(numbers)], positions[row, : len(numbers)] = numbers, places
    return charges, positions, np.array([value for *_, value in frames])


def _frames(path: Path, target: str) -> Iterator[Frame]:
    """One molecule after the other."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as text ({type(error).__name__}); an extended .xyz file would be right."
        ) from error
    place = 0
    while place < len(lines):
        if not lines[place].strip():
            place += 1
            continue
        count = _whole(lines[place], f"{path}, line {place + 1}")
        if place + 2 + count > len(lines):
            raise DataError(
                f"{path}, line {place + 1} announces {count} atoms, but the file ends after line {len(lines)}; a line of "
                "key=value pairs and a line for each atom would be right."
            )
        yield _frame(path, place, lines[place + 1 : place + 2 + count], target)
        place += 2 + count


def _frame(path: Path, place: int, lines: list[str], target: str) -> Frame:
    """The molecule whose number of atoms stands at `place`, of its other lines."""
    pairs = {
        m[1]: next((v for v in m.groups()[1:] if v is not None), "")
        for m in _PAIR.finditer(lines[0])
    }
    where = f"{path}, line {place + 2}"
    species, position, columns = _columns(pairs.get("Properties", "species:S:1:pos:R:3"), where)
    if target not in pairs:
        others = (
            ", ".join(k for k in pairs if k not in ("Properties", "Lattice", "pbc")) or "nothing"
        )
        raise DataError(
            f"{where}: dataset.target={target} is not there; it has {others}, and {target}=<number> would be right."
        )
    numbers, places = [], []
    for row, line in enumerate(lines[1:], place + 3):
        words = line.split()
        if len(words) < columns:
            raise DataError(
                f"{path}, line {row} has {len(words)} columns, {line!r}; {columns} would be right."
            )
        numbers.append(_charge(words[species], f"{path}, line {row}"))
        places.append(
            [_number(word, f"{path}, line {row}") for word in words[position : position + 3]]
        )
    return numbers, places, _number(pairs[target], f"{where}, {target}")


def _columns(properties: str, where: str) -> tuple[int, int, int]:
    """Where the species and the first coordinate stand in a line of an atom, and the least number
    of columns.
    """
    words = properties.split(":")
    found, offset = {}, 0
    try:
        for name, width in zip(words[::3], words[2::3], strict=True):
            if not re.fullmatch(r"[1-9]\d{0,3}", width):
                raise ValueError
            found[name] = offset, int(width)
            offset += int(width)
        species = found.get("species") or found["Z"]
        if species[1] != 1 or found["pos"][1] != 3:
            raise ValueError
    except (ValueError, KeyError):
        raise DataError(
            f"{where}: Properties={properties}; species:S:1:pos:R:3 (and other columns) would be right."
        ) from None
    return species[0], found["pos"][0], offset


def _whole(word: str, where: str) -> int:
    if not re.fullmatch(r"\s*[1-9]\d{0,8}\s*", word):
        raise DataError(
            f"{where} is {word.strip()[:40]!r}; the number of atoms of a molecule, at least 1, would be right."
        )
    return int(word)


def _charge(word: str, where: str) -> int:
    """The atomic number of a symbol, or of a number as it is."""
    number = CHARGES.get(word[:1].upper() + word[1:].lower()) or (
        int(word) if re.fullmatch(r"\d{1,3}", word) else 0
    )
    if not number:
        raise DataError(
            f"{where}: {word!r} is no element; its symbol or atomic number would be right."
        )
    return number


def _number(word: str, where: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(f"{where}: {word!r}; a finite number would be right.")
    return value
