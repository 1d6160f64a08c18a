"""A training of a small network on small data, without a run around it."""

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from learnsym.data.base import DataInfo, ImageData, Split
from learnsym.distributions.base import parameter_groups
from learnsym.training.loop import Training
from learnsym.training.schedules import Constant
from learnsym.training.settings import TrainSettings


class Lines:
    """A recorder that remembers."""

    def __init__(self):
        self.rows, self.ticks = [], 0

    def log(self, row):
        self.rows.append(row)

    def truncate(self, epochs):
        self.rows = [row for row in self.rows if row["epoch"] <= epochs]

    def progress(self, epoch, epochs, steps):
        from contextlib import nullcontext

        def tick():
            self.ticks += 1

        return nullcontext(tick)


def pictures(count, seed, classes=3):
    """Noise with a bright corner that says which class it is: learnt in a few steps."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = torch.randint(0, 120, (count, 1, 6, 6), generator=draw, dtype=torch.uint8)
    for k in range(classes):
        images[labels == k, :, k, k] = 250
    return Split(images, labels)


def make_data(train=20, val=9, test=11):
    splits = {"train": pictures(train, 0), "val": pictures(val, 1), "test": pictures(test, 2)}
    splits = {name: split for name, split in splits.items() if len(split)}
    sizes = {name: len(split) for name, split in splits.items()}
    info = DataInfo(
        "pictures",
        "classification",
        (1, 6, 6),
        3,
        ("a", "b", "c"),
        "",
        (0.3,),
        (0.4,),
        sizes,
        "Made here.",
    )
    return ImageData(info, splits)


def make_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)
    )


@pytest.fixture
def make(tmp_path):
    """make(...) gives a Training; what is not said has defaults."""

    def build(
        net=None,
        data=None,
        folder="checkpoints",
        optimizer=None,
        precision="32-true",
        seed=0,
        machine=None,
        **recipe,
    ):
        net = make_net() if net is None else net
        groups = parameter_groups(net, recipe.get("symmetry_lr"))
        settings = TrainSettings(
            **{
                "epochs": 3,
                "batch_size": 8,
                "test_batch_size": 4,
                "optimizer": (optimizer or (lambda p: torch.optim.Adam(p, lr=0.01)))(groups),
                "schedule": Constant(),
            }
            | recipe
        )
        fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
        return Training(
            fabric,
            net,
            data or make_data(),
            settings,
            Lines(),
            tmp_path / folder,
            seed=seed,
            **(machine or {}),
        )

    build.data, build.net = make_data, make_net
    return build
