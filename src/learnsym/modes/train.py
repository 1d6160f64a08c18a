"""What a run does with its network and data: `mode=train` and `mode=test`. The analyses are modes
too (learnsym.analysis).
"""

import json
from typing import Any

import torch

from learnsym.analysis.rotation_spread import rotation_spread
from learnsym.figures.run import draw_run
from learnsym.modes.equivariance import before_and_after
from learnsym.run.context import RunContext
from learnsym.schema import Count, Size
from learnsym.training.tasks import AbsoluteError
from learnsym.utils.files import write_atomically

ROTATIONS = 8
"""Of every test molecule whose prediction is looked at as it turns."""


class Train:
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

    def __call__(self, session: RunContext) -> dict[str, Any]:
        """Metrics and figures."""
        training = session.training
        before = before_and_after(
            session
        )  # a resumed run too: the network is built anew, and not yet what was trained
        progress = training.fit()
        best = session.directory.checkpoints / "best.pt"
        if "val" in session.data.splits and best.exists():
            session.load(best, "fresh=true starts over")
        metrics: dict[str, float] = {}
        if session.fabric.is_global_zero:
            row = next(
                (
                    r
                    for r in session.directory.rows()
                    if r["epoch"] == (progress.best_epoch or progress.epoch)
                ),
                {},
            )
            metrics = {k: v for k, v in row.items() if k not in ("epoch", "step", "lr")}
            metrics["epochs"] = progress.best_epoch or progress.epoch
        metrics |= tested(session, "test")
        if not session.fabric.is_global_zero:
            return {"metrics": metrics}
        metrics |= spread_of_turned(session, self.turned_molecules)
        metrics |= {f"initial_{k}": v for k, v in before.items()} | before_and_after(session)
        curves = self._response(session)
        write_atomically(session.directory.path / "curves.json", json.dumps(curves))
        figures = draw_run(session.directory, session.net, session.data, curves)
        return {"metrics": metrics, "figures": [str(f) for f in figures]}

    def _response(self, session: RunContext) -> dict[str, Any]:
        from learnsym.analysis.angle_response import angle_response

        # Probabilities of classes are what is drawn: there are none of numbers and masks, nor where
        # squared errors are minimised.
        likely = (
            session.data.info.task == "classification"
            and session.training.settings.loss == "likelihood"
        )
        if not self.response_images or not likely:
            return {}
        angles = 8 if session.debug else self.response_angles
        with session.fabric.autocast():
            return {
                "angle_response": angle_response(
                    session.net,
                    session.data,
                    session.fabric.device,
                    self.response_images,
                    angles,
                    self.response_copies,
                )
            }


def tested(session: RunContext, split: str) -> dict[str, float]:
    """Metrics of a split, named after it; what predicting the training median gives on the test set
    is no metric of the network and is called median_mae_<unit>.
    """
    found = {f"{split}_{k}": v for k, v in session.training.evaluate(split).items()}
    return {k.replace("test_median_", "median_"): v for k, v in found.items()}


def spread_of_turned(session: RunContext, molecules: int) -> dict[str, float]:
    """test_rotation_std_<unit>: by how much predictions for test molecules vary under random
    rotations; none for images.
    """
    task = session.training.task
    if session.data.kind != "points" or not isinstance(task, AbsoluteError) or not molecules:
        return {}
    count = min(molecules, 8) if session.debug else molecules
    with session.fabric.autocast():
        std = rotation_spread(
            session.net, session.data, session.fabric.device, count, ROTATIONS, session.cfg.seed
        )
    suffix = f"_{task.unit}" if task.unit else ""
    return {
        f"test_rotation_std{suffix}": float(
            (std.cpu() * torch.tensor(task.scale, dtype=torch.float64)).mean()
        )
    }
