"""What a network is asked to do: the loss of a batch, and metrics as sums that add up over batches
and processes.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from learnsym.data.base import Data
from learnsym.errors import ConfigError

LossName = Literal["likelihood", "squared_error", "absolute_error"]
"""What a task is learnt by: its likelihood (cross-entropy of classes and masks; of numbers squared
error, or absolute error where the data set says so), squared error from one-hot classes, or
absolute error of standardised numbers."""


def precise(outputs: Tensor) -> Tensor:
    """Outputs in float32, or float64 where the network computes in it."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


class TaskLike(Protocol):
    """A loss and its metrics. `best`: the metric of the validation set that picks a checkpoint;
    `sign`: +1 if more is better.
    """

    best: str
    sign: int

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar: the mean of `per_example`."""

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of every example [B], float32 or float64."""

    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Sums [M] over a batch, the number of examples last; no synchronisation with the
        device.
        """

    def no_sums(self, device: torch.device) -> Tensor:
        """The sums [M] over no examples."""

    def metrics(self, sums: list[float]) -> dict[str, float]:
        """Metrics from sums over all batches; units in the names."""


@dataclass(frozen=True)
class Classification:
    """Cross-entropy of logits (or averaged log-softmax) [B, K] against classes [B]."""

    best: str = "accuracy"
    sign: int = 1

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats."""
        return F.cross_entropy(precise(outputs), targets)

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of every example in nats, [B]."""
        return F.cross_entropy(precise(outputs), targets, reduction="none")

    @torch.no_grad()
    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """[sum of losses, number right, number of examples]."""
        loss = self.per_example(outputs, targets).sum()
        right = (outputs.argmax(dim=1) == targets).sum()
        return torch.stack([loss, right.to(loss.dtype), loss.new_full((), len(targets))]).double()

    def no_sums(self, device: torch.device) -> Tensor:
        """Zeros [3]."""
        return torch.zeros(3, dtype=torch.float64, device=device)

    def metrics(self, sums: list[float]) -> dict[str, float]:
        """Loss (of cross-entropy: nats) and accuracy (in [0, 1])."""
        loss, right, count = sums
        return {"loss": loss / count, "accuracy": right / count}


@dataclass(frozen=True)
class SquaredError(Classification):
    """Squared error of outputs [B, K] from one-hot labels, the mean over the K classes, against
    classes [B].
    """

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error."""
        return self.per_example(outputs, targets).mean()

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error of every example, the mean over the classes, [B]."""
        return (precise(outputs) - F.one_hot(targets, outputs.shape[1])).square().mean(1)


@dataclass(frozen=True)
class Regression:
    """Mean squared error of outputs [B, K] against targets [B, K], in the square of the target's
    unit.

    Attributes:
        unit: of the targets, as in names of metrics ("deg").
        mean: mean target of the training examples, the constant prediction to beat; one number for
            all K.
    """

    unit: str
    mean: float
    best: str = "loss"
    sign: int = -1

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(precise(outputs), targets.to(precise(outputs).dtype))

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error of every example, the mean over its K numbers, [B]."""
        return (precise(outputs) - targets).square().flatten(1).mean(1)

    @torch.no_grad()
    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """[sum of squared errors, of absolute errors, of squared deviations from the training mean,
        number of examples].
        """
        error = precise(outputs) - targets
        per_example = [error.square(), error.abs(), (targets - self.mean).square()]
        return torch.stack(
            [*(e.flatten(1).mean(1).sum() for e in per_example), error.new_full((), len(targets))]
        ).double()

    def no_sums(self, device: torch.device) -> Tensor:
        """Zeros [4]."""
        return torch.zeros(4, dtype=torch.float64, device=device)

    def metrics(self, sums: list[float]) -> dict[str, float]:
        """loss, mse and mae in the target's unit, and the squared error as a fraction of that of
        predicting the mean.
        """
        squared, absolute, deviation, count = sums
        unit = f"_{self.unit}" if self.unit else ""
        return {
            "loss": squared / count,
            f"mse{unit}{'2' if unit else ''}": squared / count,
            f"mae{unit}": absolute / count,
            "mse_over_predicting_mean": squared / deviation if deviation else float("nan"),
        }


@dataclass(frozen=True)
class AbsoluteError:
    """Absolute error of outputs [B, K] from standardised targets (y - centre) / scale; metrics in
    the unit of y [B, K].

    Attributes:
        unit: of the targets, as in names of metrics ("mev").
        centre: median of each of the K targets over the training examples, the constant prediction
            to beat.
        scale: mean absolute deviation from it.
    """

    unit: str
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    best: str = "loss"
    sign: int = -1

    @staticmethod
    def of(targets: Tensor, unit: str) -> "AbsoluteError":
        """Centre and scale of training targets [N, K]; a target that is constant has scale 1."""
        values = targets.double()
        centre = values.quantile(0.5, dim=0)
        scale = (values - centre).abs().mean(0)
        return AbsoluteError(
            unit, tuple(centre.tolist()), tuple(torch.where(scale > 0, scale, 1.0).tolist())
        )

    def in_units(self, outputs: Tensor) -> Tensor:
        """What a network's outputs [..., K] predict, in the targets' unit, float64."""
        centre, scale = _on(outputs.device, self.centre, self.scale)
        return outputs * scale + centre

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean absolute error in units of `scale`."""
        return self.per_example(outputs, targets).mean()

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Absolute error of every example in units of `scale`, the mean over its K numbers, [B]."""
        outputs = precise(outputs)
        centre, scale = _on(targets.device, self.centre, self.scale)
        # In float64 up to here: total energies are a million times their deviations.
        return (outputs - ((targets - centre) / scale).to(outputs.dtype)).abs().flatten(1).mean(1)

    @torch.no_grad()
    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """[sum of losses, of absolute errors, of absolute deviations from the training median,
        number of examples].
        """
        loss = self.per_example(outputs, targets).double()
        centre, scale = _on(targets.device, self.centre, self.scale)
        deviation = targets - centre
        error = precise(outputs) * scale - deviation
        sums = (e.abs().flatten(1).mean(1).sum() for e in (error, deviation))
        return torch.stack([loss.sum(), *sums, loss.new_full((), len(targets))])

    def no_sums(self, device: torch.device) -> Tensor:
        """Zeros [4]."""
        return torch.zeros(4, dtype=torch.float64, device=device)

    def metrics(self, sums: list[float]) -> dict[str, float]:
        """Loss (in units of `scale`), mae and that of predicting the training median, median_mae,
        both in the target's unit.
        """
        loss, absolute, deviation, count = sums
        unit = f"_{self.unit}" if self.unit else ""
        return {
            "loss": loss / count,
            f"mae{unit}": absolute / count,
            f"median_mae{unit}": deviation / count,
        }


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a constant first needed at test time must serve in training too
def _on(device: torch.device, *numbers: tuple[float, ...]) -> Tensor:
    """Constants in float64, copied to a device once: a copy in every step would make the host
    wait.
    """
    return torch.tensor(numbers, dtype=torch.float64, device=device)


@dataclass(frozen=True)
class Segmentation:
    """Binary cross-entropy of logits [B, K, H, W] against masks [B, K, H, W] of 0 and 1, the mean
    over all masks and pixels.

    A pixel is predicted to belong to a mask where its probability is above one half. The
    intersection over union of a mask says something only where the target is neither empty nor
    full: the mean is over those masks, each counting alike.
    """

    best: str = "loss"
    sign: int = -1

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean binary cross-entropy in nats."""
        return self.per_example(outputs, targets).mean()

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy of every example in nats, the mean over its masks and pixels,
        [B].
        """
        logits = precise(outputs)
        return (
            F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
            .flatten(1)
            .mean(1)
        )

    @torch.no_grad()
    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """[sum of losses, of the parts of pixels that are right, of intersections over unions,
        number of these, of examples].
        """
        loss = self.per_example(outputs, targets)
        inside, predicted = targets.flatten(2) > 0.5, outputs.flatten(2) > 0
        right = (inside == predicted).double().flatten(1).mean(1)
        judged = inside.any(2) & ~inside.all(2)  # [B, K]; their unions are not empty
        iou = (inside & predicted).sum(2).double() / (inside | predicted).sum(2).clamp(min=1)
        sums = (
            loss.sum(),
            right.sum(),
            (iou * judged).sum(),
            judged.sum(),
            loss.new_full((), len(loss)),
        )
        return torch.stack([value.double() for value in sums])

    def no_sums(self, device: torch.device) -> Tensor:
        """Zeros [5]."""
        return torch.zeros(5, dtype=torch.float64, device=device)

    def metrics(self, sums: list[float]) -> dict[str, float]:
        """Loss (nats), pixel_accuracy and iou (in [0, 1]; not a number where no mask can be
        judged).
        """
        loss, right, iou, judged, count = sums
        return {
            "loss": loss / count,
            "pixel_accuracy": right / count,
            "iou": iou / judged if judged else float("nan"),
        }


def task_for(data: Data, loss: LossName = "likelihood") -> TaskLike:
    """The loss and metrics for a data set.

    Raises:
        ConfigError: the loss does not go with what the data set asks for.
    """
    task = data.info.task
    if loss == "squared_error" and task != "classification":
        raise ConfigError(
            f"train.loss=squared_error is for classes, but dataset={data.info.name} is a task of {task}; train.loss=likelihood "
            "would be right."
        )
    if loss == "absolute_error" and task != "regression":
        raise ConfigError(
            f"train.loss=absolute_error is for numbers, but dataset={data.info.name} is a task of {task}; train.loss=likelihood "
            "would be right."
        )
    if task == "classification":
        return SquaredError() if loss == "squared_error" else Classification()
    if task == "segmentation":
        return Segmentation()
    if loss == "absolute_error" or data.info.target_error == "absolute":
        return AbsoluteError.of(data.splits["train"].targets, data.info.target_unit)
    return Regression(
        unit=data.info.target_unit, mean=float(data.splits["train"].targets.double().mean())
    )
