"""Double precision from the network to the loss."""

from lightning_fabric.plugins.precision import DoublePrecision
from torch import Tensor


class Double(DoublePrecision):
    """Plugin for `trainer.precision=64-true`.

    Fabric's own hands outputs back in single precision, and the loss would be rounded to it.
    """

    def convert_output(self, data: Tensor) -> Tensor:
        """Return the output as the network has made it."""
        return data
