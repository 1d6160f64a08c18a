"""Synthetic twins: random examples of the form that a data set declares, so that what fits it can
be tried without its files.
"""

import torch

from learnsym.data.base import Data, DataInfo, Form, ImageData, Split
from learnsym.data.molecules.base import PointData
from learnsym.data.molecules.files import as_examples
from learnsym.data.molecules.toy import make, toy_energy
from learnsym.utils.rng import generator


def twin(form: Form, name: str, examples: int = 2, seed: int = 0) -> Data:
    """A data set of so many random examples to train on and as many to test.

    Args:
        form: of an example and its target.
        name: as in `dataset=`.
        examples: of each split.
        seed: of the examples.
    """
    splits = {part: _split(form, examples, seed, part) for part in ("train", "test")}
    classes = form.task != "regression"
    images = form.kind == "images"
    info = DataInfo(
        name=name,
        task=form.task,
        input_shape=tuple(splits["train"].inputs.shape[1:]),
        num_outputs=form.outputs,
        class_names=tuple(map(str, range(form.outputs))) if classes else (),
        target_unit="",
        mean=(0.5,) * form.shape[0] if images else (),
        std=(0.5,) * form.shape[0] if images else (),
        sizes=dict.fromkeys(splits, examples),
        provenance=f"A synthetic twin of {name}.",
        target_error="squared" if images else "absolute",
    )
    return ImageData(info, splits) if images else PointData(info, splits)


def _split(form: Form, examples: int, seed: int, part: str) -> Split:
    draws = generator(seed, f"twin {part}")
    if form.kind == "points":
        charges, positions = make(examples, draws)
        return as_examples(
            (charges.numpy(), positions.numpy(), toy_energy(charges, positions).numpy()),
            part,
            "mev",
        )
    inputs = torch.randint(0, 256, (examples, *form.shape), generator=draws, dtype=torch.uint8)
    if form.task == "classification":
        return Split(inputs, torch.arange(examples) % form.outputs)
    if form.task == "segmentation":
        return Split(
            inputs,
            torch.randint(0, 2, (examples, form.outputs, *form.shape[1:]), generator=draws).float(),
        )
    return Split(inputs, torch.randn(examples, form.outputs, generator=draws))
