"""scikit-learn's handwritten digits, which come with the library."""

from dataclasses import dataclass

import torch

from learnsym.data.base import ExampleSpec, Split
from learnsym.data.images.base import Parts, RotatedImages
from learnsym.data.images.mnist import DIGITS


@dataclass(eq=False, kw_only=True)
class Digits(RotatedImages):
    """Handwritten digits, 1 x 8 x 8, ten classes."""

    name = "digits"
    spec = ExampleSpec((1, 8, 8), 10)
    class_names = DIGITS
    channel_mean, channel_std = (0.3053,), (0.3761,)

    def load(self) -> Parts:
        """Return all 1 797 digits, uint8 (ink 0..16 scaled to 0..255)."""
        import sklearn.datasets

        bunch = sklearn.datasets.load_digits()
        ink = torch.from_numpy(bunch.images)[:, None] * (255 / 16)
        digits = Split(ink.round().to(torch.uint8), torch.from_numpy(bunch.target).long())
        train, test, _ = self.hold_out_test(digits, "digits")
        held_out = f"of which {len(test)} were held out for testing (seed {self.seed})."
        return train, test, f"scikit-learn's digits, {held_out}"
