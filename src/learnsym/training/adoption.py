"""Prepare data for a trained network: its normalisation, classes and targets, and no leak."""

from dataclasses import replace
from pathlib import Path

import torch

from learnsym.data.base import Data, Split
from learnsym.errors import CheckpointError
from learnsym.schema import PlainDict, PlainMapping

_DRAWS = ("seed", "test_fraction", "test_people", "train_size", "val_size")
"""Settings of a data set that draw its test part anew, where that is held out."""


def adopt(
    data: Data, dataset: PlainMapping, state: PlainDict, trained: PlainMapping, path: Path
) -> None:
    """Make data, of the settings `dataset`, those of the network of a checkpoint at `path`.

    The network's own data had the settings `trained`. What differs is added to the remarks of the
    data. A CheckpointError refuses classes that the network does not know, and test examples that
    it was trained on.
    """
    stored = state.get("data") or {}
    fingerprint = data.fingerprint  # of what was read, before classes are numbered anew
    if "hashes" not in stored:
        _refuse_another_draw(data, dataset, trained, path)
        data.remarks += (
            f"checkpoint {path} is of an earlier version: it does not say which examples were "
            "trained on" + ("." if stored else ", nor how they were normalised: as they are now."),
        )
    elif stored["fingerprint"] != fingerprint and not data.redrawn:
        _refuse_seen(data, dataset, stored, trained, path)
    if stored:
        _match_classes(data, stored["info"], path)
        fields = ("mean", "std", "class_names", "num_outputs")
        info = {key: stored["info"][key] for key in fields}
        lists = {key: tuple(value) for key, value in info.items() if isinstance(value, list)}
        data.info = replace(data.info, **info | lists)
        of_task = ("centre", "scale", "mean")
        data.trained_targets = {key: tuple(stored[key]) for key in of_task if stored.get(key)}
        shape, before = data.info.input_shape, tuple(stored["info"]["input_shape"])
        if data.kind == "images" and shape != before:
            data.remarks += (
                f"images are {list(shape)}; the network was trained on {list(before)}.",
            )


def _refuse_seen(
    data: Data, dataset: PlainMapping, stored: PlainDict, trained: PlainMapping, path: Path
) -> None:
    """Refuse test examples that were trained on, but for copies that the data have themselves."""
    test = data.hashes["test"]
    seen = torch.isin(test, stored["hashes"]) & ~torch.isin(test, stored["copies"])
    if not seen.any():
        return
    text = f"checkpoint {path}: {int(seen.sum())} of the {len(seen)} test examples were trained on"
    same_files = all(trained.get(key) == dataset.get(key) for key in ("_target_", "file", "path"))
    if same_files and not data.held_out:
        data.remarks += (f"{text}: the test part has copies of training examples.",)
        return
    raise CheckpointError(
        f"{text}. Try the data and the settings of the training (dataset.seed, "
        "dataset.test_fraction, ...), or data of their own."
    )


def _refuse_another_draw(
    data: Data, dataset: PlainMapping, trained: PlainMapping, path: Path
) -> None:
    """Refuse a test part that was drawn from the same examples by other settings."""
    if not data.held_out or trained.get("_target_") != dataset.get("_target_"):
        return
    if changed := [key for key in _DRAWS if trained.get(key) != dataset.get(key)]:
        key = changed[0]
        raise CheckpointError(
            f"checkpoint {path}: dataset.{key}={dataset.get(key)} draws another test part, with "
            f"examples that were trained on. Try dataset.{key}={trained.get(key)}."
        )


def _match_classes(data: Data, info: PlainMapping, path: Path) -> None:
    """Match the classes of the data with the network's, by name."""
    if data.info.task != info["task"]:
        raise CheckpointError(
            f"checkpoint {path}: it was trained for {info['task']}, but dataset="
            f"{data.info.name} is a task of {data.info.task}."
        )
    names, trained = list(data.info.class_names), list(info["class_names"])
    if data.info.task != "classification":
        if data.info.num_outputs != info["num_outputs"]:
            raise CheckpointError(
                f"checkpoint {path}: it was trained on {info['num_outputs']} targets, but dataset="
                f"{data.info.name} has {data.info.num_outputs}."
            )
        return
    if names == trained:
        return
    if len(names) == len(trained) and not set(names) & set(trained):
        pairs = ", ".join(f"{n} as {t}" for n, t in zip(names, trained, strict=True))
        data.remarks += (f"classes have other names than in training, and are taken for: {pairs}.",)
        return
    numbers = torch.tensor([trained.index(n) if n in trained else -1 for n in names])
    for name, split in data.splits.items():
        targets = numbers[split.targets]
        if (targets < 0).any():
            unknown = [names[i] for i in split.targets[targets < 0].unique()]
            raise CheckpointError(
                f"checkpoint {path}: dataset={data.info.name} has the classes "
                f"{', '.join(unknown)}, which it was not trained on; it knows "
                f"{', '.join(trained)}."
            )
        data.splits[name] = Split(split.inputs, targets)
    missing = [n for n in trained if n not in names]
    data.remarks += (
        "classes are matched by name"
        + (f"; there is none of {', '.join(missing)}." if missing else "."),
    )
