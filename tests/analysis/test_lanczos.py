"""Lanczos on matrices that are known: random, degenerate, of low rank, deflated; interrupted and
taken up again."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from learnsym.analysis import lanczos
from learnsym.analysis.lanczos import Lanczos, combination, inner
from learnsym.errors import CheckpointError


def rotated(values: list[float], seed: int = 0) -> Tensor:
    """A symmetric matrix with these eigenvalues."""
    draw = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(
        torch.randn(len(values), len(values), generator=draw, dtype=torch.float64)
    )
    return (basis * torch.tensor(values, dtype=torch.float64)) @ basis.T


def finished(a: Tensor, order: int, seed: int = 0, **settings) -> Lanczos:
    run = Lanczos(len(a), order, seed, "run", **settings)
    while not run.done:
        run.step(lambda v: a @ v)
    return run


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0])
        | st.floats(-10, 10).map(lambda x: round(x, 3)),
        min_size=1,
        max_size=12,
    ),
    order=st.integers(1, 15),
    seed=st.integers(0, 5),
)
def test_recurrence(values, order, seed) -> None:
    """A Q = Q T + r e^T with orthonormal Q, and every eigenvalue as often as it is there once the
    order is the size."""
    a = rotated(values, seed)
    run = finished(a, order, seed)
    m = len(run.alphas)
    assert m == min(order, len(values)), "restarts go on where an invariant subspace is complete"
    q = run.basis[:m]
    torch.testing.assert_close(q @ q.T, torch.eye(m, dtype=torch.float64), atol=1e-12, rtol=0)
    ritz = run.ritz()
    size = max(1.0, float(a.abs().max()))
    torch.testing.assert_close(
        (ritz.vectors * ritz.values) @ ritz.vectors.T, q @ a @ q.T, atol=1e-11 * size, rtol=0
    )
    residuals = (a @ (q.T @ ritz.vectors) - (q.T @ ritz.vectors) * ritz.values).norm(dim=0)
    torch.testing.assert_close(ritz.bounds, residuals, atol=1e-10 * size, rtol=0)
    expected = torch.linalg.eigvalsh(a)
    assert all(
        (expected - value).abs().min() <= bound + 1e-10 * size
        for value, bound in zip(ritz.values, ritz.bounds, strict=True)
    )
    if m == len(values):
        torch.testing.assert_close(ritz.values, expected.flip(0), atol=1e-10 * size, rtol=0)


def test_leading_eigenvalues_come_first() -> None:
    a = rotated([50.0, 20.0, 10.0, -8.0, *np.linspace(-0.1, 0.1, 196)])
    ritz = finished(a, 12).ritz()
    torch.testing.assert_close(
        ritz.values[[0, 1, 2, -1]], torch.tensor([50.0, 20.0, 10.0, -8.0], dtype=torch.float64)
    )
    assert ritz.bounds[[0, 1, 2, -1]].max() < 1e-6


@pytest.mark.parametrize("restarts", [True, False])
def test_a_rank_below_the_order(restarts) -> None:
    """Without restarts the quadrature is exact and over; with them the second copy of an eigenvalue
    is found."""
    a = rotated([4.0, 4.0, 1.0] + [0.0] * 17)
    run = finished(a, 10, restarts=restarts)
    values = run.ritz().values
    if restarts:
        assert len(values) == 10
        torch.testing.assert_close(
            values[:4], torch.tensor([4.0, 4.0, 1.0, 0.0], dtype=torch.float64), atol=1e-12, rtol=0
        )
    else:
        assert len(values) == 3
        torch.testing.assert_close(
            values, torch.tensor([4.0, 1.0, 0.0], dtype=torch.float64), atol=1e-12, rtol=0
        )


def test_zero_everywhere() -> None:
    run = finished(torch.zeros(6, 6, dtype=torch.float64), 4)
    assert run.ritz().values.tolist() == [0.0] * 4


def test_deflated_vectors_are_not_seen() -> None:
    a = rotated([9.0, 7.0, 5.0, 3.0, 1.0, -2.0])
    values, vectors = torch.linalg.eigh(a)
    run = finished(a, 10, deflated=vectors[:, -2:].T.contiguous())
    assert len(run.alphas) == 4
    torch.testing.assert_close(run.ritz().values, values[:-2].flip(0))


def test_a_basis_in_single_precision(monkeypatch) -> None:
    """Where memory is short the vectors are kept in float32: orthogonal to its rounding,
    eigenvalues to six digits."""
    monkeypatch.setattr(lanczos, "BASIS_BYTES", 100)
    monkeypatch.setattr(lanczos, "COLUMNS", 7)
    a = rotated([50.0, 20.0, 10.0, *np.linspace(-0.1, 0.1, 97)])
    run = finished(a, 30, precision=torch.float32)
    assert run.basis.dtype == torch.float32
    q = run.basis[:30].double()
    torch.testing.assert_close(q @ q.T, torch.eye(30, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        run.ritz().values[:3],
        torch.tensor([50.0, 20.0, 10.0], dtype=torch.float64),
        rtol=1e-6,
        atol=0,
    )


def test_products_in_pieces(monkeypatch) -> None:
    rows, vector = torch.randn(3, 20, dtype=torch.float64), torch.randn(20, dtype=torch.float64)
    numbers = torch.randn(2, 3, dtype=torch.float64)
    monkeypatch.setattr(lanczos, "COLUMNS", 6)
    torch.testing.assert_close(inner(rows, vector), rows @ vector)
    torch.testing.assert_close(combination(rows, numbers), numbers @ rows)


# --- interruptions


@pytest.mark.parametrize("restarts", [True, False])
@pytest.mark.parametrize("stops", [(1,), (3, 4), (5,), (8,), (9,)], ids=str)
@pytest.mark.parametrize(
    "values", [[*range(20)], [4.0, 4.0, 1.0] + [0.0] * 17], ids=["full", "rank 3"]
)
def test_an_interrupted_run_goes_on_to_the_last_bit(tmp_path, restarts, stops, values) -> None:
    a = rotated([float(v) for v in values])
    expected = finished(a, 9, restarts=restarts)
    for stop in (*stops, None):
        run = Lanczos(len(a), 9, 0, "run", restarts=restarts)
        run.load(tmp_path)
        while not run.done and len(run.alphas) != stop:
            run.step(lambda v: a @ v)
            if len(run.alphas) % 2 == 0 or run.done:  # the last step may not have been written
                run.save(tmp_path)
    assert (run.alphas, run.betas, run.complete) == (
        expected.alphas,
        expected.betas,
        expected.complete,
    )
    if restarts:
        assert torch.equal(run.basis[: len(run.alphas)], expected.basis[: len(run.alphas)])
    again = Lanczos(len(a), 9, 0, "run", restarts=restarts)
    again.load(tmp_path)
    assert again.done
    assert all(torch.equal(x, y) for x, y in zip(again.ritz(), expected.ritz(), strict=True))


def test_broken_files_are_named(tmp_path) -> None:
    a = rotated([1.0, 2.0, 3.0])
    finished(a, 2).save(tmp_path)
    (tmp_path / "vector_0001.npy").write_bytes(b"\x93NUMPY broken")
    with pytest.raises(
        CheckpointError, match=r"vector_0001.npy: it cannot be read .* fresh=true starts over"
    ):
        Lanczos(3, 2, 0, "run").load(tmp_path)
    (tmp_path / "coefficients.json").write_text(json.dumps({"alphas": [1.0]}))
    with pytest.raises(CheckpointError, match=r"coefficients.json"):
        Lanczos(3, 2, 0, "run").load(tmp_path)
