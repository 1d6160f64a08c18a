"""`mode=drift`: does a free training that starts equivariant stay so (dynamics paper, version 2)?

An equivariant training comes first, then a free one on all transforms of the data.
"""

from dataclasses import dataclass
from functools import partial

from omegaconf import DictConfig

from learnsym.dynamics import ensemble
from learnsym.dynamics.c4_conv import C4Conv
from learnsym.dynamics.records import Records
from learnsym.dynamics.sgd import MiniBatchSGD
from learnsym.errors import ConfigError
from learnsym.figures.dynamics import draw_drift
from learnsym.groups.permutation import QuarterTurns
from learnsym.modes.ensemble_mode import EnsembleMode, EnsembleRun, check_descent
from learnsym.run.context import RunContext
from learnsym.run.mode import Outcome
from learnsym.schema import Positive, Size
from learnsym.utils.files import to_json, write_atomically


@dataclass
class Drift(EnsembleMode):
    """Train equivariant networks, then without constraint on the data and their rotations.

    Their distance from the equivariant weights is recorded after every step. Epochs are those of
    the data united with their rotations.
    """

    uses_augmentation = ("batching",)

    ensemble_chunk: Size = 5
    equivariant_epochs: Size = 250
    equivariant_lr: Positive = 5e-4
    steps_shown: Size = 2400

    @classmethod
    def check_config(cls, cfg: DictConfig) -> None:
        """Check network and recipe before anything is built."""
        check_descent(cfg, "drift", C4Conv, "c4_conv")
        size = cfg.train.batch_size
        if cfg.augmentation.batching == "whole_orbits" and size % 4:
            raise ConfigError(
                f"train.batch_size={size} is no multiple of the 4 elements of C_4; "
                "augmentation.batching=whole_orbits needs one."
            )

    def __call__(self, context: RunContext) -> Outcome:
        """Train all repetitions from where an interrupted run was; report medians."""
        net, cfg = context.net.to(context.fabric.device), context.cfg
        assert isinstance(net, C4Conv)
        train, batching = self.prepared_split(context, "train"), cfg.augmentation.batching
        loss, size = context.training.task.per_example, context.training.settings.batch_size
        turns = QuarterTurns(train.inputs.shape[-1])
        descent = partial(MiniBatchSGD, net, loss, train, turns, batch_size=size, seed=cfg.seed)
        lr = float(cfg.train.optimizer.lr)
        free = partial(descent, batching=batching, lr=lr, equivariant=False)
        constrained = partial(descent, batching="plain", lr=self.equivariant_lr, equivariant=True)
        per_epoch = free(weights={}, members=range(1)).steps_per_epoch
        steps = context.training.epochs * per_epoch
        run = self.open(context, net, ("augmented",), steps, "drift")
        for members, step, weights in run.chunks(self.ensemble_chunk):
            if weights is None:
                draws = ensemble.member_generators(cfg.seed, members, "start")
                weights = ensemble.concat_members([net.sample_equivariant(g) for g in draws])
            weights = ensemble.weights_like(weights, train.inputs[:1])
            before = constrained(weights=weights, members=members)
            epochs = 1 if context.debug else self.equivariant_epochs
            steps_before = epochs * before.steps_per_epoch
            if step <= steps_before:
                before.step_number = step
                run.train(before, steps_before, ", equivariant")
                # The free training may have another basis.
                draws = ensemble.member_generators(cfg.seed, members, "basis")
                on_cpu = {name: w.cpu() for name, w in weights.items()}
                singles = [ensemble.slice_members(on_cpu, m, m + 1) for m in range(len(members))]
                weights = ensemble.concat_members(list(map(net.to_basis, singles, draws)))
                weights = ensemble.weights_like(weights, train.inputs[:1])
            after = free(weights=weights, members=members)
            after.step_number = max(step - steps_before, 0)
            run.train(after, steps, f", {batching}", partial(_measure, run, after), steps_before)
        return self._report(context, run.records, per_epoch)

    def _report(self, context: RunContext, records: Records, per_epoch: int) -> Outcome:
        """Write files and figure, and name the metrics."""
        folder, cfg = context.directory, context.cfg
        records.save(folder.path / "records.npz")
        distance = records.total("distance")[0]
        curve = {
            "steps_per_epoch": per_epoch,
            "per_epoch": distance[:, ::per_epoch].tolist(),
            "per_step": distance[:, : self.steps_shown + 1].tolist(),
        }
        write_atomically(folder.path / "curves.json", to_json({"drift": curve}))
        rows = [
            {name.removesuffix("_augmented"): value for name, value in row.items()}
            | {"epoch": row["step"] // per_epoch}
            for row in records.rows()[::per_epoch]
        ]
        self.write_rows(context, rows)
        label = f"{cfg.net.support}, {cfg.net.basis} basis, {cfg.augmentation.batching}"
        draw_drift(folder.figures / "drift.png", {label: [curve]})
        relative = (distance / records.total("norm")[0])[:, -1]
        metrics = {
            "distance_to_equivariance": float(distance[:, -1].quantile(0.5)),
            "relative_distance_to_equivariance": float(relative.quantile(0.5)),
            "distance_to_equivariance_start": float(distance[:, 0].quantile(0.5)),
        }
        for name in (name for name in records.series if name.startswith("test_")):
            medians = records.median(name)[0]
            metrics |= {name: float(medians[-1]), f"{name}_start": float(medians[0])}
        return Outcome(metrics, ["figures/drift.png"])


def _measure(run: EnsembleRun, descent: MiniBatchSGD) -> None:
    """Record the distance after every step, norms and test metrics after every epoch."""
    net, weights = descent.net, descent.weights
    run.record(descent, 0, {"distance": net.distance(weights)})
    if descent.step_number % descent.steps_per_epoch == 0:
        batch_size = run.context.training.settings.test_batch_size
        run.record(descent, 0, run.evaluate(descent, weights, batch_size))
