"""Settings of `train`, the recipe, and of `trainer`, the machine."""

from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import Optimizer

from learnsym.schema import NonNegative, Positive, Size
from learnsym.training.schedules import Schedule
from learnsym.training.tasks import LossName


@dataclass(frozen=True)
class TrainSettings:
    """The recipe of a training.

    Attributes:
        batch_size: examples in one step, over all processes together.
        optimizer: of torch.optim, on the groups of `learnsym.parameter_groups`.
        symmetry_lr: of the parameters that describe a symmetry; None: that of the weights.
        omega0_lr: of learned frequencies of SIREN kernels; None: that of the weights.
        clip_norm: largest 2-norm of the gradient; None: not clipped.
        max_steps: at most so many, whatever `epochs` says; None: no limit.
        loss: "likelihood", the usual one of the task; "squared_error" from one-hot labels, for
            classification; "absolute_error" of standardised targets, for regression; or a module
            of your own, (outputs, targets) -> losses [B].
    """

    epochs: Size
    batch_size: Size
    test_batch_size: Size
    optimizer: Optimizer
    schedule: Schedule
    symmetry_lr: Positive | None = None
    omega0_lr: Positive | None = None
    clip_norm: Positive | None = None
    max_steps: Size | None = None
    loss: LossName | nn.Module = "likelihood"


@dataclass(frozen=True)
class TrainerSettings:
    """The machine that a training runs on.

    Attributes:
        accelerator, precision: as in lightning Fabric; "auto" takes a GPU where there is one.
        devices: processes on a machine, one a device.
        nodes: machines; with more than one, torchrun or srun starts the processes.
        progress: show a bar; "auto": on a terminal.
        threads: of the CPU, for one process; None: torch's own choice.
        resident_bytes: a split of at most this many bytes is kept on the device as a whole.
        channels_last: keep images and the weights of plain convolutions with their channels
            innermost, as tensor cores read them.
        compile: let torch.compile fuse forward and backward pass, up to rounding the same numbers;
            it takes a while at the first step, and again for every new shape.
    """

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: Size = 1
    nodes: Size = 1
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    progress: bool | Literal["auto"] = "auto"
    threads: Size | None = None
    resident_bytes: NonNegative = 4e9
    channels_last: bool = False
    compile: bool = False


@dataclass(frozen=True)
class AugmentationSettings:
    """How the augmented training of the optimisation dynamics sees transformed data.

    Attributes:
        passes: over the training examples in one step, each example moved by a random element of
            the group; "exact": one pass for every element (mode=dynamics).
        batching: of the training examples united with their transforms, "shuffled" or with all
            transforms of an example in one batch, "whole_orbits" (mode=drift).
    """

    passes: Size | Literal["exact"] = 25
    batching: Literal["shuffled", "whole_orbits"] = "shuffled"
