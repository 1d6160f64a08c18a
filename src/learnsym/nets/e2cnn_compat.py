"""Import e2cnn 0.2.3 (Weiler and Cesa, 2019) so that it works with today's numpy.

Other modules import e2cnn through this one only, and when a network is built: it takes seconds.
Patched in memory: `ndarray.tostring`, gone since numpy 2.3, in four hashes of kernel bases;
`np.array(x, copy=False)`, which raises since numpy 2.0 where D_N needs a copy; `np.float`, gone
since numpy 1.24, in representations of O(2). Warnings of invalid escapes in its sources and of
indexing by uint8 masks, and no others, are silenced.
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
    """Sample bases of e2cnn in float64, whose rounding limits a network's symmetry, quietly."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings(), torch.device("cpu"):
            warnings.filterwarnings("ignore", message="indexing with dtype torch.uint8")
            yield
    finally:
        torch.set_default_dtype(before)
