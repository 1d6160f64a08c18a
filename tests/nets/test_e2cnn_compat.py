"""e2cnn through the compatibility module: every planar group builds, quietly, and its bases solve
the kernel constraint."""

import subprocess
import sys
from math import pi

import pytest
import torch

from learnsym.nets.e2_steerable import _fields_of, _steerable_conv

TURN = lambda k: torch.rot90(k, -1, (-2, -1))  # noqa: E731  K(g^-1 x) on the grid for a quarter turn, y up
MIRROR = lambda k: k.flip(-1)  # noqa: E731  in the vertical axis


@pytest.mark.parametrize(
    ("group", "order", "max_frequency", "turn", "mirror"),
    [
        ("CN", 4, None, 1, None),
        ("CN", 8, None, 2, None),
        ("DN", 4, None, (0, 1), (1, 0)),
        ("DN", 8, None, (0, 2), (1, 0)),
        ("SO2", None, 3, pi / 2, None),
        ("O2", None, 2, (0, pi / 2), (1, 0.0)),
    ],
)
def test_bases_solve_the_kernel_constraint(group, order, max_frequency, turn, mirror):
    """K(g x) = rho(g) K(x) rho(g)^-1 for a quarter turn and a mirror image, on the grid, to float32
    rounding."""
    space, field = _fields_of(group, order, max_frequency)
    basis = _steerable_conv(space, field, 2, field, 3, 1).basis.double()
    for element, act in ((turn, TURN), (mirror, MIRROR)):
        if element is None:
            continue
        rho = torch.tensor(field(element), dtype=torch.float64)
        turned = torch.einsum("po,boixy,qi->bpqxy", rho, basis, rho)  # rho is orthogonal
        errors = {
            "right": float((turned - act(basis)).abs().max()),
            "inverse": float((turned - act(act(act(basis)))).abs().max()),
        }
        assert min(errors.values()) < 1e-6, errors
        assert float((turned - basis).abs().max()) > 1e-2  # the element does something


def test_bases_are_independent_and_of_the_known_size():
    """C4, regular to regular, 3 x 3: 4 * 4 * 9 / 4 = 36 free numbers, of which the band limit keeps
    24."""
    space, field = _fields_of("CN", 4, None)
    basis = _steerable_conv(space, field, 1, field, 1, 1).basis
    assert basis.shape == (24, 4, 4, 3, 3)
    assert torch.linalg.matrix_rank(basis.flatten(1).double()) == 24


def test_the_shared_bases_of_e2cnn_hash_too():
    """Without recompute=True e2cnn hashes its bases: the place where numpy 2.3 breaks it."""
    from learnsym.nets.e2cnn_compat import building, enn, gspaces

    for space in (
        gspaces.FlipRot2dOnR2(4),
        gspaces.Rot2dOnR2(-1, maximum_frequency=1),
        gspaces.Flip2dOnR2(),
    ):
        with building():
            kind = enn.FieldType(space, [space.trivial_repr])
            assert enn.R2Conv(kind, kind, 3, padding=1).weights.numel() > 0


def test_induced_representations_of_o2():
    """np.float, gone since numpy 1.24."""
    from e2cnn.group import o2_group

    from learnsym.nets import e2cnn_compat  # noqa: F401

    group = o2_group(2)
    so2, _, _ = group.subgroup((None, -1))
    induced = group.induced_representation((None, -1), so2.irrep(1))
    assert induced.size == 4


@pytest.mark.long
def test_imports_without_a_warning_and_leaves_no_file(tmp_path):
    code = (
        "import warnings; warnings.simplefilter('error'); import sys, torch, numpy, scipy.stats;"
        f"sys.pycache_prefix = {str(tmp_path / 'cache')!r};"
        "from learnsym.nets.e2_steerable import E2Steerable;"
        "import numpy as np; E2Steerable(1, 2); assert not hasattr(np, 'float');"
        "assert torch.get_default_dtype() == torch.float32"
    )
    # A cache elsewhere, from here on: e2cnn's sources are compiled anew, which is when their
    # invalid escapes are noticed.
    command = [sys.executable, "-c", code]
    (tmp_path / "cwd").mkdir()
    subprocess.run(command, check=True, cwd=tmp_path / "cwd")
    assert not list((tmp_path / "cwd").iterdir())
