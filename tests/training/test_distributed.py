"""What two processes need to give the numbers of one: batch norm over the global batch, and rows
that make it up. (Whole runs:
tests/system/test_two_processes.py.)"""

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn

from learnsym.layers.norms import GlobalBatchNorm2d, SwishNorm, synchronise_norms


def _norm_worker(rank, port, folder, kind):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        torch.set_num_threads(1)
        case = torch.load(folder / "case.pt", weights_only=True)
        start, stop = ((0, 3), (3, 8))[rank]  # unequal parts
        norm = kind(4)
        norm.load_state_dict(case["state"])
        x = case["x"][start:stop].clone().requires_grad_()
        y = norm(x)
        (y * case["weights"][start:stop]).sum().backward()
        found = {
            "y": y.detach(),
            "x_grad": x.grad,
            "weight_grad": norm.weight.grad,
            "bias_grad": norm.bias.grad,
            "state": norm.state_dict(),
        }
        torch.save(found, folder / f"rank{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    ("kind", "plain", "pixels"),
    [(GlobalBatchNorm2d, nn.BatchNorm2d, (5, 6)), (SwishNorm, SwishNorm, ())],
)
def test_global_batch_norm_is_batch_norm_of_the_joined_batch(tmp_path, kind, plain, pixels):
    """Output, gradients and running statistics, with unequal parts; the oracle is the ordinary norm
    on all rows."""
    torch.manual_seed(0)
    oracle = plain(4)
    with torch.no_grad():
        oracle.weight.uniform_(0.5, 2)
        oracle.bias.uniform_(-1, 1)
    x = (
        torch.randn(8, 4, *pixels) * 3 + 40
    ).requires_grad_()  # far from 0: sums of squares would lose digits
    weights = torch.randn(8, 4, *pixels)
    state = {k: v.clone() for k, v in oracle.state_dict().items()}
    torch.save({"x": x.detach(), "weights": weights, "state": state}, tmp_path / "case.pt")
    y = oracle(x)
    (y * weights).sum().backward()

    port = _free_port()
    torch.multiprocessing.start_processes(
        _norm_worker, (port, tmp_path, kind), nprocs=2, start_method="fork"
    )
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([r["y"] for r in ranks]), y.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        torch.cat([r["x_grad"] for r in ranks]), x.grad, rtol=1e-4, atol=1e-5
    )
    # Each process holds its rows' part of the gradient; DDP adds them up.
    for name, parameter in (("weight_grad", oracle.weight), ("bias_grad", oracle.bias)):
        torch.testing.assert_close(
            sum(r[name] for r in ranks), parameter.grad, rtol=1e-4, atol=1e-4
        )
    for r in ranks:
        for key, value in oracle.state_dict().items():
            torch.testing.assert_close(r["state"][key], value, rtol=1e-5, atol=1e-6)


def test_without_other_processes_it_is_batch_norm():
    torch.manual_seed(0)
    one, other, x = nn.BatchNorm2d(3), GlobalBatchNorm2d(3), torch.randn(4, 3, 5, 5)
    assert torch.equal(one(x), other(x))
    assert torch.equal(one.eval()(x), other.eval()(x))


def test_norms_are_replaced_with_all_they_know():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(2, momentum=0.3))
    )
    net(torch.randn(4, 1, 6, 6))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    twin = synchronise_norms(net)
    kinds = [type(m) for m in twin.modules() if isinstance(m, nn.BatchNorm2d)]
    assert kinds == [GlobalBatchNorm2d] * 2
    assert twin[2][0].momentum == 0.3
    assert list(before) == list(twin.state_dict())
    assert all(torch.equal(v, twin.state_dict()[k]) for k, v in before.items())


def test_rows_of_two_processes_make_up_the_batch():
    """Every global batch, the last one included, is divided without loss; shares weigh the gradient
    mean."""
    from types import SimpleNamespace

    from learnsym.training.loop import Training

    class Data:
        @staticmethod
        def prepare(inputs, train=False, rows=None):
            return inputs

    split = SimpleNamespace(inputs=torch.arange(40).float(), targets=torch.arange(40))
    parts = []
    for rank in (0, 1):
        training = Training.__new__(Training)
        training.fabric = SimpleNamespace(
            global_rank=rank, world_size=2, device=torch.device("cpu")
        )
        training.data, training.max_batches, training.dtype = Data, None, torch.float32
        training.layout = torch.preserve_format
        parts.append(list(training._batches(split, torch.arange(40).flip(0), 15, train=True)))
    order = torch.arange(40).flip(0)
    for batch, (a, b) in zip(order.split(15), zip(*parts, strict=True), strict=True):
        assert torch.equal(torch.cat([a[1], b[1]]), batch)
        assert math.isclose((a[2] + b[2]) / 2, 1.0)
        assert math.isclose(a[2], 2 * len(a[1]) / len(batch))
        middle = len(batch) // 2
        assert (a[3], b[3]) == ((0, middle, len(batch)), (middle, len(batch), len(batch)))


def _free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
