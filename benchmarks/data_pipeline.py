"""Images per second delivered to the training loop, against torch's DataLoader over torchvision's
own data sets.

    python benchmarks/data_pipeline.py --data ../shared/data

Ours: a batch is selected by index from the images held as bytes, in a shuffled order, then
`prepare`d (scaled, normalised).
Theirs: torchvision's class with ToTensor and Normalize behind a DataLoader with two workers, which
starts them anew for each pass, as it does by default. Both deliver float32 batches of 128 from the
training set; repetitions alternate, medians are compared. The target is a ratio of at least 10.
Each pass goes through at most --images images.

Needs idle cores: where others take them, torch's threads wait for each other in each of our small
operations (OMP_NUM_THREADS=1 avoids that and shows the ratio even then).
"""

import argparse
import gzip
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torchvision
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchvision.transforms import Compose, Normalize, ToTensor

from learnsym.data.base import ImageData
from learnsym.data.images.cifar import CIFAR10
from learnsym.data.images.mnist import MNIST

Batches = Iterator[tuple[Tensor, Tensor]]


def ours(data: ImageData, batch: int, limit: int) -> Batches:
    """One shuffled pass over at most `limit` training images, as the training loop makes it."""
    train = data.splits["train"]
    for indices in torch.randperm(len(train))[:limit].split(batch):
        yield data.prepare(train.inputs[indices], train=True), train.targets[indices]


def theirs(dataset: torch.utils.data.Dataset, batch: int, limit: int, workers: int) -> Batches:
    """The same by torch's loader; workers copy what they need."""
    chosen = Subset(dataset, torch.randperm(len(dataset))[:limit].tolist())
    yield from DataLoader(chosen, batch, shuffle=True, num_workers=workers)


def torchvision_mnist(folder: str, scratch: str, data: ImageData) -> torch.utils.data.Dataset:
    """torchvision's MNIST from the real files, which it wants unzipped."""
    raw = Path(scratch) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for zipped in (Path(folder) / "MNIST" / "raw").glob("*.gz"):
        (raw / zipped.stem).write_bytes(gzip.decompress(zipped.read_bytes()))
    return torchvision.datasets.MNIST(scratch, transform=usual(data))


def torchvision_cifar10(data: ImageData) -> torch.utils.data.Dataset:
    """An object of torchvision's class, filled from our arrays: its pickles may be absent."""
    dataset = torchvision.datasets.CIFAR10.__new__(torchvision.datasets.CIFAR10)
    dataset.data = data.splits["train"].inputs.permute(0, 2, 3, 1).contiguous().numpy()
    dataset.targets = data.splits["train"].targets.tolist()
    dataset.transform, dataset.target_transform = usual(data), None
    return dataset


def usual(data: ImageData) -> Compose:
    """The usual transform: bytes to reals, then normalisation."""
    return Compose([ToTensor(), Normalize(data.info.mean, data.info.std)])


def images_per_second(make: Callable[[], Batches]) -> float:
    """The rate over one whole pass, starting of workers included."""
    start, count = time.perf_counter(), 0
    for images, _ in make():
        count += len(images)
    return count / (time.perf_counter() - start)


def same_pictures(data: ImageData, dataset: torch.utils.data.Dataset) -> bool:
    """Both ways lead to the same numbers: otherwise the comparison would be void."""
    rows = list(range(0, len(dataset), len(dataset) // 50))
    expected = torch.stack([dataset[row][0] for row in rows])
    return torch.allclose(
        data.prepare(data.splits["train"].inputs[rows], train=True), expected, atol=1e-5
    )


def compare(
    name: str, data: ImageData, dataset: torch.utils.data.Dataset, options: argparse.Namespace
) -> float:
    """Print both rates and return their ratio."""
    if not same_pictures(data, dataset):
        raise SystemExit(f"{name}: the two pipelines do not deliver the same pictures")
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(options.repetitions):
        rates["ours"].append(images_per_second(lambda: ours(data, options.batch, options.images)))
        rates["theirs"].append(
            images_per_second(
                lambda: theirs(dataset, options.batch, options.images, options.workers)
            )
        )
    ours_rate, theirs_rate = (statistics.median(rates[key]) for key in ("ours", "theirs"))
    ratio = ours_rate / theirs_rate
    print(
        f"{name}: {ours_rate:,.0f} images/s, DataLoader {theirs_rate:,.0f} images/s, ratio "
        f"{ratio:.1f}"
    )
    return ratio


def main() -> None:
    """Both data sets; exit code 1 if a ratio is below the target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data", help="folder of the real data")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=60_000, help="at most so many per pass")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    parser.add_argument(
        "--target", type=float, default=10.0, help="smallest ratio that is good enough"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        mnist, cifar10 = MNIST(options.data), CIFAR10(options.data)
        ratios = [
            compare("mnist", mnist, torchvision_mnist(options.data, scratch, mnist), options),
            compare("cifar10", cifar10, torchvision_cifar10(cifar10), options),
        ]
    sys.exit(0 if min(ratios) >= options.target else 1)


if __name__ == "__main__":
    main()
