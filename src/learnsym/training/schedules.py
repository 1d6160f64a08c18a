"""How the learning rate moves, by torch's own schedulers, after an optional linear warm-up."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from learnsym.schema import Fraction, NonNegative, Size


@dataclass(frozen=True)
class Schedule:
    """Base of schedules: a constant rate after `warmup_epochs` (fractional, too) of linear warm-up.

    Attributes:
        every: when the scheduler is stepped.
    """

    warmup_epochs: NonNegative = 0.0
    every: ClassVar[Literal["step", "epoch"]] = "step"

    def factor(self, epoch: float, epochs: int, base_lr: float) -> float:
        """Return the multiple of `base_lr` at a (fractional) epoch since the start."""
        return 1.0

    def attach(self, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
        """Return the torch scheduler that follows this schedule."""

        def multiple(step: int, base_lr: float) -> float:
            epoch = step / steps_per_epoch
            # The first step of a warm-up already moves: at (step + 1) / (steps of the warm-up).
            warm = (epoch + 1 / steps_per_epoch) / self.warmup_epochs if self.warmup_epochs else 1.0
            return min(warm, 1.0) * self.factor(epoch, epochs, base_lr)

        rates = [group["lr"] for group in optimizer.param_groups]
        return LambdaLR(optimizer, [partial(multiple, base_lr=rate) for rate in rates])


@dataclass(frozen=True)
class Constant(Schedule):
    """The base learning rate throughout (after the warm-up)."""


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the base learning rate to `minimum`, moved at every step."""

    minimum: NonNegative = 0.0

    def factor(self, epoch: float, epochs: int, base_lr: float) -> float:
        """Return f + (1 - f) (1 + cos(pi t)) / 2 with f = minimum / base_lr.

        t runs from 0 at the end of the warm-up to 1 at the end of the training.
        """
        floor = self.minimum / base_lr if base_lr else 0.0
        t = (epoch - self.warmup_epochs) / max(epochs - self.warmup_epochs, 1e-9)
        return floor + (1 - floor) * (1 + math.cos(math.pi * min(max(t, 0.0), 1.0))) / 2


@dataclass(frozen=True)
class Multistep(Schedule):
    """Multiplied by `gamma` at the end of each of the epochs in `milestones`."""

    milestones: tuple[Size, ...] = ()
    gamma: Fraction = 0.1

    def factor(self, epoch: float, epochs: int, base_lr: float) -> float:
        """Return gamma to the number of milestones passed."""
        return self.gamma ** sum(epoch >= m for m in self.milestones)


@dataclass(frozen=True)
class Plateau(Schedule):
    """Multiplied by `gamma` once the loss has not fallen for `patience` epochs.

    It is the validation loss, or that of training where there is no validation set.
    """

    gamma: Fraction = 0.1
    patience: Size = 10
    minimum: NonNegative = 0.0
    every: ClassVar[Literal["step", "epoch"]] = "epoch"

    def __post_init__(self) -> None:
        if self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs}: a plateau schedule has no warm-up. Try 0"
            )

    def attach(self, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
        """Return torch's ReduceLROnPlateau, which is stepped with the loss of every epoch."""
        return ReduceLROnPlateau(
            optimizer, factor=self.gamma, patience=self.patience, min_lr=self.minimum
        )
