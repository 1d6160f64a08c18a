"""How the layers of a network sample a stabiliser: what a configuration says, and what that comes
to for a group.
"""

from dataclasses import dataclass
from typing import Literal

from learnsym.groups.point_groups import Cyclic, Dihedral, Stabiliser
from learnsym.schema import Fraction, Positive, Size

Randomness = Literal["random", "deterministic"]
SampleSets = Literal["network", "layer", "image"]


@dataclass(frozen=True)
class FullSampling:
    """How the layers of a network sample the stabiliser, all of it.

    Attributes:
        samples: elements in a set; None: 8, or all of a finite group.
        sampling: "random": a random offset for every set; "deterministic": the finite subgroup with
            so many elements, always the same. None: deterministic for a finite group, random
                otherwise.
        sample_sets: who shares a set: all layers of the "network", all images in a "layer", or
            none: one for each "image" and layer. None: layer if the sampling is random, network if
                it is deterministic.
        evaluation: "even": one fixed, evenly spaced set in evaluation; "random": as in training.
    """

    samples: Size | None = None
    sampling: Randomness | None = None
    sample_sets: SampleSets | None = None
    evaluation: Literal["even", "random"] = "even"

    partial = False

    def __post_init__(self) -> None:
        if self.sampling == "deterministic" and self.sample_sets in ("layer", "image"):
            raise ValueError(
                f"sampling=deterministic goes with sample_sets=network, since there is only one set; "
                f"sample_sets={self.sample_sets} needs sampling=random"
            )

    def resolve(self, stabiliser: Stabiliser) -> "ResolvedSampling":
        """What these settings come to for a stabiliser; ValueError where they make no sense with
        it.
        """
        samples, sampling = self.samples, self.sampling
        if stabiliser.order is not None:
            if samples not in (None, stabiliser.order):
                raise ValueError(
                    f"samples={samples}, but {stabiliser} has {stabiliser.order} elements: leave samples null"
                )
            if sampling == "random":
                raise ValueError(
                    f"sampling=random has no effect on {stabiliser}, which is finite: leave it null, or take se2 or e2"
                )
            samples, sampling = stabiliser.order, "deterministic"
        samples, sampling = samples or 8, sampling or "random"
        if stabiliser.has_mirror and samples % 2:
            raise ValueError(
                f"samples={samples} for {stabiliser}: half of them are mirror images, so an even number is right"
            )
        if sampling == "deterministic" and stabiliser.order is None:
            rotations = samples // 2 if stabiliser.has_mirror else samples
            stabiliser = Dihedral(rotations) if stabiliser.has_mirror else Cyclic(rotations)
        sets = self.sample_sets or ("network" if sampling == "deterministic" else "layer")
        if sampling == "deterministic" and sets != "network":
            raise ValueError(
                f"sample_sets={sets} has no effect on {stabiliser}, which is always sampled whole: leave it null"
            )
        self._check(stabiliser, sampling, sets)
        return ResolvedSampling(stabiliser, samples, sampling == "random", sets)

    def _check(self, stabiliser: Stabiliser, sampling: Randomness, sets: SampleSets) -> None:
        """Nothing further to refuse."""


@dataclass(frozen=True)
class PartialSampling(FullSampling):
    """How the layers of a network sample the stabiliser: a part of it, learned by every group
    convolution.

    Attributes:
        initial_arc: theta at the start.
        initial_keep: probability at the start of a mirror image, and of the elements of a finite
            group.
        temperature, last_temperature: of the Gumbel-sigmoid, at the start and at the end of the
            training.
    """

    initial_arc: Fraction = 1.0
    initial_keep: Fraction = 0.5
    temperature: Positive = 0.5
    last_temperature: Positive = 1e-4

    partial = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample_sets == "network" and self.sampling == "random":
            raise ValueError(_ONE_SET)
        if not 0 < self.initial_keep < 1:
            raise ValueError(
                f"initial_keep={self.initial_keep}: it must lie between 0 and 1, both excluded, to be learned"
            )

    def _check(self, stabiliser: Stabiliser, sampling: Randomness, sets: SampleSets) -> None:
        if stabiliser.trivial:
            raise ValueError(
                "conv=partial has nothing to learn on translation2, whose stabiliser is trivial: take conv=full"
            )
        if sampling == "random" and sets == "network":
            raise ValueError(_ONE_SET)


_ONE_SET = (
    "conv=partial with sampling=random and sample_sets=network: every layer learns its own part of the group, so one set cannot "
    "serve all; take sample_sets=layer or image, or sampling=deterministic"
)


@dataclass(frozen=True)
class ResolvedSampling:
    """Settings as resolved for a stabiliser: a number of samples, random or not, and who shares a
    set.
    """

    stabiliser: Stabiliser
    samples: int
    random: bool
    sets: SampleSets
