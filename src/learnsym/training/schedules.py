"""How the learning rate moves, by torch's own schedulers.

Each schedule starts with an optional linear warm-up.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from learnsym.schema import Fraction, NonNegative, Size


@dataclass(frozen=True)
class Schedule:
    """Base of schedules: a constant rate after `warmup_epochs` epochs of linear warm-up.

    Attributes:
        warmup_epochs: may be fractional; 0: none.
        every: when the scheduler is stepped.
    """

    warmup_epochs: NonNegative = 0.0
    every: ClassVar[Literal["step", "epoch"]] = "step"

    def factor(self, epoch: float, epochs: int, floor: float) -> float:
        """Return the multiple of the base learning rate at a (fractional) epoch.

        Args:
            epoch: passed since the start.
            epochs: in all.
            floor: the smallest multiple allowed.
        """
        return 1.0

    def smallest_rate(self) -> float:
        """Return the learning rate that the schedule ends with at the lowest."""
        return 0.0

    def attach(self, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
        """Return the torch scheduler that follows this schedule."""

        def multiple(step: int, base_lr: float) -> float:
            epoch = step / steps_per_epoch
            # The first step of a warm-up already moves: at (step + 1) / (steps of the warm-up).
            warm = (epoch + 1 / steps_per_epoch) / self.warmup_epochs if self.warmup_epochs else 1.0
            floor = self.smallest_rate() / base_lr if base_lr else 0.0
            return min(warm, 1.0) * self.factor(epoch, epochs, floor)

        rates = [group["lr"] for group in optimizer.param_groups]
        return LambdaLR(optimizer, [partial(multiple, base_lr=rate) for rate in rates])


@dataclass(frozen=True)
class Constant(Schedule):
    """The base learning rate throughout (after the warm-up)."""


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the base learning rate to `minimum`, moved at every step."""

    minimum: NonNegative = 0.0

    def smallest_rate(self) -> float:
        """Return `minimum`."""
        return self.minimum

    def factor(self, epoch: float, epochs: int, floor: float) -> float:
        """Return floor + (1 - floor) (1 + cos(pi t)) / 2.

        t runs from 0 at the end of the warm-up to 1 at the end of the training.
        """
        t = (epoch - self.warmup_epochs) / max(epochs - self.warmup_epochs, 1e-9)
        return floor + (1 - floor) * (1 + math.cos(math.pi * min(max(t, 0.0), 1.0))) / 2


@dataclass(frozen=True)
class Multistep(Schedule):
    """Multiplied by `gamma` at the end of each of the epochs in `milestones`."""

    milestones: tuple[Size, ...] = ()
    gamma: Fraction = 0.1

    def factor(self, epoch: float, epochs: int, floor: float) -> float:
        """Return gamma to the number of milestones passed."""
        return self.gamma ** sum(epoch >= m for m in self.milestones)


@dataclass(frozen=True)
class Plateau(Schedule):
    """Multiplied by `gamma` once the validation loss has not fallen for `patience` epochs.

    Where there is no validation set, the training loss counts.
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
