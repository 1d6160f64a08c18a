"""`mode=drift`: an equivariant training, then a free one on all transforms of the data (dynamics
paper, version 2).
"""

import json
from typing import Any, Literal

from omegaconf import DictConfig

from learnsym.config.build import build
from learnsym.data.base import Split
from learnsym.dynamics.c4_conv import C4Conv
from learnsym.dynamics.ensemble import Weights
from learnsym.dynamics.ensemble_checkpoint import Lines, Saved
from learnsym.dynamics.gradient_flows import member_draws, stack
from learnsym.dynamics.records import Records
from learnsym.dynamics.sgd import Batching, MiniBatchSGD
from learnsym.errors import ConfigError, RunError
from learnsym.figures.dynamics import draw_drift
from learnsym.groups.permutation import QuarterTurns
from learnsym.modes.dynamics import check_descent, member_metrics, seen_by_network
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Positive, Size
from learnsym.utils.files import write_atomically


class Drift(Mode):
    """Train equivariant networks, go on from them without constraint on the data and their
    rotations, and record how far they get from the equivariant weights after every step.

    `train.epochs` epochs of the united data with the learning rate of `train.optimizer` and batches
    of `train.batch_size`; `augmentation.batching` says how batches are put together.
    """

    images_only = True
    uses_augmentation = ("batching",)
    trains_by_epochs = False

    @classmethod
    def check_config(cls, cfg: DictConfig) -> None:
        """Refuse what does not go together, before anything is built."""
        check_descent(cfg, "drift", C4Conv, "c4_conv")

    def __init__(
        self,
        repetitions: Size = 30,
        ensemble_chunk: Size = 5,
        equivariant_epochs: Size = 250,
        equivariant_lr: Positive = 5e-4,
        steps_shown: Size = 2400,
    ) -> None:
        """Args:
        repetitions: members, each with a start and an order of its own.
        ensemble_chunk: so many at a time; bounds the memory and changes nothing else but
            rounding.
        equivariant_epochs, equivariant_lr: of the equivariant training that comes first.
        steps_shown: of the figure's second panel.
        """
        self.repetitions, self.ensemble_chunk, self.steps_shown = (
            repetitions,
            ensemble_chunk,
            steps_shown,
        )
        self.equivariant_epochs, self.equivariant_lr = equivariant_epochs, equivariant_lr

    def __call__(self, context: RunContext) -> Outcome:
        """Metrics (medians), records and figures."""
        context.net.to(context.fabric.device)
        train, test = seen_by_network(context, "train"), seen_by_network(context, "test")
        batching = build(context.cfg, "augmentation").batching
        repetitions = min(self.repetitions, 2) if context.debug else self.repetitions
        per_epoch = self.descent(context, train, range(1), {}, batching).steps_per_epoch
        records = Records(
            ("augmented",), repetitions, context.training.epochs * per_epoch, context.net.layers
        )
        saved = Saved(context.directory.checkpoints / "drift.pt")
        first, step, weights = saved.resume(records)
        for start in range(first, repetitions, self.ensemble_chunk):
            members = range(start, min(start + self.ensemble_chunk, repetitions))
            if weights is None:
                weights = stack(
                    [context.net.draw(g) for g in member_draws(context.cfg.seed, members, "start")]
                )
            weights = {
                name: w.to(train.inputs.device, train.inputs.dtype) for name, w in weights.items()
            }
            before = self.descent(context, train, members, weights, "equivariant")
            equivariant_steps = (
                1 if context.debug else self.equivariant_epochs
            ) * before.steps_per_epoch
            if step <= equivariant_steps:
                before.step_number = step
                self.train_equivariant(context, before, equivariant_steps, records, saved)
                weights = self.freed(context, members, weights)
            after = self.descent(context, train, members, weights, batching)
            after.step_number = max(step - equivariant_steps, 0)
            self.train_free(context, after, equivariant_steps, test, records, saved)
            step, weights = 0, None
            saved.keep(records, members.stop)
        return self.report(context, records, per_epoch)

    def train_equivariant(
        self, context: RunContext, descent: MiniBatchSGD, steps: int, records: Records, saved: Saved
    ) -> None:
        """The first training of one chunk of members, up to so many steps."""
        members, repetitions = descent.members, records.members
        line = Lines(
            f"repetitions {members.start + 1}-{members.stop} of {repetitions}, equivariant", steps
        )
        with context.training.recorder.progress(members.stop, repetitions, steps) as tick:
            while descent.step_number < steps:
                descent.step()
                saved.keep(records, members.start, descent.step_number, descent.weights)
                tick()
                line(descent.step_number)

    def freed(self, context: RunContext, members: range, weights: Weights) -> Weights:
        """The same weights in the network's own basis: where the free training starts."""
        draws = member_draws(context.cfg.seed, members, "basis")
        alone = [
            {name: w[m : m + 1].cpu() for name, w in weights.items()} for m in range(len(members))
        ]
        free = stack([context.net.free(one, g) for one, g in zip(alone, draws, strict=True)])
        like = next(iter(weights.values()))
        return {name: w.to(like.device, like.dtype) for name, w in free.items()}

    def train_free(
        self,
        context: RunContext,
        descent: MiniBatchSGD,
        steps_before: int,
        test: Split,
        records: Records,
        saved: Saved,
    ) -> None:
        """The second training of one chunk of members, recorded."""
        net, weights, members = context.net, descent.weights, descent.members
        arm, place = slice(0, 1), slice(members.start, members.stop)
        rows = context.training.settings.test_batch_size
        title = f"repetitions {members.start + 1}-{members.stop} of {records.members}, {descent.batching}"
        line = Lines(title, records.steps)
        with context.training.recorder.progress(
            members.stop, records.members, records.steps
        ) as tick:
            while True:
                now = descent.step_number
                records.put("distance", arm, place, now, net.distance(weights)[None])
                if now % descent.steps_per_epoch == 0:
                    records.put("norm", arm, place, now, net.norms(net.linear_maps(weights))[None])
                    for metric, values in member_metrics(
                        net, context.training.task, weights, test, rows
                    ).items():
                        records.put(f"test_{metric}", arm, place, now, values[None])
                if now == records.steps:
                    break
                records.put("loss", arm, place, now, descent.step()[None])
                saved.keep(records, members.start, steps_before + descent.step_number, weights)
                tick()
                line(descent.step_number)
        if not records.series["loss"][0, place, records.steps - 1].isfinite().all():
            raise RunError(
                f"the loss of step {records.steps - 1} is not finite: the training has diverged (try a smaller learning rate)."
            )

    def descent(
        self,
        context: RunContext,
        train: Split,
        members: range,
        weights: Weights,
        batching: Batching | Literal["equivariant"],
    ) -> MiniBatchSGD:
        """The equivariant training, or the free one with a batching; a ConfigError for a batch that
        does not hold whole orbits.
        """
        settings, equivariant = context.training.settings, batching == "equivariant"
        try:
            return MiniBatchSGD(
                context.net,
                context.training.task.per_example,
                train,
                QuarterTurns(train.inputs.shape[-1]),
                "plain" if batching == "equivariant" else batching,
                weights,
                lr=self.equivariant_lr if equivariant else float(context.cfg.train.optimizer.lr),
                batch_size=settings.batch_size,
                equivariant=equivariant,
                seed=context.cfg.seed,
                members=members,
            )
        except ValueError as error:
            raise ConfigError(
                f"train.{error}; augmentation.batching=whole_orbits needs one."
            ) from error

    def report(self, context: RunContext, records: Records, per_epoch: int) -> dict[str, Any]:
        """Files, figure and metrics of finished records."""
        folder = context.directory
        write_atomically(folder.path / "records.npz", records.packed())
        distance = records.total("distance")[0]
        curve = {
            "steps_per_epoch": per_epoch,
            "per_epoch": distance[:, ::per_epoch].tolist(),
            "per_step": distance[:, : self.steps_shown + 1].tolist(),
        }
        write_atomically(folder.path / "curves.json", json.dumps({"drift": curve}))
        rows = [
            {
                "epoch": row["step"] // per_epoch,
                **{k.removesuffix("_augmented"): v for k, v in row.items() if k != "epoch"},
            }
            for row in records.rows()[::per_epoch]
        ]
        write_atomically(
            folder.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows)
        )
        label = f"{context.cfg.net.support}, {context.cfg.net.basis} basis, {build(context.cfg, 'augmentation').batching}"
        draw_drift(folder.figures / "drift.png", {label: [curve]})
        relative = (distance / records.total("norm")[0])[:, -1]
        metrics = {
            "distance_to_equivariance": float(distance[:, -1].quantile(0.5)),
            "relative_distance_to_equivariance": float(relative.quantile(0.5)),
            "distance_to_equivariance_start": float(distance[:, 0].quantile(0.5)),
        }
        for name in records.series:
            if name.startswith("test_"):
                medians = records.median(name)[0]
                metrics |= {name: float(medians[-1]), f"{name}_start": float(medians[0])}
        return Outcome(metrics, ["figures/drift.png"])
