"""Double precision from the network to the loss."""

from lightning_fabric.plugins.precision import DoublePrecision
from torch import Tensor


class Double(DoublePrecision):
    """Plugin for 64-true; after Fabric's own, the loss would be rounded to single precision."""

    def convert_output(self, data: Tensor) -> Tensor:
        """Return the output as the network has made it."""
        return data
