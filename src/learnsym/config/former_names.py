"""Names that classes had in earlier versions, so that old checkpoints and runs can be read."""

from learnsym.schema import PlainDict

PREFIX = "learnsym."
CURRENT = {
    "analysis.freezing.Freeze": "modes.freeze.Freeze",
    "analysis.ruler.Equivariance": "modes.equivariance.Equivariance",
    "analysis.spectrum.Spectrum": "modes.spectrum.Spectrum",
    "analysis.width_sweep.WidthSweep": "modes.width_sweep.WidthSweep",
    "data.cifar.CIFAR10": "data.images.cifar.CIFAR10",
    "data.cifar.CIFAR100": "data.images.cifar.CIFAR100",
    "data.digits.Digits": "data.images.digits.Digits",
    "data.folder.ImageFolder": "data.images.folder.ImageFolder",
    "data.graphs.Graphs": "data.images.graphs.Graphs",
    "data.mario_iggy.MarioIggy": "data.images.sprites.MarioIggy",
    "data.mnist.FashionMNIST": "data.images.mnist.FashionMNIST",
    "data.mnist.MNIST": "data.images.mnist.MNIST",
    "data.mnist6.MNIST6HalfTurn": "data.images.mnist6.MNIST6HalfTurn",
    "data.mnist6.MNIST6Mirror": "data.images.mnist6.MNIST6Mirror",
    "data.molecules.Molecules": "data.molecules.files.Molecules",
    "data.npz.NpzImages": "data.images.npz.NpzImages",
    "data.olivetti.Olivetti": "data.images.olivetti.Olivetti",
    "data.pcam.PCam": "data.images.pcam.PCam",
    "data.qm9.QM9": "data.molecules.qm9.QM9",
    "data.rotmnist.RotMNIST": "data.images.rotmnist.RotMNIST",
    "data.shapes.Shapes": "data.images.shapes.Shapes",
    "data.sprites.Sprites": "data.images.sprites.Sprites",
    "data.stl10.STL10": "data.images.stl10.STL10",
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
    "nets.c4_conv.C4Conv": "dynamics.c4_conv.C4Conv",
    "nets.conv13.Conv13": "nets.plain_cnn.Conv13",
    "nets.conv5.Conv5": "nets.plain_cnn.Conv5",
    "nets.projected_linear.ProjectedLinear": "dynamics.projected_linear.ProjectedLinear",
    "nets.simple_conv.SimpleConv": "nets.plain_cnn.SimpleConv",
    "results.book.Book": "modes.book.Book",
    "results.compare.Compare": "modes.compare.Compare",
    "results.loggers.Jsonl": "run.loggers.Jsonl",
    "results.loggers.TensorBoard": "run.loggers.TensorBoard",
    "results.loggers.Wandb": "run.loggers.Wandb",
    "results.report.Report": "modes.report.Report",
}
"""Module and class in the first version -> present ones."""
EARLIER = {
    "analysis.layer_equivariance.LayerEquivariance": "modes.equivariance.Equivariance",
    "distributions.elements.FullSampling": "distributions.sampling.FullSampling",
    "distributions.elements.PartialSampling": "distributions.sampling.PartialSampling",
}
"""Before the first version."""
FORMER = {new: old for old, new in CURRENT.items()}


def with_current_names(node: PlainDict) -> PlainDict:
    """Return a plain configuration with the present names of its classes.

    >>> with_current_names({"_target_": "learnsym.kernels.siren.Siren", "hidden": 32})
    {'_target_': 'learnsym.kernels.siren.SIREN', 'hidden': 32}
    """
    return dict(_renamed(node, EARLIER | CURRENT))  # type: ignore[call-overload]


def with_former_names(node: PlainDict) -> PlainDict:
    """Return a plain configuration with the names that hashes of runs are made of."""
    return dict(_renamed(node, FORMER))  # type: ignore[call-overload]


def _renamed(node: object, names: dict[str, str]) -> object:
    if isinstance(node, list):
        return [_renamed(value, names) for value in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _renamed(value, names) for key, value in node.items()}
    target = str(copy.get("_target_", ""))
    if target.startswith(PREFIX):
        name = target.removeprefix(PREFIX)
        copy["_target_"] = PREFIX + names.get(name, name)
    return copy
