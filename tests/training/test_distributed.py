"""Two processes give the numbers of one: batch norm over the global batch, draws that belong to examples, gradients averaged."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn

from learnsym.training.sync_norm import GlobalBatchNorm2d, synchronise_norms

ROOT = Path(__file__).parents[2]
# 45 = 3 * 15: batches of 15 divide into 7 and 8 rows, the last validation and test batches into other parts; dropout, learned
# transformations, a fixed augmentation and a regulariser all draw or add.
WORDS = (
    "net/backbone=conv5",
    "net.backbone.width=2",
    "net.learn=all",
    "net.test_copies=2",
    "dataset.train_size=40",
    "dataset.val_size=21",
    "dataset.test_size=33",
    "dataset.augment=rotation",
    "train.batch_size=15",
    "train.test_batch_size=16",
    "train.epochs=3",
    "train.clip_norm=1.0",
    "train/schedule=cosine",
    "train.optimizer.lr=0.003",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "mode.response_images=2",
    "mode.response_angles=2",
)


def metrics_with(processes, folder):
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *WORDS, f"trainer.devices={processes}", f"paths.out=p{processes}"],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.splitlines()[-1].removeprefix("result: "))
    result = json.loads(path.read_text())
    assert result["processes"] == processes
    rows = [json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()]
    return result["metrics"], rows, done


def test_two_processes_give_the_metrics_of_one(tmp_path):
    one, rows_of_one, _ = metrics_with(1, tmp_path)
    two, rows_of_two, done = metrics_with(2, tmp_path)
    assert set(one) == set(two)
    assert len(rows_of_one) == len(rows_of_two) == 3
    for a, b in zip([one, *rows_of_one], [two, *rows_of_two], strict=True):
        for key in a:
            assert b[key] == pytest.approx(a[key], abs=1e-4, rel=1e-4), key
    assert done.stdout.count("epoch 3/3") == 1, "only one process speaks"
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


def _norm_worker(rank, port, folder):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        torch.set_num_threads(1)
        case = torch.load(folder / "case.pt", weights_only=True)
        start, stop = ((0, 3), (3, 8))[rank]  # unequal parts
        norm = GlobalBatchNorm2d(4)
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


def test_global_batch_norm_is_batch_norm_of_the_joined_batch(tmp_path):
    """Output, gradients and running statistics, with unequal parts; the oracle is nn.BatchNorm2d on all rows."""
    torch.manual_seed(0)
    oracle = nn.BatchNorm2d(4)
    with torch.no_grad():
        oracle.weight.uniform_(0.5, 2)
        oracle.bias.uniform_(-1, 1)
    x = (torch.randn(8, 4, 5, 6) * 3 + 40).requires_grad_()  # far from 0: sums of squares would lose digits
    weights = torch.randn(8, 4, 5, 6)
    state = {k: v.clone() for k, v in oracle.state_dict().items()}
    torch.save({"x": x.detach(), "weights": weights, "state": state}, tmp_path / "case.pt")
    y = oracle(x)
    (y * weights).sum().backward()

    port = _free_port()
    torch.multiprocessing.start_processes(_norm_worker, (port, tmp_path), nprocs=2, start_method="fork")
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([r["y"] for r in ranks]), y.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat([r["x_grad"] for r in ranks]), x.grad, rtol=1e-4, atol=1e-5)
    # Each process holds its rows' part of the gradient; DDP adds them up.
    for name, parameter in (("weight_grad", oracle.weight), ("bias_grad", oracle.bias)):
        torch.testing.assert_close(sum(r[name] for r in ranks), parameter.grad, rtol=1e-4, atol=1e-4)
    for r in ranks:
        for key, value in oracle.state_dict().items():
            torch.testing.assert_close(r["state"][key], value, rtol=1e-5, atol=1e-6)


def test_without_other_processes_it_is_batch_norm():
    torch.manual_seed(0)
    one, other = nn.BatchNorm2d(3), GlobalBatchNorm2d(3)
    x = torch.randn(4, 3, 5, 5)
    assert torch.equal(one(x), other(x))
    assert torch.equal(one.eval()(x), other.eval()(x))


def test_norms_are_replaced_with_all_they_know():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(2, momentum=0.3)))
    net(torch.randn(4, 1, 6, 6))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    twin = synchronise_norms(net)
    kinds = [type(m) for m in twin.modules() if isinstance(m, nn.BatchNorm2d)]
    assert kinds == [GlobalBatchNorm2d] * 2
    assert twin[2][0].momentum == 0.3
    assert list(before) == list(twin.state_dict())
    assert all(torch.equal(v, twin.state_dict()[k]) for k, v in before.items())


def test_rows_of_two_processes_make_up_the_batch():
    """Every global batch, the last one included, is divided without loss; shares weigh the gradient mean."""
    from types import SimpleNamespace

    from learnsym.training.loop import Training

    class Data:
        @staticmethod
        def prepare(inputs, train=False):
            return inputs

    split = SimpleNamespace(inputs=torch.arange(40).float(), targets=torch.arange(40))
    parts = []
    for rank in (0, 1):
        training = Training.__new__(Training)
        training.fabric = SimpleNamespace(global_rank=rank, world_size=2, device=torch.device("cpu"))
        training.data, training.max_batches, training.dtype = Data, None, torch.float32
        parts.append(list(training._batches(split, torch.arange(40).flip(0), 15, train=True)))
    order = torch.arange(40).flip(0)
    for batch, (a, b) in zip(order.split(15), zip(*parts, strict=True), strict=True):
        assert torch.equal(torch.cat([a[1], b[1]]), batch)
        assert math.isclose((a[2] + b[2]) / 2, 1.0)
        assert math.isclose(a[2], 2 * len(a[1]) / len(batch))


def _free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
