"""Settings that say how the layers of a network sample a stabiliser."""

from dataclasses import dataclass
from typing import Literal

from learnsym.groups.point_groups import Cyclic, Dihedral, Stabiliser
from learnsym.schema import Fraction, Positive, Size

_SampleSets = Literal["network", "layer", "image"]


@dataclass(frozen=True)
class ResolvedSampling:
    """The settings as they apply to H, or to the finite subgroup of it that is sampled."""

    stabiliser: Stabiliser
    samples: int
    random: bool
    sets: _SampleSets


@dataclass(frozen=True)
class FullSampling:
    """How the layers of a network sample the stabiliser, all of it.

    Attributes:
        samples: elements in a set; None: 8, or all of a finite group.
        sampling: "random": a random offset for every set; "deterministic": the finite subgroup with
            so many elements. None: deterministic for a finite group, random otherwise.
        sample_sets: who shares a set: all layers of the "network", all images in a "layer", or
            none: one for each "image" and layer. None: layer if random, else network.
        evaluation: "even": one fixed, evenly spaced set in evaluation; "random": as in training.
    """

    samples: Size | None = None
    sampling: Literal["random", "deterministic"] | None = None
    sample_sets: _SampleSets | None = None
    evaluation: Literal["even", "random"] = "even"

    partial = False

    def __post_init__(self) -> None:
        if self.sampling == "deterministic" and self.sample_sets in ("layer", "image"):
            raise ValueError(
                f"sampling=deterministic goes with sample_sets=network, since there is only one "
                f"set; sample_sets={self.sample_sets} needs sampling=random"
            )

    def resolve(self, stabiliser: Stabiliser) -> ResolvedSampling:
        """Return the settings as they apply to a stabiliser; refuse what makes no sense with it."""
        if stabiliser.order is not None:
            return self._resolve_finite(stabiliser)
        samples, sampling = self.samples or 8, self.sampling or "random"
        if stabiliser.has_mirror and samples % 2:
            raise ValueError(
                f"Expected an even number of samples for {stabiliser}, half of which are mirror "
                f"images, got samples={samples}."
            )
        if sampling == "deterministic":
            subgroup = Dihedral(samples // 2) if stabiliser.has_mirror else Cyclic(samples)
            return ResolvedSampling(subgroup, samples, random=False, sets="network")
        return ResolvedSampling(stabiliser, samples, True, self.sample_sets or "layer")

    def _resolve_finite(self, stabiliser: Stabiliser) -> ResolvedSampling:
        """Return the settings for a finite stabiliser, which is always sampled whole."""
        assert stabiliser.order is not None
        if self.samples not in (None, stabiliser.order):
            raise ValueError(
                f"samples={self.samples}, but {stabiliser} has {stabiliser.order} elements: "
                "leave samples null"
            )
        finite = f"has no effect on {stabiliser}, which is finite and sampled whole: leave it null"
        if self.sampling == "random":
            raise ValueError(f"sampling=random {finite}, or take se2 or e2")
        if self.sample_sets in ("layer", "image"):
            raise ValueError(f"sample_sets={self.sample_sets} {finite}")
        return ResolvedSampling(stabiliser, stabiliser.order, random=False, sets="network")


@dataclass(frozen=True)
class PartialSampling(FullSampling):
    """How the layers sample a subset of the stabiliser, which every group convolution learns.

    At the start theta is `initial_arc`, and the probability of a mirror image, and of the elements
    of a finite group, `initial_keep`. The temperatures are those of the Gumbel-sigmoid.
    """

    initial_arc: Fraction = 1.0
    initial_keep: Fraction = 0.5
    temperature: Positive = 0.5
    last_temperature: Positive = 1e-4

    partial = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.initial_keep < 1:
            raise ValueError(
                f"initial_keep={self.initial_keep}: to be learned it must lie between 0 and 1, "
                "both excluded"
            )

    def resolve(self, stabiliser: Stabiliser) -> ResolvedSampling:
        """Return the settings as they apply to a stabiliser, which must not be trivial."""
        resolved = super().resolve(stabiliser)
        if stabiliser.trivial:
            raise ValueError(
                "conv=partial has nothing to learn on translation2, whose stabiliser is trivial: "
                "take conv=full"
            )
        if resolved.random and resolved.sets == "network":
            raise ValueError(
                "conv=partial with sampling=random and sample_sets=network: every layer learns "
                "which subset of the group it needs, so one set cannot serve all; take "
                "sample_sets=layer or image, or sampling=deterministic"
            )
        return resolved
