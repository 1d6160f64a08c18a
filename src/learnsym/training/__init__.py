"""The training loop, tasks, settings and checkpoints."""

from learnsym.utils.lazy import lazy_names

__all__, __getattr__ = lazy_names(
    __name__,
    {
        "loop": "Training",
        "progress": "Progress Recorder",
        "schedules": "Constant Cosine Multistep Plateau Schedule",
        "settings": "AugmentationSettings TrainSettings TrainerSettings",
        "tasks": "AbsoluteError Classification Regression Segmentation SquaredError Task task_for",
    },
)
