"""Import e2cnn 0.2.3 (Weiler and Cesa, 2019) so that it works with today's numpy.

Other modules import e2cnn through this one only. What breaks, and the patch (in memory; the
installed files stay as they are):

* `ndarray.tostring` is gone since numpy 2.3: four hashes of kernel bases (D_N, SO(2), O(2)) use it.
  They hash `tobytes` instead.
* `np.array(x, copy=False)` raises since numpy 2.0 where a copy is needed, which D_N meets. There it
  means what it used to.
* `np.float` is gone since numpy 1.24: representations of O(2) induced from SO(2) use it.
* Its sources contain invalid escapes, and it indexes by uint8 masks: the warnings of these two, and
  no others, are silenced.

Importing this takes seconds (scipy, and e2cnn itself), so `e2_steerable` does it only when a
network is built.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*invalid escape sequence")
    import e2cnn.group.groups.o2group as _o2group
    import e2cnn.kernels.irreps_basis as _irreps_basis
    import e2cnn.kernels.utils as _kernel_utils
    from e2cnn import gspaces
    from e2cnn import nn as enn
    from e2cnn.group import Representation, directsum

__all__ = ["Representation", "building", "directsum", "enn", "gspaces"]


class _NumpyAsItWas:
    """numpy with the two names that e2cnn 0.2.3 uses in their old meaning."""

    float = float

    def array(self, values: Any, *args: Any, copy: bool = True, **kwargs: Any) -> np.ndarray:
        """Call np.array; copy=False copies where it must, as before numpy 2."""
        return np.array(values, *args, copy=True if copy else None, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def _hash(basis: Any) -> int:
    """Hash a basis of kernels as e2cnn does, with `tobytes` for `tostring`."""
    return hash(
        (basis.in_irrep, basis.out_irrep, basis.mu.tobytes(), np.asarray(basis.gamma).tobytes())
    )


for _solution in (
    _irreps_basis.R2FlipsSolution,
    _irreps_basis.R2ContinuousRotationsSolution,
    _irreps_basis.R2FlipsDiscreteRotationsSolution,
    _irreps_basis.R2FlipsContinuousRotationsSolution,
):
    _solution.__hash__ = _hash
_kernel_utils.np = _o2group.np = _NumpyAsItWas()


@contextmanager
def building() -> Iterator[None]:
    """Build e2cnn modules within this context: bases in float64, no uint8 warning.

    e2cnn samples its bases in torch's default dtype; float32 rounding would be the limit of a
    network's symmetry.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings(), torch.device("cpu"):
            warnings.filterwarnings("ignore", message="indexing with dtype torch.uint8")
            yield
    finally:
        torch.set_default_dtype(before)
