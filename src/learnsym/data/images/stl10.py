"""STL-10: the labelled part, from the canonical binary files."""

from dataclasses import dataclass

from learnsym.data.base import ExampleSpec
from learnsym.data.images.base import Parts, PublishedImages
from learnsym.data.images.cifar import MEAN, STD

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


@dataclass(eq=False)
class STL10(PublishedImages):
    """Photographs, 3 x 96 x 96, ten classes, 5 000 for training and 8 000 for testing."""

    name = "stl10"
    spec = ExampleSpec((3, 96, 96), 10)
    class_names = CLASSES
    channel_mean, channel_std = MEAN, STD

    def load_published(self) -> Parts:
        """Return the labelled images."""
        import torchvision.datasets

        class Labelled(torchvision.datasets.STL10):
            # Without the 2.7 GB of unlabelled images, which need not be there and are not checked.
            train_list = torchvision.datasets.STL10.train_list[:2]

        return self.load_torchvision(Labelled, {"split": "train"}, {"split": "test"})
