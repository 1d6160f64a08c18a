"""Synthetic data of a declared form, to try networks without files."""

import torch

from learnsym.data.base import Data, DataInfo, ExampleSpec, ImageData, Split
from learnsym.data.molecules.base import PointData
from learnsym.data.molecules.examples import molecule_info
from learnsym.data.molecules.toy import toy_split
from learnsym.utils.rng import generator


def synthetic_like(spec: ExampleSpec, name: str, examples: int = 2, seed: int = 0) -> Data:
    """Make a data set of random examples.

    Args:
        spec: form of an example and its target.
        name: as in `dataset=`.
        examples: so many to train on and as many to test.
        seed: of the examples.
    """
    source = f"A synthetic twin of {name}."
    draws = {part: generator(seed, f"twin {part}") for part in ("train", "test")}
    if spec.kind == "points":
        splits = {part: toy_split(examples, draw) for part, draw in draws.items()}
        return PointData(molecule_info(name, splits, "", source), splits)
    splits = {part: _images(spec, examples, draw) for part, draw in draws.items()}
    info = DataInfo.of(
        name,
        splits,
        source,
        task=spec.task,
        class_names=tuple(map(str, range(spec.outputs))) if spec.task != "regression" else (),
        num_outputs=spec.outputs,
        mean=(0.5,) * spec.shape[0],
        std=(0.5,) * spec.shape[0],
    )
    return ImageData(info, splits)


def _images(spec: ExampleSpec, examples: int, draws: torch.Generator) -> Split:
    inputs = torch.randint(0, 256, (examples, *spec.shape), generator=draws, dtype=torch.uint8)
    if spec.task == "classification":
        return Split(inputs, torch.arange(examples) % spec.outputs)
    if spec.task == "segmentation":
        shape = (examples, spec.outputs, *spec.shape[1:])
        return Split(inputs, torch.randint(0, 2, shape, generator=draws).float())
    return Split(inputs, torch.randn(examples, spec.outputs, generator=draws))
