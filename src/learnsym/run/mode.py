"""What a value of `mode=` is: a class that says what it needs, and does its work when called."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from omegaconf import DictConfig

if TYPE_CHECKING:
    from learnsym.run.context import RunContext


@dataclass(frozen=True)
class Outcome:
    """What a mode found: metrics, and figures' paths relative to the run's directory."""

    metrics: dict[str, float]
    figures: list[str] = field(default_factory=list)


class Mode(ABC):
    """Base of modes that work with a network and data.

    Attributes:
        reads_checkpoint: `checkpoint=` may be given.
        needs_checkpoint: `checkpoint=` must be given.
        images_only: point clouds are refused.
        trains_by_epochs: the training loop runs, so that `analysis` has an effect.
        uses_augmentation: the keys of `augmentation` that have an effect.
    """

    reads_checkpoint: ClassVar[bool] = False
    needs_checkpoint: ClassVar[bool] = False
    images_only: ClassVar[bool] = False
    trains_by_epochs: ClassVar[bool] = True
    uses_augmentation: ClassVar[tuple[str, ...]] = ()

    @classmethod  # noqa: B027 - most modes go with everything
    def check_config(cls, cfg: DictConfig) -> None:
        """Raise a ConfigError for settings that do not go with this mode."""

    @abstractmethod
    def __call__(self, context: "RunContext") -> Outcome:
        """Do the work of one run."""


class ResultsMode(ABC):
    """Base of modes without network and data: `runs=` may be given (takes) or must be (needs)."""

    takes_runs: ClassVar[bool] = False
    needs_runs: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, cfg: DictConfig) -> Path:
        """Do the work; return the path of what was written."""
