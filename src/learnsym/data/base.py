"""Interface of all data sets: description, splits, preparation of examples."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor

from learnsym.data.augment import AUGMENTATIONS, AugmentName
from learnsym.schema import Task
from learnsym.utils.rng import BatchRows

CHUNK = 4096
"""Images handled at once wherever data are computed in floating point, to keep memory small."""


class FileInputs(Protocol):
    """Inputs that stay in a file: `inputs[rows]` is a tensor, `inputs` itself is not."""

    shape: torch.Size
    dtype: torch.dtype
    nbytes: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor | slice) -> Tensor: ...

    def to(self, device: torch.device | str) -> Tensor:
        """Read all of them onto a device."""


@dataclass(frozen=True)
class Split:
    """Examples of one split, one row each.

    Inputs are images [N, C, H, W] (uint8 in 0..255, or floating point in [0, 1]) or molecules
    [N, A, 4]; targets [N] (int64 class), [N, K] (numbers) or [N, K, H, W] (masks, float32 0/1).
    """

    inputs: Tensor | FileInputs
    targets: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise ValueError(f"{len(self.inputs)} inputs but {len(self.targets)} targets")

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: Tensor) -> "Split":
        return Split(self.inputs[rows], self.targets[rows])

    @property
    def tensor(self) -> Tensor:
        """The inputs in memory."""
        return self.inputs if isinstance(self.inputs, Tensor) else self.inputs.to("cpu")


Splits = dict[str, Split]
"""Those of "train" and "test", and of "val" where there is a validation set."""


@dataclass(frozen=True)
class DataInfo:
    """Description of a data set, for building networks and judging results.

    Attributes:
        input_shape: of one stored example: of an image [C, H, W], of a molecule [A, 4].
        num_outputs: number of classes, of regression targets, or of masks.
        class_names: one per class or mask; empty for regression.
        target_unit: of a regression target, as in names of metrics ("deg"); empty otherwise.
        mean, std: per channel, of pixels scaled to [0, 1]; (x - mean) / std is what a network sees.
            Empty for molecules.
        sizes: number of examples of each split that exists ("train", "val", "test").
        provenance: one or two sentences: which files, how rotated, how split.
        true_widths: where the extent of a symmetry is known, generator -> width of its box, in the
            generator's units (rotation: radians).
        target_error: "squared" in the target's unit, or "absolute" of targets standardised by
            median and mean absolute deviation of the training split.
        center_targets: squared errors are of targets less their mean over the training split.
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
    center_targets: bool = False

    @classmethod
    def of(cls, name: str, splits: Mapping[str, Split], provenance: str, **fields: Any) -> Self:
        """Describe splits; fill in what can be read off them."""
        unset: dict[str, Any] = {"class_names": (), "target_unit": "", "mean": (), "std": ()}
        fields = {"task": "classification"} | unset | fields
        fields.setdefault("num_outputs", len(fields["class_names"]) or 1)
        shape = tuple(splits["train"].inputs.shape[1:])
        sizes = {split: len(examples) for split, examples in splits.items()}
        return cls(name=name, input_shape=shape, sizes=sizes, provenance=provenance, **fields)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of a network's output: [K], or logits of masks [K, H, W]."""
        maps = self.input_shape[1:] if self.task == "segmentation" else ()
        return (self.num_outputs, *maps)


@dataclass(frozen=True)
class ExampleSpec:
    """Form of an example of a data set (of its largest molecule), known without its files."""

    shape: tuple[int, ...]
    outputs: int
    task: Task = "classification"
    kind: Literal["images", "points"] = "images"


class Data(ABC):
    """A data set: `info`, `splits`, and `prepare`, from stored examples to a network's input.

    `remarks` are sentences on what is odd about it; `untrainable` says why no training can be made
    of it (None: nothing), though a trained network may be tested on it.
    """

    remarks: tuple[str, ...] = ()
    untrainable: str | None = None
    held_out = False
    """Whether the test part was drawn from the same examples as the training part."""
    redrawn = False
    """Whether another seed makes other examples, none of them those of the training."""
    trained_targets: Mapping[str, tuple[float, ...]] = MappingProxyType({})
    """Fields of the task, such as centre and scale, of a network that was trained on other data."""

    kind: Literal["images", "points"]
    spec: ClassVar[ExampleSpec | None] = None
    """With the settings of cfg/dataset; None where only a file can tell."""
    info: DataInfo
    splits: Splits
    prototypes: Split | None = None
    """A few examples in their canonical orientation, if the data are rotations of some."""
    in_channels: int
    """Channels of an image, or numbers per point besides its coordinates."""

    @cached_property
    def hashes(self) -> dict[str, Tensor]:
        """A number for the content of each example [N], int64, by split, as it was read."""
        return {name: row_hashes(split.inputs) for name, split in self.splits.items()}

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that tell the content, wherever it was read from."""
        whole = hashlib.sha256()
        for name in sorted(self.splits):
            whole.update(name.encode())
            whole.update(self.hashes[name].numpy().tobytes())
            whole.update(self.splits[name].targets.contiguous().numpy().tobytes())
        return whole.hexdigest()[:16]

    @abstractmethod
    def prepare(self, inputs: Tensor, train: bool = False, rows: BatchRows | None = None) -> Tensor:
        """Return what a network sees of stored examples [B, ...], augmented if `train`.

        `rows` says which of a global batch they are (None: all).
        """


def row_hashes(inputs: Tensor | FileInputs) -> Tensor:
    """Return 64 bits of a hash of each example's bytes [N], int64; padding at the end is left out.

    So molecules have the numbers that they have in a file with larger ones.
    """
    hashes: list[int] = []
    for start in range(0, len(inputs), CHUNK):
        for example in inputs[start : start + CHUNK].contiguous().flatten(1).numpy():
            digest = hashlib.blake2b(example.tobytes().rstrip(b"\0"), digest_size=8).digest()
            hashes.append(int.from_bytes(digest, "little", signed=True))
    return torch.tensor(hashes, dtype=torch.int64)


class ImageData(Data):
    """A data set of images, with a fixed augmentation of the training images."""

    kind = "images"

    def __init__(self, info: DataInfo, splits: Splits, augment: AugmentName = "none") -> None:
        self.info = info
        self.splits = dict(splits)
        self.in_channels = info.input_shape[0]
        self._augment = AUGMENTATIONS[augment]
        self._scale_shift: dict[tuple[torch.device, float], tuple[Tensor, ...]] = {}

    def prepare(self, inputs: Tensor, train: bool = False, rows: BatchRows | None = None) -> Tensor:
        """Return pixels [B, C, H, W] as float32: scaled to [0, 1], augmented, normalised."""
        images = inputs.float()
        if train:
            images = self._augment(images, rows)
        key = images.device, 255.0 if inputs.dtype == torch.uint8 else 1.0
        if key not in self._scale_shift:
            mean, std = torch.tensor([self.info.mean, self.info.std], dtype=torch.float64)
            self._scale_shift[key] = tuple(
                t.float().view(-1, 1, 1).to(key[0]) for t in (1 / (key[1] * std), -mean / std)
            )
        scale, shift = self._scale_shift[key]
        return torch.addcmul(shift, images, scale)
