"""The one interface of all data sets: what is in them, their splits, and how a batch becomes the
input of a network.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from learnsym.data.augment import Augmentation, AugmentName, augmentation
from learnsym.schema import Task
from learnsym.utils.rng import BatchRows

if TYPE_CHECKING:
    from learnsym.data.readers.hdf5 import Hdf5Images


@dataclass(frozen=True)
class DataInfo:
    """What a reader has to know of a data set to build a network for it and to judge a result.

    Attributes:
        name: as in `dataset=`.
        task: classification, regression or segmentation.
        input_shape: of one stored example: of an image [C, H, W], of a molecule [A, 4] (see
            `learnsym.data.molecules.base`).
        num_outputs: number of classes, of regression targets, or of masks.
        class_names: one per class or mask; empty for regression.
        target_unit: of a regression target, as in names of metrics ("deg"); empty otherwise.
        mean, std: per channel, of pixels scaled to [0, 1]; (x - mean) / std is what a network sees.
            Empty for molecules.
        sizes: number of examples of each split that exists ("train", "val", "test").
        provenance: one or two sentences: which files, how rotated, how split.
        true_widths: where the extent of a symmetry is known, generator -> width of its box, in the
            generator's units (rotation: radians).
        target_error: of regression targets, how they are learnt: "squared" error in their own unit,
            or "absolute" error of targets standardised by median and mean absolute deviation of the
            training part.
    """

    name: str
    task: Task
    input_shape: tuple[int, ...]
    num_outputs: int
    class_names: tuple[str, ...]
    target_unit: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sizes: Mapping[str, int]
    provenance: str
    true_widths: Mapping[str, float] = field(default_factory=dict)
    target_error: Literal["squared", "absolute"] = "squared"

    @property
    def output_shape(self) -> tuple[int, ...]:
        """What a network has to give for one example: [K], or [K, H, W], a map of logits for every
        mask.
        """
        return (
            (self.num_outputs, *self.input_shape[1:])
            if self.task == "segmentation"
            else (self.num_outputs,)
        )


@dataclass(frozen=True)
class Form:
    """What an example of a data set is, known without its files; of `mode=matrix`.

    Attributes:
        shape: of one stored example, as `DataInfo.input_shape` (of molecules the number of atoms is
            that of the largest one).
        outputs: as `DataInfo.num_outputs`.
        task, kind: as of the data set.
    """

    shape: tuple[int, ...]
    outputs: int
    task: Task = "classification"
    kind: Literal["images", "points"] = "images"


@dataclass(frozen=True)
class Split:
    """Examples held as tensors: inputs [N, C, H, W] (uint8 in 0..255, or floating point in [0, 1])
    or [N, A, 4] (molecules), targets [N] (int64 class), [N, K] (numbers) or [N, K, H, W] (masks,
    float32 0/1).

    Inputs that do not fit into memory stay in their file (`Hdf5Images`): `inputs[rows]` is a
    tensor, `inputs` itself is not.
    """

    inputs: "Tensor | Hdf5Images"
    targets: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise ValueError(f"{len(self.inputs)} inputs but {len(self.targets)} targets")

    def __len__(self) -> int:
        return len(self.inputs)


class Data(ABC):
    """A data set: `info`, `splits`, and `prepare`, which turns stored examples into what a network
    sees.

    `prototypes` are a few examples at their canonical orientation, where the data are made by
    turning some (None elsewhere). `form` says what an example is as cfg/dataset has it; None where
    only a file can tell.
    """

    kind: Literal["images", "points"]
    form: ClassVar[Form | None] = None
    info: DataInfo
    splits: dict[str, Split]
    prototypes: Split | None = None

    @property
    @abstractmethod
    def in_channels(self) -> int:
        """What a network is built for: channels of an image, numbers per point besides its
        coordinates.
        """

    @abstractmethod
    def prepare(self, inputs: Tensor, train: bool = False, rows: BatchRows | None = None) -> Tensor:
        """What a network sees of stored examples [B, ...], on their device; augmented if
        `train`; `rows`: which examples of a global batch they are (None: all).
        """


class ImageData(Data):
    """A data set of images."""

    kind = "images"

    def __init__(
        self, info: DataInfo, splits: Mapping[str, Split], augment: AugmentName = "none"
    ) -> None:
        """Args:
        info: the description.
        splits: "train" and "test", and "val" where there is one.
        augment: fixed augmentation of the training images, a name in `learnsym.data.augment`.
        """
        self.info = info
        self.splits = dict(splits)
        self.augment: Augmentation = augmentation(augment)
        self._scale_shift: dict[tuple[torch.device, float], tuple[Tensor, Tensor]] = {}

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        return self.info.input_shape[0]

    def prepare(self, inputs: Tensor, train: bool = False, rows: BatchRows | None = None) -> Tensor:
        """Stored pixels [B, C, H, W] -> float32, same shape and device: scaled to [0, 1], augmented
        if `train`, normalised.
        """
        images = inputs.float()
        peak = 255.0 if inputs.dtype == torch.uint8 else 1.0
        if train:
            images = self.augment(images, rows)
        scale, shift = self._constants(images.device, peak)
        return torch.addcmul(shift, images, scale)

    def _constants(self, device: torch.device, peak: float) -> tuple[Tensor, Tensor]:
        """Per-channel scale and shift [C, 1, 1] with scale * x + shift = (x / peak - mean) / std,
        made once per device.
        """
        if (device, peak) not in self._scale_shift:
            mean = torch.tensor(self.info.mean, dtype=torch.float64)
            std = torch.tensor(self.info.std, dtype=torch.float64)
            scale, shift = (
                t.float().view(-1, 1, 1).to(device) for t in (1 / (peak * std), -mean / std)
            )
            self._scale_shift[device, peak] = scale, shift
        return self._scale_shift[device, peak]
