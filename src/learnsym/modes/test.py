"""TODO."""

from pathlib import Path

from learnsym.modes.train import spread_of_turned, tested
from learnsym.run.context import RunContext
from learnsym.run.mode import Mode, Outcome
from learnsym.schema import Count


class Test(Mode):
    """Test a checkpoint on the test set (and the validation set where there is one)."""

    reads_checkpoint = True
    needs_checkpoint = True
    __test__ = False  # not a test of pytest's

    def __init__(self, turned_molecules: Count = 500) -> None:
        """Args:
        turned_molecules: test molecules that are turned at random, to see how much the prediction varies; 0: none.
        """
        self.turned_molecules = turned_molecules

    def __call__(self, context: RunContext) -> Outcome:
        """Metrics; learned extents as in the checkpoint."""
        context.load(Path(context.cfg.checkpoint))
        names = [n for n in ("val", "test") if n in context.data.splits]
        metrics = {k: v for n in names for k, v in tested(context, n).items()}
        if context.fabric.is_global_zero:
            metrics |= spread_of_turned(context, self.turned_molecules)
        return Outcome(metrics | context.training.extents())
