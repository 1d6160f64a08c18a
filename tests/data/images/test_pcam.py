"""PatchCamelyon from small HDF5 files of its form: read where indexed, the same numbers as from
memory, and never as a whole."""

import gzip
import hashlib
import pickle
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from learnsym.data.base import ImageData, Split
from learnsym.data.images import pcam
from learnsym.data.images.pcam import PCam
from learnsym.data.readers.hdf5 import Hdf5Images
from learnsym.distributions.base import parameter_groups
from learnsym.errors import DataError
from learnsym.training.loop import Training
from learnsym.training.schedules import Constant
from learnsym.training.settings import TrainSettings

LAYOUTS = {
    "plain": {},
    "one per chunk": {"chunks": (1, 96, 96, 3)},
    "compressed": {"chunks": (8, 96, 96, 3), "compression": "gzip", "compression_opts": 1},
}
COUNTS = {"train": 40, "valid": 16, "test": 20}


def write(path, key, array, **layout):
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=array, **layout)


@pytest.fixture
def made(tmp_path, twins):
    """The six files; returns images [N, C, H, W] and labels of each."""
    made = {}
    for seed, (part, count) in enumerate(COUNTS.items()):
        images, labels = made[part] = twins["blobs"](count, 3, 96, 2, seed)
        write(
            tmp_path / f"camelyonpatch_level_2_split_{part}_x.h5", "x", images.transpose(0, 2, 3, 1)
        )
        write(
            tmp_path / f"camelyonpatch_level_2_split_{part}_y.h5", "y", labels[:, None, None, None]
        )
    return made


@pytest.fixture(params=list(LAYOUTS))
def pair(tmp_path, twins, request):
    """Images in a file, and the same in memory."""
    images = twins["blobs"](30, 3, 96, 2)[0]
    write(tmp_path / "x.h5", "x", images.transpose(0, 2, 3, 1), **LAYOUTS[request.param])
    return Hdf5Images(tmp_path / "x.h5", "x"), torch.from_numpy(images)


# --- the lazy array


def test_it_is_indexed_like_a_tensor(pair):
    lazy, held = pair
    assert (lazy.shape, lazy.dtype, lazy.nbytes, len(lazy)) == (
        held.shape,
        held.dtype,
        held.nbytes,
        len(held),
    )
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    indices = [
        order,
        order[:7],
        torch.tensor([3, 3, 29, 0, 3, 4, 5]),
        torch.tensor([-1, -30]),
        torch.tensor([], dtype=torch.int64),
        order < 9,
        order[:6].view(2, 3),
        slice(None, 1),
        slice(4, 25, 5),
        slice(-2, None),
        slice(9, 3),
        11,
    ]
    for index in indices:
        assert torch.equal(lazy[index], held[index]), index
        assert lazy[index].is_contiguous()
    for wrong in (30, torch.tensor([0, 30]), torch.tensor([-31])):
        with pytest.raises(IndexError):
            lazy[wrong]
    assert torch.equal(torch.stack(list(lazy)), held)


def test_a_selection_reads_nothing_and_can_be_selected_from(pair):
    lazy, held = pair
    rows, again = torch.tensor([20, 3, 7, 8, 9]), torch.tensor([4, 0])
    some = lazy.select(rows)
    assert lazy._open is None
    assert some._open is None
    assert torch.equal(some[:], held[rows])
    assert some.nbytes == held[rows].nbytes
    assert torch.equal(some.select(again)[:], held[rows][again])


def test_it_becomes_a_tensor_on_a_device_piece_by_piece(pair, monkeypatch):
    lazy, held = pair
    monkeypatch.setattr("learnsym.data.readers.hdf5.CHUNK", 7)
    reads = []
    monkeypatch.setattr(
        Hdf5Images,
        "_read",
        lambda self, rows, read=Hdf5Images._read: reads.append(len(rows)) or read(self, rows),
    )
    assert torch.equal(lazy.to("cpu"), held)
    assert reads == [7, 7, 7, 7, 2]


def test_every_process_opens_the_file_for_itself(pair, monkeypatch):
    lazy, held = pair
    assert torch.equal(pickle.loads(pickle.dumps(lazy))[5:9], held[5:9])
    first, opened = lazy[:1], lazy._open[1]
    assert torch.equal(pickle.loads(pickle.dumps(lazy))[5:9], held[5:9]), (
        "what is open is not pickled"
    )
    assert torch.equal(lazy[1:2], held[1:2])
    assert lazy._open[1] is opened, "a process opens it once"
    monkeypatch.setattr("os.getpid", lambda: -1)  # as after a fork
    assert torch.equal(lazy[:1], first)
    assert lazy._open[1] is not opened


def test_files_that_are_not_right_are_named(tmp_path, pair):
    (tmp_path / "text.h5").write_text("no")
    write(tmp_path / "flat.h5", "x", np.zeros((3, 4)))
    for name, key, said in (
        ("text.h5", "x", "cannot be opened"),
        ("missing.h5", "x", "cannot be opened"),
        ("x.h5", "z", "has x but no array 'z'"),
        ("flat.h5", "x", r"shape \[N, H, W, C\], got \[3, 4\]"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            Hdf5Images(tmp_path / name, key)
        assert str(tmp_path / name) in str(caught.value)


def test_neighbours_are_read_at_once_and_no_list_of_rows(tmp_path, twins):
    """h5py reads a list of rows a hundred times as slowly where the array is chunked."""
    images = twins["blobs"](16, 3, 96, 2)[0].transpose(0, 2, 3, 1)
    write(tmp_path / "x.h5", "x", images, **LAYOUTS["one per chunk"])
    lazy = Hdf5Images(tmp_path / "x.h5", "x")
    lazy[0]
    asked = []

    class Spy:
        def __getattr__(self, name):
            return getattr(array, name)

        def __getitem__(self, rows):
            asked.append(rows)
            return array[rows]

    process, array = lazy._open
    lazy._open = process, Spy()
    rows = [5, 9, 3, 4, 9, 1]
    expected = torch.from_numpy(images[rows]).permute(0, 3, 1, 2)
    assert torch.equal(lazy[torch.tensor(rows)], expected)
    assert asked == [slice(1, 2), slice(3, 6), slice(9, 10)]


# --- the data set


def test_published_splits_are_read(tmp_path, made, no_network):
    data = PCam(str(tmp_path))
    assert dict(data.info.sizes) == {"train": 40, "val": 16, "test": 20}
    for name, part in (("train", "train"), ("val", "valid"), ("test", "test")):
        images, labels = made[part]
        np.testing.assert_array_equal(data.splits[name].inputs[:], images)
        np.testing.assert_array_equal(data.splits[name].targets, labels)
        assert data.splits[name].targets.dtype == torch.int64
        assert f"{name} images: only {len(images)} of" in data.info.provenance
    assert (data.info.input_shape, data.info.num_outputs) == ((3, 96, 96), 2)
    prepared = data.prepare(data.splits["train"].inputs[:2])
    expected = (made["train"][0][:2] / 255 - np.reshape(pcam.MEAN, (3, 1, 1))) / np.reshape(
        pcam.STD, (3, 1, 1)
    )
    np.testing.assert_allclose(prepared, expected, atol=1e-5)
    assert no_network == []


def test_subsets_are_by_index_nested_and_unread(tmp_path, made):
    whole = PCam(str(tmp_path), train_size=20, val_size=0, test_size=4)
    some = PCam(str(tmp_path), train_size=10, val_size=3)
    assert dict(whole.info.sizes) == {"train": 20, "test": 4}
    assert dict(some.info.sizes) == {"train": 10, "val": 3, "test": 20}
    assert all(
        split.inputs._open is None for data in (whole, some) for split in data.splits.values()
    )
    rows = some.splits["train"].inputs.rows
    assert rows.tolist() == sorted(rows.tolist())
    assert set(rows.tolist()) < set(whole.splits["train"].inputs.rows.tolist())
    np.testing.assert_array_equal(some.splits["train"].inputs[:], made["train"][0][rows])
    np.testing.assert_array_equal(some.splits["train"].targets, made["train"][1][rows])
    other = PCam(str(tmp_path), train_size=10, seed=1)
    assert other.splits["train"].inputs.rows.tolist() != rows.tolist()
    for part, most in (("train", 40), ("val", 16), ("test", 20)):
        with pytest.raises(
            DataError, match=rf"dataset\.{part}_size={most + 1} .*at most {most} is valid"
        ):
            PCam(str(tmp_path), **{f"{part}_size": most + 1})


def test_gzipped_files_are_checked_and_unpacked_once(tmp_path, made, monkeypatch, no_network):
    (tmp_path / "pcam").mkdir()
    for (part, what), _ in pcam.CHECKSUMS.items():
        path = tmp_path / pcam.FILE_NAME.format(pcam.PUBLISHED[part], what)
        content = gzip.compress(path.read_bytes())
        (tmp_path / "pcam" / f"{path.name}.gz").write_bytes(content)
        monkeypatch.setitem(pcam.CHECKSUMS, (part, what), f"md5:{hashlib.md5(content).hexdigest()}")
        path.unlink()
    data = PCam(str(tmp_path))
    np.testing.assert_array_equal(data.splits["val"].inputs[:], made["valid"][0])
    assert len(list((tmp_path / "pcam").glob("*.h5"))) == 6
    monkeypatch.setattr(pcam, "gunzip", lambda archive: pytest.fail("unpacked again"))
    assert dict(PCam(str(tmp_path)).info.sizes) == {"train": 40, "val": 16, "test": 20}
    (tmp_path / "pcam" / "camelyonpatch_level_2_split_valid_y.h5").unlink()
    monkeypatch.setitem(pcam.CHECKSUMS, ("val", "y"), "md5:" + 32 * "0")
    with pytest.raises(DataError, match=r"split_valid_y\.h5\.gz"):
        PCam(str(tmp_path))
    assert len(no_network) == 1


def test_a_broken_archive_leaves_no_file_behind(tmp_path):
    archive = tmp_path / "a.h5.gz"
    archive.write_bytes(gzip.compress(bytes(10**6))[:-20])
    with pytest.raises(DataError, match=r"a\.h5\.gz cannot be unpacked"):
        pcam.gunzip(archive)
    assert list(tmp_path.iterdir()) == [archive]


def test_missing_files_are_asked_for_and_then_said_where_to_put(tmp_path, no_network):
    with pytest.raises(
        DataError,
        match=r"train_x\.h5\.gz.*put it into .*/pcam, or set paths\.data"
        r".*zenodo\.org/records/2546921",
    ):
        PCam(str(tmp_path))
    assert no_network == [
        "https://zenodo.org/records/2546921/files/camelyonpatch_level_2_split_train_x.h5.gz"
    ]


def test_names_and_checksums_are_those_of_torchvision():
    from torchvision.datasets import PCAM

    for part, files in PCAM._FILES.items():
        for what, kind in (("x", "images"), ("y", "targets")):
            name, _, md5 = files[kind]
            assert pcam.FILE_NAME.format(pcam.PUBLISHED[part], what) == name
            assert pcam.CHECKSUMS[part, what] == f"md5:{md5}"


@pytest.mark.parametrize(
    ("what", "array", "said"),
    [
        (
            "x",
            np.zeros((16, 96, 96, 1), np.uint8),
            r"Expected images of shape \[3, 96, 96\], torch.uint8, got \[1, 96, 96\]",
        ),
        ("x", np.zeros((16, 96, 96, 3), np.float32), "torch.float32"),
        (
            "x",
            np.zeros((15, 96, 96, 3), np.uint8),
            "Expected 15 labels of 0 or 1, got 16 labels up to 1",
        ),
        ("y", np.full((16, 1, 1, 1), 2, np.uint8), "16 labels up to 2"),
    ],
)
def test_a_file_that_is_not_of_the_form_is_named(tmp_path, made, what, array, said):
    write(tmp_path / f"camelyonpatch_level_2_split_valid_{what}.h5", what, array)
    with pytest.raises(DataError, match=said) as caught:
        PCam(str(tmp_path))
    assert "camelyonpatch_level_2_split_valid_" in str(caught.value)


class Rows:
    """A recorder that only remembers."""

    def __init__(self):
        self.rows = []

    def log(self, row):
        self.rows.append(row)

    def truncate(self, epochs):
        pass

    def progress(self, epoch, epochs, steps):
        return nullcontext(lambda: None)


@pytest.mark.parametrize("resident_bytes", [0, 1e9])
def test_a_training_from_the_file_is_one_from_memory(tmp_path, made, resident_bytes):
    lazy = PCam(str(tmp_path), train_size=30)
    held = ImageData(lazy.info, {k: Split(s.inputs[:], s.targets) for k, s in lazy.splits.items()})
    rows = []
    for data, name in ((lazy, "lazy"), (held, "held")):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 2, 9, stride=9), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
        net(data.prepare(data.splits["train"].inputs[:1]))
        recipe = {"epochs": 2, "batch_size": 8, "test_batch_size": 16, "schedule": Constant()}
        settings = TrainSettings(
            optimizer=torch.optim.SGD(parameter_groups(net, None), lr=0.01), **recipe
        )
        recorder, fabric = Rows(), Fabric(accelerator="cpu", devices=1)
        training = Training(
            fabric,
            net,
            data,
            settings,
            recorder,
            tmp_path / name,
            seed=0,
            resident_bytes=resident_bytes,
        )
        training.fit()
        assert isinstance(training._split("train").inputs, Hdf5Images) == (
            name == "lazy" and resident_bytes == 0
        )
        rows.append(
            [{k: v for k, v in row.items() if "seconds" not in k} for row in recorder.rows]
            + [training.evaluate("test")]
        )
    assert rows[0] == rows[1]
    assert len(rows[0]) == 3
