"""Checkpoints: tensors and plain containers, written atomically, read with weights_only=True."""

import random
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from zipfile import BadZipFile

import numpy as np
import torch
from torch import nn

from learnsym.data.base import Data, ImageData
from learnsym.data.molecules.base import PointData
from learnsym.errors import CheckpointError
from learnsym.schema import PlainDict
from learnsym.training.tasks import Task
from learnsym.utils.files import write_atomically

FORMAT = 1
_DAMAGED = (RuntimeError, EOFError, OSError, ValueError, KeyError, BadZipFile, UnpicklingError)


def save(path: Path, state: PlainDict) -> None:
    """Write a checkpoint so that a crash leaves the old one or the new one, whole."""
    write_atomically(path, lambda file: torch.save({"format": FORMAT, **state}, file))


def load(path: Path, advice: str = "") -> PlainDict:
    """Read a checkpoint to the CPU and execute nothing; its error ends with the advice."""
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path}: there is no such file.")
    advice = f"; {advice}." if advice else "."
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickles that it refuses anyway
            state = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        raise CheckpointError(
            f"checkpoint {path}: it cannot be read as tensors and plain containers (truncated, or "
            f"not written by LearnSym){advice}"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {path}: this is not a LearnSym checkpoint of format {FORMAT}{advice}"
        )
    return state


def load_weights(net: nn.Module, state: PlainDict, path: Path) -> None:
    """Put the weights of a checkpoint, as `load` returns it, into a network that they fit."""
    try:
        net.load_state_dict(state["net"])
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[-1].strip()
        text = f"checkpoint {path}: it does not fit this network ({reason})."
        raise CheckpointError(text) from error


def configuration(path: Path, sections: Iterable[str]) -> PlainDict:
    """Return the configuration that a checkpoint was trained with, which has these sections.

    It holds plain values alone: an interpolation could ask for this machine's environment.
    """
    config = load(path).get("config")
    nodes = [config.get(section) for section in sections] if isinstance(config, dict) else [None]
    if not all(isinstance(n, dict) and isinstance(n.get("_target_"), str) for n in nodes):
        raise CheckpointError(
            f"checkpoint {path}: it does not say with which configuration it was trained."
        )
    if (value := next(_not_plain(config), None)) is not None:
        raise CheckpointError(
            f"checkpoint {path}: its configuration holds {value}; expected plain values."
        )
    return dict(config or {})


def _not_plain(node: object) -> Iterator[str]:
    """Yield descriptions of what is no plain value."""
    if isinstance(node, dict | list):
        for value in [*node, *node.values()] if isinstance(node, dict) else node:
            yield from _not_plain(value)
    elif isinstance(node, str) and "${" in node:
        yield f"the interpolation {node!r}"
    elif node is not None and not isinstance(node, str | int | float):
        yield f"a {type(node).__name__}"


def describe(data: Data, task: Task) -> PlainDict:
    """Return what belongs to a network that was trained on a data set.

    That is: names, normalisation, and which examples it saw; `kind` is None where the data set
    prepares its examples in a way of its own.
    """
    is_plain = type(data).prepare in (ImageData.prepare, PointData.prepare)
    train, test = data.hashes["train"], data.hashes["test"]
    return {
        "info": asdict(data.info),
        "kind": data.kind if is_plain else None,
        "center": data.center if isinstance(data, PointData) else None,
        "centre": getattr(task, "centre", ()),
        "scale": getattr(task, "scale", ()),
        "mean": getattr(task, "mean", ()),
        "fingerprint": data.fingerprint,
        "hashes": train,
        "copies": test[torch.isin(test, train)],
    }


def random_state() -> PlainDict:
    """Return the state of every random number generator, as plain containers and tensors."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - libraries may draw from the global one
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, list(internal), gauss_next],
    }


def set_random_state(state: PlainDict) -> None:
    """Put every random number generator back to where `random_state` found it."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
