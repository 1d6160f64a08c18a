"""The training loop, tasks, optimisation settings and checkpoints."""

from learnsym.training.loop import Training
from learnsym.training.progress import Progress, Recorder
from learnsym.training.schedules import Constant, Cosine, Multistep, Plateau, Schedule
from learnsym.training.settings import AugmentationSettings, TrainerSettings, TrainSettings
from learnsym.training.tasks import (
    AbsoluteError,
    Classification,
    Regression,
    Segmentation,
    SquaredError,
    Task,
    task_for,
)

__all__ = [
    "AbsoluteError",
    "AugmentationSettings",
    "Classification",
    "Constant",
    "Cosine",
    "Multistep",
    "Plateau",
    "Progress",
    "Recorder",
    "Regression",
    "Schedule",
    "Segmentation",
    "SquaredError",
    "Task",
    "TrainSettings",
    "TrainerSettings",
    "Training",
    "task_for",
]
