"""What is asked of a network: losses against plain formulas, sums that add up, and networks and
losses that do not fit."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning_fabric import Fabric
from torch import nn

from learnsym.config.build import dry_build
from learnsym.config.resolvers import register_resolvers
from learnsym.config.search_path import CONFIG_DIR
from learnsym.data.base import DataInfo, ImageData, Split
from learnsym.errors import ConfigError
from learnsym.groups.planar import SE2
from learnsym.nets.augerino import Augerino
from learnsym.nets.plain_cnn import Conv5
from learnsym.run.context import build_context, dry_forward
from learnsym.run.directory import RunDirectory
from learnsym.training.tasks import (
    AbsoluteError,
    Classification,
    Regression,
    Segmentation,
    SquaredError,
    task_for,
)

ABSOLUTE = AbsoluteError(unit="mev", centre=(0.3, -1.0, 0.0, 2.0), scale=(0.5, 2.0, 1.0, 0.25))
TASKS = [
    Classification(),
    SquaredError(),
    Regression(unit="deg", mean=0.3),
    ABSOLUTE,
    Segmentation(),
]


def example(task, count=23, dtype=torch.float32):
    draws = torch.Generator().manual_seed(0)
    if isinstance(task, Segmentation):
        targets = (torch.rand(count, 2, 5, 4, generator=draws) < 0.4).float()
        targets[:9, 0], targets[9:, 1] = (
            0,
            1,
        )  # absent shapes: empty, or full as in the published masks
        return torch.randn(count, 2, 5, 4, generator=draws, dtype=dtype), targets
    outputs = torch.randn(count, 4, generator=draws, dtype=dtype)
    classes = isinstance(task, Classification)
    return outputs, torch.randint(4, (count,), generator=draws) if classes else torch.randn(
        count, 4, generator=draws
    )


def plain_loss(task, output, target):
    """The loss of one example, number by number."""
    if isinstance(task, SquaredError):
        return sum((o - (k == target)) ** 2 for k, o in enumerate(output)) / len(output)
    if isinstance(task, Classification):
        return math.log(sum(math.exp(o) for o in output)) - output[target]
    if isinstance(task, Regression):
        return sum((o - t) ** 2 for o, t in zip(output, target, strict=True)) / len(output)
    if isinstance(task, AbsoluteError):
        rows = zip(output, target, task.centre, task.scale, strict=True)
        return sum(abs(o - (t - c) / s) for o, t, c, s in rows) / len(output)
    pairs = [(1 / (1 + math.exp(-o)), t) for o, t in zip(flat(output), flat(target), strict=True)]
    return -sum(math.log(p if t else 1 - p) for p, t in pairs) / len(pairs)


def flat(nested):
    return [x for inner in nested for x in flat(inner)] if isinstance(nested, list) else [nested]


@pytest.mark.parametrize("task", TASKS)
def test_a_loss_is_the_mean_of_what_each_example_costs(task):
    outputs, targets = example(task, dtype=torch.float64)
    costs = task.per_example(outputs, targets)
    assert (costs.shape, costs.dtype) == ((23,), torch.float64)
    expected = [
        plain_loss(task, o, t) for o, t in zip(outputs.tolist(), targets.tolist(), strict=True)
    ]
    assert costs.tolist() == pytest.approx(expected, rel=1e-10)
    assert float(task.loss(outputs, targets)) == pytest.approx(sum(expected) / 23, rel=1e-10)
    for k in (0, 22):
        torch.testing.assert_close(
            task.per_example(outputs[k : k + 1], targets[k : k + 1]), costs[k : k + 1]
        )


@pytest.mark.parametrize("task", TASKS)
def test_half_precision_is_left_before_the_loss(task):
    outputs, targets = example(task)
    rough = outputs.bfloat16()
    assert task.per_example(rough, targets).dtype == torch.float32
    assert float(task.loss(rough, targets)) == pytest.approx(
        float(task.loss(rough.float(), targets)), rel=1e-6
    )
    assert task.sums(rough, targets).dtype == torch.float64


@pytest.mark.parametrize("task", TASKS)
def test_sums_add_up_over_batches(task):
    outputs, targets = example(task)
    whole, parts = (
        task.sums(outputs.clone().requires_grad_(), targets),
        task.init_sums(torch.device("cpu")),
    )
    assert parts.shape == whole.shape
    assert not whole.requires_grad
    for index in torch.arange(23).split(5):
        parts = parts + task.sums(outputs[index], targets[index])
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-6)
    metrics = task.metrics(parts.tolist())
    assert metrics["loss"] == pytest.approx(float(task.loss(outputs, targets)), rel=1e-5)
    assert task.best in metrics
    assert task.sign == (1 if task.best == "accuracy" else -1)


def test_squared_error_is_of_one_hot_labels_and_counts_what_is_right():
    outputs, targets = example(SquaredError())
    metrics = SquaredError().metrics(SquaredError().sums(outputs, targets).tolist())
    assert set(metrics) == {"loss", "accuracy"}
    assert metrics["accuracy"] == pytest.approx(
        float((outputs.argmax(1) == targets).float().mean())
    )
    perfect = torch.eye(4)[targets]
    assert float(SquaredError().loss(perfect, targets)) == 0
    assert float(SquaredError().loss(torch.zeros_like(perfect), targets)) == pytest.approx(1 / 4)
    outputs = outputs.requires_grad_()
    SquaredError().loss(outputs, targets).backward()
    torch.testing.assert_close(outputs.grad, 2 * (outputs - perfect).detach() / perfect.numel())


def test_numbers_are_standardised_by_median_and_mean_absolute_deviation():
    values = torch.tensor([[1.0, 7.0], [2.0, 7.0], [10.0, 7.0], [3.0, 7.0], [-6.0, 7.0]])
    task = AbsoluteError.of(values, "mev")
    assert task.centre == (2.0, 7.0)
    assert task.scale == pytest.approx(((1 + 0 + 8 + 1 + 8) / 5, 1.0)), (
        "a constant target has scale 1"
    )
    perfect = (values - torch.tensor(task.centre)) / torch.tensor(task.scale)
    assert float(task.loss(perfect, values)) < 1e-6
    torch.testing.assert_close(task.in_units(perfect), values.double(), atol=1e-6, rtol=0)
    outputs = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    metrics = task.metrics(task.sums(outputs, values).tolist())
    assert set(metrics) == {"loss", "mae_mev", "median_mae_mev"}
    assert metrics["mae_mev"] == pytest.approx(
        float((task.in_units(outputs) - values).abs().mean())
    )
    assert metrics["median_mae_mev"] == pytest.approx((18 / 5 + 0) / 2)
    assert metrics["loss"] == pytest.approx(float(task.loss(outputs, values)))
    assert set(AbsoluteError.of(values, "").metrics([1.0, 1.0, 1.0, 1.0])) == {
        "loss",
        "mae",
        "median_mae",
    }


def test_large_numbers_are_standardised_before_they_are_rounded():
    """Energies of 10^7 meV that differ by hundredths: float32 has no such digits."""
    values = -1e7 + 0.01 * torch.arange(11, dtype=torch.float64)[:, None]
    task = AbsoluteError.of(values, "mev")
    outputs = ((values - values.median()) / task.scale[0]).float()
    assert float(task.loss(outputs, values)) < 1e-5
    assert task.metrics(task.sums(outputs, values).tolist())["mae_mev"] < 1e-6


def test_absolute_error_has_the_gradient_of_a_sign():
    outputs, targets = example(ABSOLUTE)
    outputs = outputs.requires_grad_()
    ABSOLUTE.loss(outputs, targets).backward()
    above = ABSOLUTE.in_units(outputs.detach()) > targets
    torch.testing.assert_close(outputs.grad, torch.where(above, 1.0, -1.0) / outputs.numel())


def test_masks_are_judged_by_their_pixels():
    """Three images of two masks of 1 x 4 pixels; the empty and the full ones say nothing about the
    overlap."""
    targets = torch.tensor(
        [[[1, 1, 0, 0], [0, 0, 0, 0]], [[1, 1, 1, 1], [0, 1, 0, 0]], [[0, 0, 0, 1], [1, 0, 0, 1]]]
    )
    chosen = torch.tensor(
        [[[1, 0, 0, 0], [1, 1, 0, 0]], [[0, 1, 1, 1], [0, 1, 1, 1]], [[1, 0, 0, 0], [1, 0, 0, 1]]]
    )
    logits = (chosen.float() - 0.5)[:, :, None]  # a probability above one half where chosen
    metrics = Segmentation().metrics(
        Segmentation().sums(logits, targets.float()[:, :, None]).tolist()
    )
    assert set(metrics) == {"loss", "pixel_accuracy", "iou"}
    assert metrics["pixel_accuracy"] == pytest.approx(1 - (1 + 2 + 1 + 2 + 2 + 0) / 24)
    assert metrics["iou"] == pytest.approx((1 / 2 + 1 / 3 + 0 + 1) / 4)


def test_overlap_says_nothing_where_no_mask_can_be_judged():
    sums = Segmentation().sums(torch.randn(3, 2, 4, 4), torch.zeros(3, 2, 4, 4))
    assert math.isnan(Segmentation().metrics(sums.tolist())["iou"])
    assert math.isfinite(Segmentation().metrics(sums.tolist())["loss"])


def test_certain_and_wrong_logits_cost_what_they_should():
    logits, targets = torch.tensor([[[[200.0, -200.0]]]]), torch.tensor([[[[0.0, 0.0]]]])
    assert float(Segmentation().loss(logits, targets)) == pytest.approx(100.0)


# --- which task, and what fits it


def data_of(task):
    inputs = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    targets = {
        "classification": torch.arange(6) % 2,
        "regression": torch.arange(12.0).view(6, 2),
        "segmentation": (inputs > 0.5).float().expand(6, 2, 8, 8).clone(),
    }[task]
    splits = {name: Split(inputs, targets) for name in ("train", "test")}
    info = DataInfo(
        "made", task, (1, 8, 8), 2, (), "", (0.5,), (1.0,), {"train": 6, "test": 6}, "Made here."
    )
    return ImageData(info, splits)


def test_the_data_decide_the_task_and_the_settings_the_loss():
    assert task_for(data_of("classification")) == Classification()
    assert type(task_for(data_of("classification"), "squared_error")) is SquaredError
    assert task_for(data_of("regression")) == Regression(
        unit="", mean=(5.0, 6.0), centre=(0.0, 0.0)
    )
    assert task_for(data_of("segmentation")) == Segmentation()
    data = data_of("regression")
    assert task_for(data, "absolute_error") == AbsoluteError(
        unit="", centre=(5.0, 6.0), scale=(3.0, 3.0)
    )
    data.info = dataclasses.replace(data.info, target_error="absolute")
    assert task_for(data) == task_for(data, "absolute_error")


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_absolute_error_is_for_numbers(task):
    with pytest.raises(
        ConfigError,
        match=rf"train\.loss=absolute_error is for numbers, but dataset=made is a task of {task}",
    ):
        task_for(data_of(task), "absolute_error")


@pytest.mark.parametrize("task", ["regression", "segmentation"])
def test_squared_error_is_for_classes(task):
    with pytest.raises(
        ConfigError,
        match=rf"train\.loss=squared_error is for classes, but dataset=made is a task of {task}",
    ):
        task_for(data_of(task), "squared_error")


def test_a_network_has_to_give_what_the_task_needs():
    maps = nn.Conv2d(1, 2, 3, padding=1)
    dry_forward(maps, data_of("segmentation"))
    for task in ("classification", "regression"):
        dry_forward(Conv5(1, 2, width=2), data_of(task))
        with pytest.raises(
            ConfigError, match=rf"expected outputs \[2\] for {task}, got \[2, 8, 8\] from Conv2d"
        ):
            dry_forward(maps, data_of(task))
    said = r"dataset=made: expected outputs \[2, 8, 8\] for segmentation, got \[2\] from Conv5\. Try net=proj"  # noqa: E501
    with pytest.raises(ConfigError, match=said):
        dry_forward(Conv5(1, 2, width=2), data_of("segmentation"))
    with pytest.raises(ConfigError, match=r"got \[3, 8, 8\] from Conv2d"):
        dry_forward(nn.Conv2d(1, 3, 3, padding=1), data_of("segmentation"))


def test_masks_are_not_averaged_over_transformations():
    with pytest.raises(ValueError, match=r"task=segmentation: .* net=projected_linear"):
        Augerino(Conv5(1, 2, width=2), SE2(), "segmentation")


@pytest.fixture
def composed():
    """composed(*overrides): the configuration of a tiny run."""
    register_resolvers()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        yield lambda *overrides: compose("config", overrides=list(overrides))


def test_a_network_that_cannot_give_masks_is_refused_before_they_are_drawn(composed, monkeypatch):
    monkeypatch.setattr("learnsym.data.images.shapes.draw_shapes", None)
    with pytest.raises(ConfigError, match="net: task=segmentation"):
        dry_build(composed("dataset=shapes"))


def test_copies_are_averaged_as_the_loss_wants_it(composed, tmp_path):
    for loss, task, kind in (
        ("likelihood", "classification", Classification),
        ("squared_error", "regression", SquaredError),
    ):
        cfg = composed(
            "dataset.train_size=8",
            "dataset.test_size=8",
            "net.backbone.width=2",
            f"train.loss={loss}",
        )
        session = build_context(Fabric(accelerator="cpu", devices=1), cfg, RunDirectory(tmp_path))
        assert session.net.task == task
        assert type(session.training.task) is kind


def test_a_loss_that_does_not_go_with_the_data_is_the_loss_that_is_named(
    composed, tmp_path, monkeypatch
):
    monkeypatch.setattr("learnsym.run.context.dry_forward", lambda net, data: None)
    cfg = composed(
        "dataset=shapes",
        "dataset.count=8",
        "dataset.test_size=8",
        "net=conv5",
        "net.width=2",
        "train.loss=squared_error",
    )
    with pytest.raises(
        ConfigError, match=r"train\.loss=squared_error .* dataset=shapes is a task of segmentation"
    ):
        build_context(Fabric(accelerator="cpu", devices=1), cfg, RunDirectory(tmp_path))


@pytest.mark.parametrize(
    ("task", "loss"), [("segmentation", "likelihood"), ("classification", "squared_error")]
)
def test_the_loop_learns_it(make, task, loss):
    torch.manual_seed(0)
    masks = task == "segmentation"
    net = nn.Conv2d(1, 2, 1) if masks else nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    training = make(net, data_of(task), loss=loss, epochs=40)
    training.fit()
    rows = training.recorder.rows
    assert rows[-1]["train_loss"] < 0.9 * rows[0]["train_loss"]
    assert set(training.evaluate("test")) == (
        {"loss", "pixel_accuracy", "iou"} if masks else {"loss", "accuracy"}
    )


def test_a_response_to_the_angle_is_drawn_of_likelihoods_alone():
    from learnsym.modes.train import Train

    for task, loss in (("classification", "squared_error"), ("segmentation", "likelihood")):
        session = SimpleNamespace(
            data=data_of(task), training=SimpleNamespace(settings=SimpleNamespace(loss=loss))
        )
        assert Train()._response(session) == {}
