"""Double precision from the network to the loss."""

from typing import Any

from lightning_fabric.plugins.precision import DoublePrecision


class Double(DoublePrecision):
    """`trainer.precision=64-true`. Fabric's own hands outputs back in single precision, and the
    loss would be rounded to it.
    """

    def convert_output(self, data: Any) -> Any:
        """As the network has made it."""
        return data
