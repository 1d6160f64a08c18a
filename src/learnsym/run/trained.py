"""A trained network, read from the directory of its run: `load("runs/RUN").predict(images)`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from learnsym.config.allowed_classes import allow_plugins
from learnsym.config.build import build
from learnsym.config.former_names import with_current_names
from learnsym.data.base import Data, DataInfo, ImageData
from learnsym.data.molecules.base import PointData
from learnsym.errors import CheckpointError
from learnsym.run.context import build_network
from learnsym.schema import SECTIONS, PlainDict
from learnsym.training import checkpoint
from learnsym.training.tasks import AbsoluteError, Regression, Task, task_for


@dataclass(frozen=True)
class TrainedModel:
    """A network with the preprocessing and the class names that it was trained with.

    Attributes:
        net: in evaluation mode.
        info: of the data that it was trained on.
        data: whose `prepare` turns stored examples into what the network sees.
        targets: the task, with centre and scale of regression targets.
        config: of the run, in plain containers.
    """

    net: nn.Module
    info: DataInfo
    data: Data
    targets: Task
    config: PlainDict

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class or mask; empty for regression."""
        return self.info.class_names

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Tensor:
        """Predict for examples as a data set stores them.

        Args:
            inputs: images [B, C, H, W], uint8 in 0..255 or floating point in [0, 1]; or molecules
                [B, A, 4] (x, y, z in angstrom, atomic number; zeros are padding).

        Returns:
            Probabilities of classes [B, K]; numbers [B, K] in the targets' unit; or probabilities
            of masks [B, K, H, W].

        Raises:
            ValueError: examples of another shape than those of the training.
        """
        shape, expected = tuple(inputs.shape[1:]), tuple(self.info.input_shape)
        same = shape == expected if self.data.kind == "images" else shape[1:] == expected[1:]
        if inputs.ndim != len(expected) + 1 or not same:
            raise ValueError(f"expected examples of shape {list(expected)}, got {list(shape)}")
        parameter = next(self.net.parameters())
        prepared = self.data.prepare(inputs.to(parameter.device)).to(parameter.dtype)
        outputs = self.net(prepared)
        if self.info.task == "classification":
            return outputs.softmax(-1)
        if self.info.task == "segmentation":
            return outputs.sigmoid()
        if isinstance(self.targets, Regression | AbsoluteError) and self.targets.centre:
            return self.targets.in_units(outputs.double())
        return outputs


def load(path: str | Path, device: str = "cpu", plugins: Iterable[str] = ()) -> TrainedModel:
    """Read a trained network from the directory of its run.

    Args:
        path: of the run's directory, whose best checkpoint is taken (the last without a validation
            set), or of a checkpoint.
        device: where the network goes.
        plugins: packages of your own that its configuration may name.

    Raises:
        CheckpointError: there is no checkpoint, it cannot be read, or it does not fit.
        DataError: a checkpoint of an early version does not say how its data were preprocessed,
            and the data are not there.
    """
    if plugins:
        allow_plugins([f"plugins=[{','.join(plugins)}]"])
    path = Path(path)
    files = [path, *(path / "checkpoints" / name for name in ("best.pt", "last.pt"))]
    if (file := next((file for file in files if file.is_file()), None)) is None:
        raise CheckpointError(f"{path}: expected the directory of a run with checkpoints/last.pt.")
    config: PlainDict = with_current_names(checkpoint.configuration(file, SECTIONS))
    state = checkpoint.load(file)
    cfg = OmegaConf.create(config)
    stored = state.get("data") or {}
    if stored.get("kind"):
        data, unit = _restored(stored), stored["info"]["target_unit"]
        centre, scale = tuple(stored["centre"]), tuple(stored["scale"])
        targets: Task = Regression(unit=unit, centre=centre)
        if scale:
            targets = AbsoluteError(unit=unit, centre=centre, scale=scale)
    else:
        data = build(cfg, "dataset")
        targets = task_for(data, cfg.train.get("loss", "likelihood"))
    net = build_network(cfg, data)
    checkpoint.load_weights(net, state, file)
    return TrainedModel(net.to(device).eval(), data.info, data, targets, config)


def _restored(stored: PlainDict) -> Data:
    """Return a data set without examples, which prepares inputs as the training's did."""
    lists = {key: tuple(value) for key, value in stored["info"].items() if isinstance(value, list)}
    info = DataInfo(**stored["info"] | lists)
    if stored["kind"] == "images":
        return ImageData(info, {})
    return PointData(info, {}, center=stored["center"])
