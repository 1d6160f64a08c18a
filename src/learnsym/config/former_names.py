"""Names that classes had in earlier versions, so that old checkpoints and runs can be read."""

from typing import Any

from learnsym.schema import PlainDict

PREFIX = "learnsym."
_MOVED = {
    ("data", "data.images"): "cifar.CIFAR10 cifar.CIFAR100 digits.Digits folder.ImageFolder "
    "graphs.Graphs mnist.FashionMNIST mnist.MNIST mnist6.MNIST6HalfTurn mnist6.MNIST6Mirror "
    "npz.NpzImages olivetti.Olivetti pcam.PCam rotmnist.RotMNIST shapes.Shapes sprites.Sprites "
    "stl10.STL10",
    ("data", "data.molecules"): "qm9.QM9",
    ("analysis", "modes"): "spectrum.Spectrum width_sweep.WidthSweep",
    ("nets", "dynamics"): "c4_conv.C4Conv projected_linear.ProjectedLinear",
    ("results", "modes"): "book.Book compare.Compare report.Report",
    ("results", "run"): "loggers.Jsonl loggers.TensorBoard loggers.Wandb",
}
"""Package in the first version, present one: classes that have moved with their module."""
CURRENT = {
    "analysis.freezing.Freeze": "modes.freeze.Freeze",
    "analysis.ruler.Equivariance": "modes.equivariance.Equivariance",
    "data.mario_iggy.MarioIggy": "data.images.sprites.MarioIggy",
    "data.molecules.Molecules": "data.molecules.files.Molecules",
    "data.toy_molecules.ToyMolecules": "data.molecules.toy.ToyMolecules",
    "drift.Drift": "modes.drift.Drift",
    "dynamics.Dynamics": "modes.dynamics.Dynamics",
    "groups.permuting.Permutation": "groups.permutation.SymmetricGroup",
    "groups.permuting.QuarterTurns": "groups.permutation.QuarterTurns",
    "groups.permuting.ShiftTurns": "groups.permutation.ShiftsAndQuarterTurns",
    "groups.permuting.ShiftX": "groups.permutation.CyclicShifts1d",
    "groups.permuting.ShiftXY": "groups.permutation.CyclicShifts2d",
    "groups.stabiliser.FiniteMotions": "groups.point_groups.DiscreteIsometries",
    "kernels.mlp.Mlp": "kernels.mlp.MLP",
    "kernels.siren.Siren": "kernels.siren.SIREN",
    "matrix.Matrix": "modes.matrix.Matrix",
    "modes.Test": "modes.test.Test",
    "modes.Train": "modes.train.Train",
    "nets.conv13.Conv13": "nets.plain_cnn.Conv13",
    "nets.conv5.Conv5": "nets.plain_cnn.Conv5",
    "nets.simple_conv.SimpleConv": "nets.plain_cnn.SimpleConv",
}
"""Module and class in the first version -> present ones."""
CURRENT |= {
    f"{old}.{name}": f"{new}.{name}"
    for (old, new), names in _MOVED.items()
    for name in names.split()
}
EARLIER = {
    "analysis.layer_equivariance.LayerEquivariance": "modes.equivariance.Equivariance",
    "distributions.elements.FullSampling": "distributions.sampling.FullSampling",
    "distributions.elements.PartialSampling": "distributions.sampling.PartialSampling",
}
"""Before the first version."""
FORMER = {new: old for old, new in CURRENT.items()}
STRATIFIED = (f"{PREFIX}data.images.npz.NpzImages", f"{PREFIX}data.images.folder.ImageFolder")
"""Data sets whose splits may be drawn by class."""


def with_current_names(node: PlainDict) -> PlainDict:
    """Return a plain configuration with the present names of its classes.

    >>> with_current_names({"_target_": "learnsym.kernels.siren.Siren", "hidden": 32})
    {'_target_': 'learnsym.kernels.siren.SIREN', 'hidden': 32}
    """
    return _renamed(node, EARLIER | CURRENT)


def with_former_names(node: PlainDict) -> PlainDict:
    """Return a plain configuration with the names that hashes of runs are made of."""
    return _renamed(node, FORMER)


def _renamed(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(value, names) for value in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _renamed(value, names) for key, value in node.items()}
    target = str(copy.get("_target_", ""))
    if target.startswith(PREFIX):
        name = target.removeprefix(PREFIX)
        copy["_target_"] = PREFIX + names.get(name, name)
        if copy["_target_"] in STRATIFIED and names is not FORMER:
            copy.setdefault("stratify", False)  # as every split was drawn before
    return copy
