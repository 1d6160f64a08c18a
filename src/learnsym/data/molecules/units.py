"""Units of molecular properties: those of QM9, and those that targets are reported in."""

from typing import Literal

EV_PER_HARTREE = 27.2114
"""As in the papers that report errors on QM9 in meV; `ase.units.Hartree` (CODATA: 27.211386)
differs by 5e-7, which would change every number in meV."""
Energy = Literal["hartree", "ev", "mev", "kcal_per_mol", "kj_per_mol"]
Unit = Energy | Literal["debye", "bohr2", "bohr3", "cal_per_mol_k", "ghz", "none"]
"""Units that a user's property can be in; "none" is dimensionless."""
_ENERGIES = {
    "hartree": 1e3 * EV_PER_HARTREE,
    "ev": 1e3,
    "mev": 1.0,
    "kcal_per_mol": 1e3 * EV_PER_HARTREE / 627.5095,
    "kj_per_mol": 1e3 * EV_PER_HARTREE / 2625.4996,
}
"""Millielectronvolts of one of each."""
QM9_UNITS: dict[str, Unit] = {
    "mu": "debye",
    "alpha": "bohr3",
    **dict.fromkeys(("homo", "lumo", "gap"), "hartree"),
    "r2": "bohr2",
    **dict.fromkeys(("zpve", "u0", "u", "h", "g"), "hartree"),
    "cv": "cal_per_mol_k",
    **dict.fromkeys(("a", "b", "c"), "ghz"),
}
"""Properties of QM9, names in lower case, in the units of its original files (Ramakrishnan et al.
2014, table 3)."""


def reported(unit: Unit) -> tuple[float, str]:
    """Return factor and name of the unit of results: energies are in meV.

    >>> reported("ev")
    (1000.0, 'mev')
    >>> reported("debye")
    (1.0, 'debye')
    """
    if unit in _ENERGIES:
        return _ENERGIES[unit], "mev"
    return 1.0, "" if unit == "none" else unit
