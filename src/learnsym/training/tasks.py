"""What a network is asked to do: the loss of a batch, and metrics as sums that add up over batches and processes."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


def precise(outputs: Tensor) -> Tensor:
    """Outputs in float32, or float64 where the network computes in it."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


class TaskLike(Protocol):
    """A loss and its metrics. `best`: the metric of the validation set that picks a checkpoint; `sign`: +1 if more is better."""

    best: str
    sign: int

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar."""

    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Sums [M] over a batch, the number of examples last; no synchronisation with the device."""

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

    @torch.no_grad()
    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """[sum of losses, number right, number of examples]."""
        loss = F.cross_entropy(precise(outputs), targets, reduction="sum")
        right = (outputs.argmax(dim=1) == targets).sum()
        return torch.stack([loss, right.to(loss.dtype), loss.new_full((), len(targets))]).double()

    def no_sums(self, device: torch.device) -> Tensor:
        """Zeros [3]."""
        return torch.zeros(3, dtype=torch.float64, device=device)

    def metrics(self, sums: list[float]) -> dict[str, float]:
        """loss (nats) and accuracy (in [0, 1])."""
        loss, right, count = sums
        return {"loss": loss / count, "accuracy": right / count}


@dataclass(frozen=True)
class Regression:
    """Mean squared error of outputs [B, K] against targets [B, K], in the square of the target's unit.

    Attributes:
        unit: of the targets, as in names of metrics ("deg").
        mean: mean target of the training examples, the constant prediction to beat; one number for all K.
    """

    unit: str
    mean: float
    best: str = "loss"
    sign: int = -1

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(precise(outputs), targets.to(precise(outputs).dtype))

    @torch.no_grad()
    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """[sum of squared errors, of absolute errors, of squared deviations from the training mean, number of examples]."""
        error = precise(outputs) - targets
        per_example = [error.square(), error.abs(), (targets - self.mean).square()]
        return torch.stack([*(e.flatten(1).mean(1).sum() for e in per_example), error.new_full((), len(targets))]).double()

    def no_sums(self, device: torch.device) -> Tensor:
        """Zeros [4]."""
        return torch.zeros(4, dtype=torch.float64, device=device)

    def metrics(self, sums: list[float]) -> dict[str, float]:
        """loss, mse and mae in the target's unit, and the squared error as a fraction of that of predicting the mean."""
        squared, absolute, deviation, count = sums
        unit = f"_{self.unit}" if self.unit else ""
        return {
            "loss": squared / count,
            f"mse{unit}{'2' if unit else ''}": squared / count,
            f"mae{unit}": absolute / count,
            "mse_over_predicting_mean": squared / deviation if deviation else float("nan"),
        }
