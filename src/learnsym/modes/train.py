"""What a run does with its network and data: `mode=train` and `mode=test`. The analyses are modes
too (learnsym.analysis).
"""

import json
from typing import Any

import torch

from learnsym.analysis.rotation_spread import rotation_spread
from learnsym.figures.run import draw_run
from learnsym.modes.equivariance import training_errors
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Count, Size
from learnsym.training.tasks import AbsoluteError
from learnsym.utils.files import write_atomically

ROTATIONS = 8
"""Of every test molecule whose prediction is looked at as it turns."""


class Train(Mode):
    """Train, then test the best validation checkpoint, or the last where there is no validation
    set.
    """

    def __init__(
        self,
        response_images: Count = 100,
        response_angles: Size = 72,
        response_copies: Size = 12,
        turned_molecules: Count = 500,
    ) -> None:
        """Args:
        response_images: test images whose response to rotation is drawn; 0: none.
        response_angles: angles on the full circle.
        response_copies: transformations averaged for it (the paper's figure: 12).
        turned_molecules: test molecules that are turned at random, to see how much the
            prediction varies; 0: none.
        """
        self.response_images, self.response_angles, self.response_copies = (
            response_images,
            response_angles,
            response_copies,
        )
        self.turned_molecules = turned_molecules

    def __call__(self, context: RunContext) -> Outcome:
        """Metrics and figures."""
        training = context.training
        before = training_errors(
            context
        )  # a resumed run too: the network is built anew, and not yet what was trained
        progress = training.fit()
        best = context.directory.checkpoints / "best.pt"
        if "val" in context.data.splits and best.exists():
            context.load(best, "fresh=true starts over")
        metrics: dict[str, float] = {}
        if context.fabric.is_global_zero:
            row = next(
                (
                    r
                    for r in context.directory.rows()
                    if r["epoch"] == (progress.best_epoch or progress.epoch)
                ),
                {},
            )
            metrics = {k: v for k, v in row.items() if k not in ("epoch", "step", "lr")}
            metrics["epochs"] = progress.best_epoch or progress.epoch
        metrics |= tested(context, "test")
        if not context.fabric.is_global_zero:
            return Outcome(metrics)
        metrics |= spread_of_turned(context, self.turned_molecules)
        metrics |= {f"initial_{k}": v for k, v in before.items()} | training_errors(context)
        curves = self._response(context)
        write_atomically(context.directory.path / "curves.json", json.dumps(curves))
        figures = draw_run(context.directory, context.net, context.data, curves)
        return Outcome(metrics, [str(f) for f in figures])

    def _response(self, context: RunContext) -> dict[str, Any]:
        from learnsym.analysis.angle_response import angle_response

        # Probabilities of classes are what is drawn: there are none of numbers and masks, nor where
        # squared errors are minimised.
        likely = (
            context.data.info.task == "classification"
            and context.training.settings.loss == "likelihood"
        )
        if not self.response_images or not likely:
            return {}
        angles = 8 if context.debug else self.response_angles
        with context.fabric.autocast():
            return {
                "angle_response": angle_response(
                    context.net,
                    context.data,
                    context.fabric.device,
                    self.response_images,
                    angles,
                    self.response_copies,
                )
            }


def tested(context: RunContext, split: str) -> dict[str, float]:
    """Metrics of a split, named after it; what predicting the training median gives on the test set
    is no metric of the network and is called median_mae_<unit>.
    """
    found = {f"{split}_{k}": v for k, v in context.training.evaluate(split).items()}
    return {k.replace("test_median_", "median_"): v for k, v in found.items()}


def spread_of_turned(context: RunContext, molecules: int) -> dict[str, float]:
    """test_rotation_std_<unit>: by how much predictions for test molecules vary under random
    rotations; none for images.
    """
    task = context.training.task
    if context.data.kind != "points" or not isinstance(task, AbsoluteError) or not molecules:
        return {}
    count = min(molecules, 8) if context.debug else molecules
    with context.fabric.autocast():
        std = rotation_spread(
            context.net, context.data, context.fabric.device, count, ROTATIONS, context.cfg.seed
        )
    suffix = f"_{task.unit}" if task.unit else ""
    return {
        f"test_rotation_std{suffix}": float(
            (std.cpu() * torch.tensor(task.scale, dtype=torch.float64)).mean()
        )
    }
