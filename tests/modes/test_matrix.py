"""mode=matrix: verdicts are those of the command line; every valid combination trains a batch on a
twin of its data."""

import csv
import math
import random
from dataclasses import replace
from functools import cache

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning_fabric import Fabric
from omegaconf import OmegaConf
from twins import TWINS

from learnsym.config.build import build
from learnsym.config.resolvers import register_resolvers
from learnsym.config.search_path import CONFIG_DIR, choices_of
from learnsym.config.validate import check
from learnsym.modes.combinations import Combinations, message_of, narrow_down
from learnsym.modes.matrix import Matrix, _pattern
from learnsym.run import context
from learnsym.run.checks import Request, check_combination, check_effect
from learnsym.run.context import build_context, build_network, dry_forward
from learnsym.run.directory import RunDirectory

pytestmark = pytest.mark.long  # composing all choices takes half a minute
NETS = [
    f"{net}/{backbone}" if backbone else net
    for net in choices_of("net")
    for backbone in (choices_of("net/backbone") if net.startswith("augerino") else [""])
]
NARROW = OmegaConf.to_container(OmegaConf.load(CONFIG_DIR / "mode" / "matrix.yaml").narrow)


@pytest.fixture(scope="module")
def hydra():
    torch.set_num_threads(1)
    register_resolvers()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def combinations(hydra):
    return Combinations(NARROW)


@pytest.fixture(scope="module")
def twin_of(tmp_path_factory):
    """twin_of(dataset) gives the overrides that read its twin, for data sets that read files."""
    folder = tmp_path_factory.mktemp("twins")
    return lambda dataset: TWINS[dataset](folder) if dataset in TWINS else []


@pytest.fixture(scope="module")
def data_of(twin_of, hydra):
    """data_of(dataset) builds it, once, from a twin of its files."""

    @cache
    def built(dataset):
        twin = twin_of(dataset)
        words = (
            twin if any(w.startswith("dataset=") for w in twin) else [f"dataset={dataset}", *twin]
        )
        held_out = (
            ["dataset.val_size=10"] if dataset in ("rotmnist", "qm9") else []
        )  # more than there are by default
        data = build(compose("config", overrides=[*words, *held_out]), "dataset")
        if dataset == "qm9":
            data.info = replace(data.info, name="qm9")
        return data

    return built


def test_all_choices_are_there(combinations):
    assert combinations.nets == NETS
    assert combinations.datasets == choices_of("dataset")
    assert {cell.base_group for cell in combinations} == {None, *choices_of("base_group")}
    assert {cell.conv for cell in combinations} == {None, *choices_of("conv")}


# --- the verdicts are those of the command line


def sampled(combinations):
    """Combinations with recipes: some at random, and more of those that get as far as data, which
    are few."""
    draw = random.Random(0)
    everything = list(combinations)
    taken = [c for c in everything if c == combinations.stripped(c)]
    chosen = draw.sample(everything, 25) + draw.sample(taken, 35)
    recipes = [draw.choice(combinations.recipes) for _ in chosen]
    return [
        replace(combination, optimizer=optimizer, schedule=schedule)
        for combination, (optimizer, schedule) in zip(chosen, recipes, strict=True)
    ]


def test_verdicts_are_those_of_the_command_line(combinations, data_of):
    valid = 0
    for combination in sampled(combinations):
        composed = combinations.config(combination)
        from_file = combination.dataset in combinations.from_files
        files = [f"dataset.{k}=FILE" for k, value in composed.dataset.items() if value == "FILE"]
        cfg = compose("config", overrides=combination.overrides + files)
        assert cfg == composed
        message = message_of(checks_of_a_run, cfg, combination.overrides)
        if message is None and not from_file:
            message = message_of(fit, cfg, data_of(combination.dataset))
        refusal = combinations.refusal(combination)
        if message is None and from_file:
            refusal = None  # only the file can tell
        assert refusal == message, combination
        valid += message is None
    assert valid > 3


def fit(cfg, data):
    """Put an example through the network, as `learnsym.run.context.build_context` does."""
    dry_forward(build_network(cfg, data), data)


def checks_of_a_run(cfg, overrides):
    """Make those of `learnsym.run.checks.check_request`."""
    check(cfg)
    request = Request(cfg, overrides, {"mode": "train"})
    check_effect(request)
    check_combination(request)


@pytest.mark.parametrize("dataset", choices_of("dataset"))
def test_data_are_of_the_form_that_they_declare(combinations, data_of, dataset):
    data, form = data_of(dataset), combinations.classes[dataset].spec
    if dataset in combinations.from_files:
        assert form is None
        return
    found = data.info.input_shape
    if form.kind == "points":
        assert found[1:] == form.shape[1:]
    else:
        assert found == form.shape
    assert (data.info.num_outputs, data.info.task, data.kind) == (
        form.outputs,
        form.task,
        form.kind,
    )


# --- every valid combination trains


@pytest.mark.parametrize("net", NETS)
def test_every_valid_combination_trains_a_batch(combinations, data_of, tmp_path, monkeypatch, net):
    """Data sets of one form share what is trained, save that every data set trains every network
    once; recipes take turns."""
    trained = set()
    for combination in combinations:
        if combination.net != net or combinations.refusal(combination) is not None:
            continue
        data = data_of(combination.dataset)
        choices = (combination.conv, combination.base_group)
        choices += (data.info.input_shape, data.info.num_outputs)
        # The twin of a user's file is of CIFAR-10's shape, which is not what all networks take.
        misfit = combination.dataset in combinations.from_files and combinations.refusal(
            replace(combination, dataset="cifar10")
        )
        if misfit or (choices in trained and combination.dataset in trained):
            continue
        optimizer, schedule = combinations.recipes[len(trained) % len(combinations.recipes)]
        trained |= {choices, combination.dataset}
        monkeypatch.setattr(
            context,
            "build",
            lambda c, path, d=data, **more: d if path == "dataset" else build(c, path, **more),
        )
        combination = replace(combination, optimizer=optimizer, schedule=schedule)
        train_a_batch(combinations.config(combination), tmp_path)
    assert trained or net == "augerino_partial/lieconv", (
        "of images alone, around a backbone for point clouds"
    )


def train_a_batch(cfg, folder):
    """A step of four examples changes the weights, and its loss is a number."""
    narrow_down(cfg, NARROW)
    cfg.train.update({"epochs": 1, "max_steps": 1, "batch_size": 4})
    cfg.trainer.progress = False
    training = build_context(
        Fabric(accelerator="cpu", devices=1), cfg, RunDirectory(folder)
    ).training
    before = [p.detach().clone() for p in training.plain_net.parameters()]
    assert math.isfinite(training._train_epoch()["train_loss"])
    assert training.progress.step == 1
    assert any(
        (p != old).any() for p, old in zip(training.plain_net.parameters(), before, strict=True)
    )


# --- the command


def test_the_command_prints_and_writes_tables(hydra, tmp_path, capsys):
    cfg = OmegaConf.create({"paths": {"out": str(tmp_path)}})
    path = Matrix(["simple_conv", "projected_linear"], ["digits", "graphs", "shapes"], NARROW)(cfg)
    text = path.read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    with (path.parent / "matrix.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert f"of {len(rows)} combinations" in text
    good = {
        (row["net"], row["base_group"], row["dataset"]) for row in rows if row["valid"] == "yes"
    }
    assert good == {
        ("simple_conv", "", "digits"),
        ("simple_conv", "", "graphs"),
        ("projected_linear", "permutation", "graphs"),
    }
    assert all((row["reason"] == "") == (row["valid"] == "yes") for row in rows)
    assert "| projected_linear | -" in text
    assert (
        "| simple_conv, projected_linear " in text.partition("## Refused")[2]
        or "| projected_linear, simple_conv " in text
    )
    assert "ProjectedLinear needs images of at least 14 x 14 pixels and got 8 x 8" in "".join(
        row["reason"] for row in rows
    )


def test_refusals_are_grouped_by_their_reason():
    advice = "Try a net that does, such as net=augerino."
    first = f"base_group=se2 would have no effect: Conv5 takes no base_group. {advice}"
    second = f"base_group=e2 would have no effect: Conv13 takes no base_group. {advice}"
    third = f"conv=full would have no effect: Conv5 takes no conv. {advice}"
    assert _pattern(first) == _pattern(second) != _pattern(third)
