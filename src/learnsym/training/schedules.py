"""How the learning rate moves, on torch's own schedulers. Each schedule starts with an optional
linear warm-up.
"""

import math
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from learnsym.schema import Fraction, NonNegative, Size


@dataclass(frozen=True)
class Schedule:
    """A constant learning rate after `warmup_epochs` epochs of linear warm-up; the others refine
    `factor`.
    """

    warmup_epochs: NonNegative = 0.0

    every = "step"

    def factor(self, epoch: float, epochs: int, floor: float) -> float:
        """Multiple of the base learning rate at a time in epochs (fractional); `floor`: the
        smallest multiple allowed.
        """
        return 1.0

    def attach(self, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
        """The torch scheduler that follows this schedule; to be stepped after every step (or epoch,
        see `every`).
        """

        def multiple(step: int, base_lr: float) -> float:
            epoch = step / steps_per_epoch
            # The first step of a warm-up already moves: at (step + 1) / (steps of the warm-up).
            warm = (epoch + 1 / steps_per_epoch) / self.warmup_epochs if self.warmup_epochs else 1.0
            floor = getattr(self, "minimum", 0.0) / base_lr if base_lr else 0.0
            return min(warm, 1.0) * self.factor(epoch, epochs, floor)

        rates = [group["lr"] for group in optimizer.param_groups]
        return LambdaLR(optimizer, [lambda step, lr=lr: multiple(step, lr) for lr in rates])


@dataclass(frozen=True)
class Constant(Schedule):
    """The base learning rate throughout (after the warm-up)."""


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the base learning rate to `minimum` at the end of the training, moved at
    every step.
    """

    minimum: NonNegative = 0.0

    def factor(self, epoch: float, epochs: int, floor: float) -> float:
        """Floor + (1 - floor) (1 + cos(pi t)) / 2, t from 0 at the end of the warm-up to 1 at the
        end of training.
        """
        t = (epoch - self.warmup_epochs) / max(epochs - self.warmup_epochs, 1e-9)
        return floor + (1 - floor) * (1 + math.cos(math.pi * min(max(t, 0.0), 1.0))) / 2


@dataclass(frozen=True)
class Multistep(Schedule):
    """Multiplied by `gamma` at the end of each of the epochs in `milestones`."""

    milestones: tuple[Size, ...] = ()
    gamma: Fraction = 0.1

    def factor(self, epoch: float, epochs: int, floor: float) -> float:
        """Gamma to the number of milestones passed."""
        return self.gamma ** sum(epoch >= m for m in self.milestones)


@dataclass(frozen=True)
class Plateau(Schedule):
    """Multiplied by `gamma` once the validation loss (the training loss where there is no
    validation set) has not fallen for `patience` epochs.
    """

    gamma: Fraction = 0.1
    patience: Size = 10
    minimum: NonNegative = 0.0

    every = "epoch"

    def __post_init__(self) -> None:
        if self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs}: a plateau schedule has no warm-up; use 0"
            )

    def attach(self, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
        """Torch's ReduceLROnPlateau; to be stepped with the loss after every epoch."""
        return ReduceLROnPlateau(
            optimizer, factor=self.gamma, patience=self.patience, min_lr=self.minimum
        )
