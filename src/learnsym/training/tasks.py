"""Losses of the tasks that data sets ask for, and metrics.

Metrics are computed from sums, which add up over batches and processes.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnsym.data.base import Data
from learnsym.errors import ConfigError

LossName = Literal["likelihood", "squared_error", "absolute_error"]
"""What a task is learnt by: its likelihood (cross-entropy of classes and masks; of numbers squared
error, or absolute error where the data set says so), squared error from one-hot classes, or
absolute error of standardised numbers."""


def at_least_float32(outputs: Tensor) -> Tensor:
    """Return outputs in float32, or float64 where the network computes in it."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


@dataclass(frozen=True)
class Task(ABC):
    """Base of tasks: a loss for every example, and metrics.

    Attributes:
        criterion: a loss of the user's own, (outputs, targets) -> [B]; None: the task's.
        best: metric of the validation set that picks a checkpoint.
        sign: +1 if more of it is better, else -1.
        sums_count: length of `sums`.
    """

    criterion: nn.Module | None = None
    best: ClassVar[str] = "loss"
    sign: ClassVar[int] = -1
    sums_count: ClassVar[int] = 4

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, a scalar."""
        if self.criterion is not None:
            return self.per_example(outputs, targets).mean()
        return self._mean(at_least_float32(outputs), targets)

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every example [B], float32 or float64."""
        if self.criterion is not None:
            return self.criterion(at_least_float32(outputs), targets)
        return self._per_example(at_least_float32(outputs), targets)

    def init_sums(self, device: torch.device) -> Tensor:
        """Return the sums over no examples: zeros, float64."""
        return torch.zeros(self.sums_count, dtype=torch.float64, device=device)

    @torch.no_grad()
    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return sums over a batch, the number of examples last, without waiting for the device."""
        sums = self._sums(outputs, targets)
        return torch.stack([*sums, sums[0].new_full((), len(targets))]).double()

    def _mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._per_example(outputs, targets).mean()

    @abstractmethod
    def _per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the task's own loss of every example [B]."""

    @abstractmethod
    def _sums(self, outputs: Tensor, targets: Tensor) -> list[Tensor]:
        """Return sums over a batch, scalars of one type; the number of examples apart."""

    @abstractmethod
    def metrics(self, sums: list[float]) -> dict[str, float]:
        """Return metrics from sums over all batches, with units in their names."""


@dataclass(frozen=True)
class Classification(Task):
    """Cross-entropy of logits (or averaged log-softmax) [B, K] against classes [B], in nats."""

    best: ClassVar[str] = "accuracy"
    sign: ClassVar[int] = 1
    sums_count: ClassVar[int] = 3

    def _mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def _per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none")

    def _sums(self, outputs: Tensor, targets: Tensor) -> list[Tensor]:
        loss = self.per_example(outputs, targets).sum()
        return [loss, (outputs.argmax(dim=1) == targets).sum().to(loss.dtype)]

    def metrics(self, sums: list[float]) -> dict[str, float]:
        """Return loss (of cross-entropy: nats) and accuracy (in [0, 1])."""
        loss, right, count = sums
        return {"loss": loss / count, "accuracy": right / count}


@dataclass(frozen=True)
class SquaredError(Classification):
    """Squared error of outputs [B, K] from one-hot labels, the mean over the K classes."""

    _mean = Task._mean

    def _per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - F.one_hot(targets, outputs.shape[1])).square().mean(1)


@dataclass(frozen=True)
class Regression(Task):
    """Squared error of outputs [B, K] from targets y - `centre`, in the square of y's unit ("deg").

    The constant prediction to beat is `mean`, of each of the K targets over the training examples.
    """

    unit: str = ""
    mean: tuple[float, ...] = (0.0,)
    centre: tuple[float, ...] = (0.0,)

    def in_units(self, outputs: Tensor) -> Tensor:
        """Return predictions of y of a network's outputs [..., K]."""
        return outputs + _on(outputs.device, self.centre)[0]

    def _centred(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return y - centre [B, K] in the dtype of the outputs."""
        # In float64 up to here: a large offset would swallow the differences.
        return (targets - _on(targets.device, self.centre)[0]).to(outputs.dtype)

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the squared error, or the user's own loss, of every example [B]."""
        if self.criterion is None:
            return super().per_example(outputs, targets)
        outputs = at_least_float32(outputs)
        return self.criterion(outputs, self._centred(outputs, targets))

    def _mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, self._centred(outputs, targets))

    def _per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - self._centred(outputs, targets)).square().flatten(1).mean(1)

    def _sums(self, outputs: Tensor, targets: Tensor) -> list[Tensor]:
        """Return sums of squared errors, absolute errors, squared deviations from the mean."""
        outputs = at_least_float32(outputs)
        error = outputs - self._centred(outputs, targets)
        deviation = targets - _on(targets.device, self.mean)[0]
        terms = [error.square().double(), error.abs().double(), deviation.square()]
        return [term.flatten(1).mean(1).sum() for term in terms]

    def metrics(self, sums: list[float]) -> dict[str, float]:
        """Return loss, mse and mae, and mse as a fraction of that of predicting the mean."""
        squared, absolute, deviation, count = sums
        unit, of_square = (f"_{self.unit}", f"_{self.unit}2") if self.unit else ("", "")
        numbers = {"loss": squared / count, f"mse{of_square}": squared / count}
        numbers |= {f"mae{unit}": absolute / count}
        return numbers | {
            "mse_over_predicting_mean": squared / deviation if deviation else math.nan
        }


@dataclass(frozen=True)
class AbsoluteError(Task):
    """Absolute error of outputs [B, K] from standardised targets (y - centre) / scale.

    Metrics are in the unit of y ("mev"). Of each of the K targets, `centre` is the median over the
    training examples, the constant prediction to beat, `scale` the mean absolute deviation from it.
    """

    unit: str = ""
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @staticmethod
    def of(targets: Tensor, unit: str) -> "AbsoluteError":
        """Return the task for training targets [N, K]; a constant target has scale 1."""
        values = targets.double()
        centre = values.quantile(0.5, dim=0)
        scale = (values - centre).abs().mean(0)
        scale = torch.where(scale > 0, scale, 1.0)
        return AbsoluteError(unit=unit, centre=tuple(centre.tolist()), scale=tuple(scale.tolist()))

    def in_units(self, outputs: Tensor) -> Tensor:
        """Return predictions in the targets' unit, float64, of a network's outputs [..., K]."""
        centre, scale = _on(outputs.device, self.centre, self.scale)
        return outputs * scale + centre

    def _per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        centre, scale = _on(targets.device, self.centre, self.scale)
        # In float64 up to here: total energies are a million times their deviations.
        return (outputs - ((targets - centre) / scale).to(outputs.dtype)).abs().flatten(1).mean(1)

    def _sums(self, outputs: Tensor, targets: Tensor) -> list[Tensor]:
        """Return sums of losses, absolute errors, absolute deviations from the median."""
        centre, scale = _on(targets.device, self.centre, self.scale)
        deviation = targets - centre
        error = at_least_float32(outputs) * scale - deviation
        sums = [e.abs().flatten(1).mean(1).sum() for e in (error, deviation)]
        return [self.per_example(outputs, targets).double().sum(), *sums]

    def metrics(self, sums: list[float]) -> dict[str, float]:
        """Return loss (in units of `scale`), mae, and median_mae, that of predicting the median."""
        loss, absolute, deviation, count = sums
        unit = f"_{self.unit}" if self.unit else ""
        numbers = {"loss": loss / count, f"mae{unit}": absolute / count}
        return numbers | {f"median_mae{unit}": deviation / count}


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a constant first needed at test time must serve in training too
def _on(device: torch.device, *numbers: tuple[float, ...]) -> Tensor:
    """Copy constants to a device once: a copy in every step would make the host wait."""
    return torch.tensor(numbers, dtype=torch.float64, device=device)


@dataclass(frozen=True)
class Segmentation(Task):
    """Binary cross-entropy of logits [B, K, H, W] against masks [B, K, H, W] of 0 and 1, in nats.

    The intersection over union is the mean over those masks alone that are neither empty nor full,
    each counting alike; a pixel is predicted to be in one where its probability is above one half.
    """

    sums_count: ClassVar[int] = 5

    def _per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        masks = targets.to(outputs.dtype)
        losses = F.binary_cross_entropy_with_logits(outputs, masks, reduction="none")
        return losses.flatten(1).mean(1)

    def _sums(self, outputs: Tensor, targets: Tensor) -> list[Tensor]:
        """Return sums of losses, fractions of pixels right, intersections over unions, masks."""
        inside, predicted = targets.flatten(2) > 0.5, outputs.flatten(2) > 0
        right = (inside == predicted).double().flatten(1).mean(1)
        judged = inside.any(2) & ~inside.all(2)  # [B, K]; their unions are not empty
        iou = (inside & predicted).sum(2).double() / (inside | predicted).sum(2).clamp(min=1)
        loss = self.per_example(outputs, targets)
        return [value.sum().double() for value in (loss, right, iou * judged, judged)]

    def metrics(self, sums: list[float]) -> dict[str, float]:
        """Return loss, pixel_accuracy and iou (not a number where no mask can be judged)."""
        loss, right, iou, judged, count = sums
        numbers = {"loss": loss / count, "pixel_accuracy": right / count}
        return numbers | {"iou": iou / judged if judged else math.nan}


def task_for(data: Data, loss: LossName | nn.Module = "likelihood") -> Task:
    """Return the loss and metrics for a data set; a `loss` of the wrong task is a ConfigError."""
    if isinstance(loss, nn.Module):
        return replace(task_for(data), criterion=loss)
    info = data.info
    tasks = {"squared_error": ("classification", "classes")}
    tasks |= {"absolute_error": ("regression", "numbers")}
    if loss in tasks and info.task != tasks[loss][0]:
        raise ConfigError(
            f"train.loss={loss} is for {tasks[loss][1]}, but dataset={info.name} is a task of "
            f"{info.task}. Try train.loss=likelihood."
        )
    if info.task == "classification":
        return SquaredError() if loss == "squared_error" else Classification()
    if info.task == "segmentation":
        return Segmentation()
    targets = data.splits["train"].targets.double()
    mean = tuple(targets.mean(0).tolist())
    centre = mean if info.center_targets else (0.0,) * len(mean)
    task: Task = Regression(unit=info.target_unit, mean=mean, centre=centre)
    if loss == "absolute_error" or info.target_error == "absolute":
        task = AbsoluteError.of(targets, info.target_unit)
    known: dict[str, Any] = {k: v for k, v in data.trained_targets.items() if hasattr(task, k)}
    return replace(task, **known)
