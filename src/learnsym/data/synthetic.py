"""Synthetic data of a declared form, to try networks without files."""

import torch

from learnsym.data.base import Data, DataInfo, ExampleSpec, ImageData, Split
from learnsym.data.molecules.base import PointData, molecule_info
from learnsym.data.molecules.toy import toy_split
from learnsym.utils.rng import generator


def synthetic_like(spec: ExampleSpec, name: str) -> Data:
    """Make a data set of two random examples to train on and two to test."""
    source = f"A synthetic twin of {name}."
    draws = {part: generator(0, f"twin {part}") for part in ("train", "test")}
    if spec.kind == "points":
        splits = {part: toy_split(2, draw) for part, draw in draws.items()}
        return PointData(molecule_info(name, splits, "", source), splits)
    splits = {part: _images(spec, draw) for part, draw in draws.items()}
    classes = tuple(map(str, range(spec.outputs))) if spec.task != "regression" else ()
    half = (0.5,) * spec.shape[0]
    form = {"task": spec.task, "class_names": classes, "num_outputs": spec.outputs}
    return ImageData(DataInfo.of(name, splits, source, mean=half, std=half, **form), splits)


def _images(spec: ExampleSpec, draws: torch.Generator) -> Split:
    inputs = torch.randint(0, 256, (2, *spec.shape), generator=draws, dtype=torch.uint8)
    if spec.task == "classification":
        return Split(inputs, torch.arange(2) % spec.outputs)
    if spec.task == "segmentation":
        shape = (2, spec.outputs, *spec.shape[1:])
        return Split(inputs, torch.randint(0, 2, shape, generator=draws).float())
    return Split(inputs, torch.randn(2, spec.outputs, generator=draws))
