"""`mode=train`: train a network, test it, and draw what it learned."""

import json

import torch

from learnsym.analysis.evaluation import angle_response, rotation_spread
from learnsym.figures.run import draw_run
from learnsym.modes.equivariance import training_errors
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Count, PlainDict, Size
from learnsym.training.tasks import AbsoluteError
from learnsym.utils.files import write_atomically

ROTATIONS = 8
"""Of every test molecule whose prediction is watched as it rotates."""
DEBUG_ANGLES = 8
DEBUG_MOLECULES = 8


class Train(Mode):
    """Train, then test the best validation checkpoint, or the last without a validation set.

    Args:
        response_images: test images whose response to rotation is drawn; 0: none.
        response_angles: angles on the full circle.
        response_copies: transformations averaged for it (the paper's figure: 12).
        turned_molecules: test molecules that are rotated at random, to see how much the prediction
            varies; 0: none.
    """

    def __init__(
        self,
        response_images: Count = 100,
        response_angles: Size = 72,
        response_copies: Size = 12,
        turned_molecules: Count = 500,
    ) -> None:
        self.response_images = response_images
        self.response_angles = response_angles
        self.response_copies = response_copies
        self.turned_molecules = turned_molecules

    def __call__(self, context: RunContext) -> Outcome:
        """Return metrics and figures."""
        # Of a resumed run too: the network is built anew, and not yet what was trained.
        before = training_errors(context)
        progress = context.training.fit()
        best = context.directory.checkpoints / "best.pt"
        if "val" in context.data.splits and best.exists():
            context.load(best, "fresh=true starts over")
        metrics = split_metrics(context, "test")
        if not context.fabric.is_global_zero:
            return Outcome(metrics)
        metrics = _row(context, progress.best_epoch or progress.epoch) | metrics
        metrics |= rotation_std(context, self.turned_molecules)
        metrics |= {f"initial_{k}": v for k, v in before.items()} | training_errors(context)
        curves = self._response(context)
        write_atomically(context.directory.path / "curves.json", json.dumps(curves))
        figures = draw_run(context.directory, context.net, context.data, curves)
        return Outcome(metrics, [str(f) for f in figures])

    def _response(self, context: RunContext) -> PlainDict:
        """Return the response to rotation, of networks that give probabilities of classes."""
        likelihood = context.training.settings.loss == "likelihood"
        if context.data.info.task != "classification" or not likelihood or not self.response_images:
            return {}
        angles = DEBUG_ANGLES if context.debug else self.response_angles
        with context.fabric.autocast():
            response = angle_response(
                context.net,
                context.data,
                context.fabric.device,
                self.response_images,
                angles,
                self.response_copies,
            )
        return {"angle_response": response}


def _row(context: RunContext, epoch: int) -> dict[str, float]:
    """Return the numbers of an epoch, as metrics."""
    row = next((r for r in context.directory.rows() if r["epoch"] == epoch), {})
    return {k: v for k, v in row.items() if k not in ("epoch", "step", "lr")} | {"epochs": epoch}


def split_metrics(context: RunContext, split: str) -> dict[str, float]:
    """Return the metrics of a split, named after it.

    What predicting the training median gives on the test set is no metric of the network; it is
    called median_mae_<unit>.
    """
    metrics = {f"{split}_{k}": v for k, v in context.training.evaluate(split).items()}
    return {k.replace("test_median_", "median_"): v for k, v in metrics.items()}


def rotation_std(context: RunContext, molecules: int) -> dict[str, float]:
    """Return test_rotation_std_<unit>: how predictions vary as test molecules rotate.

    Empty for images, and for tasks without standardised targets.
    """
    task = context.training.task
    if context.data.kind != "points" or not isinstance(task, AbsoluteError) or not molecules:
        return {}
    count = min(molecules, DEBUG_MOLECULES) if context.debug else molecules
    device, seed = context.fabric.device, context.cfg.seed
    with context.fabric.autocast():
        std = rotation_spread(context.net, context.data, device, count, ROTATIONS, seed)
    scale = torch.tensor(task.scale, dtype=torch.float64)
    name = f"test_rotation_std{f'_{task.unit}' if task.unit else ''}"
    return {name: float((std.cpu() * scale).mean())}
