"""Symbols of the elements, and the check that a molecule has only such as a network can tell
apart.
"""

import numpy as np

from learnsym.data.molecules.base import SPECIES
from learnsym.errors import DataError

_NAMES = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh "
    "Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr "
    "Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
)
SYMBOLS = _NAMES.split()
"""Of the elements 1, 2, ..."""
CHARGES = {symbol: number for number, symbol in enumerate(SYMBOLS, 1)}


def check_elements(charges: np.ndarray, where: str) -> None:
    """Refuse molecules [N, A] (atomic numbers, 0 = padding) without atoms, or with others than H,
    C, N, O and F.

    Raises:
        DataError: it names the first such molecule (counted from 0) and the element.
    """
    strange = (charges != 0) & ~np.isin(charges, list(SPECIES))
    if strange.any():
        molecule, atom = np.argwhere(strange)[0]
        number = int(charges[molecule, atom])
        name = SYMBOLS[number - 1] if 0 < number <= len(SYMBOLS) else "no element"
        raise DataError(
            f"{where}: molecule {molecule} has an atom of atomic number {number} ({name}); molecules of "
            f"{', '.join(SPECIES.values())} alone would be right."
        )
    if empty := np.flatnonzero(~(charges != 0).any(1)).tolist():
        raise DataError(f"{where}: molecule {empty[0]} has no atoms; at least one would be right.")
