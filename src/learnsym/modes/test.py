"""`mode=test`: test a checkpoint."""

from dataclasses import dataclass
from pathlib import Path

from learnsym.modes.train import rotation_std, split_metrics
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Count


@dataclass
class Test(Mode):
    """Test a checkpoint on the test set, and on the validation set where there is one."""

    reads_checkpoint = True
    needs_checkpoint = True
    __test__ = False  # not a test of pytest's

    turned_molecules: Count = 500

    def __call__(self, context: RunContext) -> Outcome:
        """Return metrics, and the learned ranges as in the checkpoint."""
        context.load(Path(context.cfg.checkpoint))
        metrics: dict[str, float] = {}
        for split in ("val", "test"):
            if split in context.data.splits:
                metrics |= split_metrics(context, split)
        if context.fabric.is_global_zero:
            metrics |= rotation_std(context, self.turned_molecules)
        return Outcome(metrics | context.training.learned_ranges())
