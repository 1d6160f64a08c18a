"""`mode=train`: train a network, test it, and draw what it learned."""

from dataclasses import dataclass

import torch

from learnsym.analysis.evaluation import angle_response, rotation_spread
from learnsym.figures.run import draw_run
from learnsym.modes.equivariance import training_errors
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Count, PlainDict, Size
from learnsym.training.tasks import AbsoluteError
from learnsym.utils.files import to_json, write_atomically


@dataclass
class Train(Mode):
    """Train, then test the best validation checkpoint, or the last without a validation set."""

    response_images: Count = 100
    response_angles: Size = 72
    response_copies: Size = 12
    turned_molecules: Count = 500

    def __call__(self, context: RunContext) -> Outcome:
        """Return metrics and figures."""
        # Of a resumed run too: the network is built anew, and not yet what was trained.
        before = training_errors(context)
        progress = context.training.fit()
        best = context.directory.checkpoints / "best.pt"
        if "val" in context.data.splits and best.exists():
            context.load(best, "fresh=true starts over")
        tested = split_metrics(context, "test")
        if not context.fabric.is_global_zero:
            return Outcome(tested)
        epoch = progress.best_epoch or progress.epoch
        row = next((r for r in context.directory.rows() if r["epoch"] == epoch), {})
        metrics = {k: v for k, v in row.items() if k not in ("epoch", "step", "lr")}
        metrics |= {"epochs": epoch} | tested | rotation_std(context, self.turned_molecules)
        metrics |= {f"initial_{k}": v for k, v in before.items()} | training_errors(context)
        curves = self._response(context)
        write_atomically(context.directory.path / "curves.json", to_json(curves))
        figures = draw_run(context.directory, context.net, context.data, curves)
        return Outcome(metrics, [str(f) for f in figures])

    def _response(self, context: RunContext) -> PlainDict:
        """Return the response to rotation, of networks that give probabilities of classes."""
        likelihood = context.training.settings.loss == "likelihood"
        if context.data.info.task != "classification" or not likelihood or not self.response_images:
            return {}
        net, data, device = context.net, context.data, context.fabric.device
        count, angles = self.response_images, 8 if context.debug else self.response_angles
        with context.fabric.autocast():
            response = angle_response(net, data, device, count, angles, self.response_copies)
        return {"angle_response": response}


def split_metrics(context: RunContext, split: str) -> dict[str, float]:
    """Return the metrics of a split, named after it.

    What predicting the training median gives on the test set is no metric of the network; it is
    called median_mae_<unit>.
    """
    metrics = {f"{split}_{k}": v for k, v in context.training.evaluate(split).items()}
    return {k.replace("test_median_", "median_"): v for k, v in metrics.items()}


def rotation_std(context: RunContext, molecules: int) -> dict[str, float]:
    """Return test_rotation_std_<unit>: how predictions vary as test molecules rotate 8 times.

    Empty for images, and for tasks without standardised targets.
    """
    task = context.training.task
    if context.data.kind != "points" or not isinstance(task, AbsoluteError) or not molecules:
        return {}
    count = min(molecules, 8) if context.debug else molecules
    device, seed = context.fabric.device, context.cfg.seed
    with context.fabric.autocast():
        std = rotation_spread(context.net, context.data, device, count, 8, seed)
    scale = torch.tensor(task.scale, dtype=torch.float64)
    name = f"test_rotation_std{f'_{task.unit}' if task.unit else ''}"
    return {name: float((std.cpu() * scale).mean())}
