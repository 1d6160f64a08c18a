"""Files from somebody else: none of them runs code or makes us allocate what it only claims to
hold; a sentence names each.

More of them: tests/data/test_npz.py, test_photographs.py (pickles),
tests/system/test_command_lines.py (checkpoints, targets).
"""

import gzip
import io
import json
import os
import struct
import zipfile

import h5py
import numpy as np
import pytest
import torch
from command_line import check_one_sentence

from learnsym.config.allowed_classes import get_class
from learnsym.data.images.folder import read_picture
from learnsym.data.readers import arrays
from learnsym.data.readers.arrays import read_idx
from learnsym.data.readers.hdf5 import open_array
from learnsym.data.readers.structures import read_structures
from learnsym.errors import ConfigError, DataError


class Bomb:
    """Pickled, it makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def executed(tmp_path):
    """A folder that is there if, and only if, code of a file has run."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


# --- what a configuration may name

HARMFUL = {
    "a function of the system": "os.system",
    "a function of torch": "torch.hub.load",
    "a class of torch that starts a program": "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler",  # noqa: E501
    "a class of torch that builds extensions": "torch.utils.cpp_extension.BuildExtension",
    "a class of torch that reads packages of code": "torch.package.PackageImporter",
    "a network of torch that executes text": "torch.fx.GraphModule",
    "a class of torch that listens on a port": "torch.distributed.TCPStore",
    "what a module of ours has imported": "learnsym.run.run.Path",
    "what a module of theirs has imported": "torch.nn.modules.module.OrderedDict",
    "a class of torch.nn that is no network": "torch.nn.Parameter",
    "a function of ours": "learnsym.config.build.build",
    "a module": "torch.nn.functional",
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_what_may_not_be_built(kind):
    with pytest.raises(ConfigError, match=r"only classes|expected a class"):
        get_class("net", HARMFUL[kind])


def test_what_may_be_built():
    for target in (
        "torch.nn.Linear",
        "torch.optim.SGD",
        "torch.optim.lr_scheduler.StepLR",
        "learnsym.nets.plain_cnn.Conv5",
    ):
        assert isinstance(get_class("net", target), type)


def test_a_class_that_starts_a_program_does_not(main, executed):
    """It is real: built, it runs what it is given."""
    target = "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"
    done = main(
        f"net._target_={target}",
        "+net.entrypoint=/bin/mkdir",
        f"+net.args=[{executed}]",
        "+net.env={}",
        "+net.stdout=null",
        "+net.stderr=null",
        "+net.local_rank_id=0",
        "+net.numa_options=null",
    )
    check_one_sentence(done, 2, target, "only classes")


PRESETS = {
    "a target of ours": (
        "net: {_target_: os.system, command: 'mkdir executed'}",
        "net._target_=os.system",
    ),
    "a tag of Python": (
        "seed: !!python/object/apply:os.system ['mkdir executed']",
        "python/object",
    ),
    "a callback": (
        "hydra: {callbacks: {x: {_target_: subprocess.check_call, args: [mkdir, executed]}}}",
        "hydra.callbacks.x._target_=subprocess.check_call",
    ),
    "a callback of a place that Hydra trusts": (
        "hydra: {callbacks: {x: {_target_: pathlib.Path.mkdir, self: {_target_: pathlib.Path, "
        "_args_: [executed]}}}}",
        "hydra.callbacks.x",
    ),
    "a callback by an interpolation": (
        "net: {backbone: {evil: {_target_: pathlib.Path.mkdir, self: {_target_: pathlib.Path, "
        "_args_: [executed]}}}}\nhydra: {callbacks: {x: '${net.backbone.evil}'}}",
        "hydra.callbacks.x",
    ),
    "a log handler by an interpolation": (
        "net: {backbone: {evil: {(): pathlib.Path.mkdir, self: executed}}}\nhydra: {job_logging: "
        "{version: 1, root: {handlers: [x]}, handlers: {x: '${net.backbone.evil}'}}}",
        "hydra.job_logging.handlers.x",
    ),
    "a log handler": (
        "hydra: {job_logging: {version: 1, root: {handlers: [x]}, handlers: {x: {(): "
        "pathlib.Path.mkdir, self: executed}}}}",
        "hydra.job_logging.handlers.x.()=pathlib.Path.mkdir",
    ),
    "a launcher": (
        "hydra: {launcher: {_target_: subprocess.check_call}}",
        "hydra.launcher._target_=subprocess.check_call",
    ),
    "a library for all processes": (
        "hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}",
        "hydra.job.env_set.LD_PRELOAD",
    ),
}


@pytest.mark.parametrize("kind", PRESETS)
def test_a_preset_of_somebody_else(main, tmp_path, executed, kind):
    text, part = PRESETS[kind]
    folder = tmp_path / "presets" / "experiment"
    folder.mkdir(parents=True)
    (folder / "evil.yaml").write_text(f"# @package _global_\n{text}\n")
    many = ["-m"] if kind == "a launcher" else []
    done = main(
        "--config-dir", str(tmp_path / "presets"), *many, "experiment=evil", "train.epochs=1"
    )
    check_one_sentence(done, 2, part)


# --- checkpoints


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return {}


def checkpoint_with(main, tiny, good, change):
    """bad.pt: a checkpoint of a real run whose configuration is changed."""
    if not good:
        folder = main(*tiny).directory
        good["state"] = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    state = good["state"] | {"config": json.loads(json.dumps(good["state"]["config"]))}
    change(state["config"])
    torch.save(state, "bad.pt")


def put(path, value):
    """A change of one key."""

    def change(config):
        *parents, last = path.split(".")
        for key in parents:
            config = config[key]
        config[last] = value

    return change


CONFIGS = {
    "a function": (
        put("net", {"_target_": "os.system", "command": "mkdir executed"}),
        "net._target_=os.system",
    ),
    "inside of a network": (
        put("net.backbone", {"_target_": "os.mkdir", "path": "executed"}),
        "net.backbone._target_=os.mkdir",
    ),
    "a data set": (
        put("dataset", {"_target_": "os.mkdir", "path": "executed"}),
        "dataset._target_=os.mkdir",
    ),
    "an optimiser": (
        put("train.optimizer", {"_target_": "subprocess.Popen", "args": ["mkdir", "executed"]}),
        "train.optimizer._target_=subprocess.Popen",
    ),
    "a class of torch": (
        put("net", {"_target_": "torch.package.PackageImporter", "file_or_buffer": "x"}),
        "PackageImporter",
    ),
    "an interpolation": (
        put("dataset.seed", "${oc.env:HOME}"),
        "the interpolation '${oc.env:HOME}'",
    ),
    "a key with an interpolation": (
        put("dataset", {"${oc.env:HOME}": 1, "_target_": "x"}),
        "the interpolation",
    ),
    "a tensor": (put("dataset.seed", torch.zeros(2)), "a Tensor"),
    "no target": (put("net", {}), "does not say with which configuration"),
    "a target that is no name": (put("net._target_", 3), "does not say with which configuration"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_checkpoint_with_a_configuration_of_somebody_else(main, tiny, good, executed, kind):
    change, part = CONFIGS[kind]
    checkpoint_with(main, tiny, good, change)
    check_one_sentence(main("mode=test", "checkpoint=bad.pt"), 2, part)


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning"
)
def test_a_program_of_torch_in_the_place_of_a_checkpoint(main, tmp_path):
    """torch.load hands TorchScript on to a reader of code, unless told otherwise."""
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "bad.pt")
    check_one_sentence(main("mode=test", "checkpoint=bad.pt"), 2, "bad.pt", "cannot be read")


@pytest.mark.parametrize("key", ["schedule", "progress", "random", "optimizer"])
def test_a_checkpoint_whose_parts_are_of_the_wrong_kind(main, tiny, key):
    folder = main(*tiny).directory
    (folder / "result.json").unlink()
    path = folder / "checkpoints" / "last.pt"
    state = torch.load(path, weights_only=True)
    torch.save(state | {key: {"nothing": [1]}}, path)
    check_one_sentence(main(*tiny), 2, "last.pt", "does not fit", "fresh=true")
    torch.save(state | {key: torch.zeros(3)}, path)
    check_one_sentence(main(*tiny), 2, "last.pt", "does not fit", "fresh=true")


# --- data that execute


def test_postscript_under_the_name_of_a_picture(tmp_path, monkeypatch, executed):
    """PIL would hand it to Ghostscript: here a program that shows that it was called."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nmkdir {executed}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n")
    with pytest.raises(DataError, match=r"picture\.png cannot be read as a picture"):
        read_picture(str(picture), 8, 3)


def test_torch_geometric_reads_tensors_alone(tmp_path, executed):
    """torch-geometric loads a file as a pickle where torch refuses it, and pre_transform.pt
    always."""
    from learnsym.data.molecules.qm9 import tensors_only

    torch.save(Bomb(executed), tmp_path / "pre_transform.pt")
    with tensors_only(), pytest.raises(Exception, match=r"weights_only|Weights only"):
        torch.load(tmp_path / "pre_transform.pt", weights_only=False)
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize(
    "name", ["raw/qm9_v3.pt", "processed/data_v3.pt", "processed/pre_transform.pt"]
)
def test_a_pickle_in_the_place_of_qm9(main, tmp_path, executed, no_network, name):
    pytest.importorskip("torch_geometric")
    for known in ("raw/qm9_v3.pt", "processed/data_v3.pt", name):
        path = tmp_path / "data" / "qm9" / known
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(Bomb(executed), path)
    check_one_sentence(
        main("dataset=qm9", "net=lieconv", "train.epochs=1"), 2, "QM9", "UnpicklingError"
    )


# --- data that claim more than they are


def npy(shape, content=b"", dtype="|u1"):
    """A .npy file whose header claims a shape."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue() + content


def archive(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)


def test_a_npz_whose_header_claims_terabytes(tmp_path, monkeypatch):
    archive(tmp_path / "bomb.npz", {"images.npy": npy((10**6, 10**6))})
    monkeypatch.setattr(np, "ndarray", None)  # what numpy would allocate with
    with pytest.raises(
        DataError,
        match=r"images\.npy says that it is uint8 of shape \[1000000, 1000000\], but holds 0",
    ):
        arrays.read_npz(tmp_path / "bomb.npz")


def test_a_npz_that_unpacks_to_more_than_the_memory(tmp_path, monkeypatch):
    archive(tmp_path / "bomb.npz", {"images.npy": npy((10**6,), bytes(10**6))})
    assert (tmp_path / "bomb.npz").stat().st_size < 2000
    assert len(arrays.read_npz(tmp_path / "bomb.npz")["images"]) == 10**6
    monkeypatch.setattr(arrays, "memory", lambda: 999_999)
    with pytest.raises(
        DataError, match=r"bomb\.npz unpacks to 1,000,\d+ bytes, more than the memory"
    ):
        arrays.read_npz(tmp_path / "bomb.npz")


def test_an_encrypted_npz(tmp_path):
    archive(tmp_path / "locked.npz", {"images.npy": npy((1,), b"x")}, zipfile.ZIP_STORED)
    content = bytearray((tmp_path / "locked.npz").read_bytes())
    content[6] |= 1  # the flag, in both headers
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"locked\.npz is corrupt"):
        arrays.read_npz(tmp_path / "locked.npz")


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_an_idx_file_that_claims_terabytes(tmp_path, ending):
    path = tmp_path / f"images{ending}"
    content = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**31, 2**10, 2**10)
    path.write_bytes(gzip.compress(content) if ending else content)
    with pytest.raises(
        DataError,
        match=r"images.* at most \d+ bytes of data where its header says \[2147483648, 1024, 1024\]",  # noqa: E501
    ):
        read_idx(path, 3)


def test_an_idx_file_that_unpacks_to_more_than_it_claims(tmp_path):
    """A gzip file can unpack to a thousand times its size; only what the header claims is read."""
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes((0, 0, 8, 1)) + struct.pack(">I", 10) + bytes(50_000_000)))
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="more bytes of data"):
            read_idx(path, 1)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_an_hdf5_file_that_claims_terabytes(tmp_path):
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("x", (10**9, 96, 96, 3), np.uint8, chunks=(1, 96, 96, 3))
    assert (tmp_path / "bomb.h5").stat().st_size < 10_000
    with pytest.raises(
        DataError,
        match=r"bomb\.h5: array 'x' says .* \[1000000000, 96, 96, 3\], but is stored 0 bytes",
    ):
        open_array(tmp_path / "bomb.h5", "x")


def test_an_hdf5_file_that_points_to_another(tmp_path):
    (tmp_path / "secret").write_bytes(b"12345678")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file.create_dataset("x", (8,), np.uint8, external=[(str(tmp_path / "secret"), 0, 8)])
    with pytest.raises(DataError, match="stored in other files"):
        open_array(tmp_path / "link.h5", "x")


ATOM = "H 0 0 0"
XYZ = {
    "atoms without end": ("9" * 5000 + "\nhomo=1\n", "line 1"),
    "atoms that are not there": ("999999999\nhomo=1\nH 0 0 0\n", "announces 999999999 atoms"),
    "a number of digits": ("1\nhomo=1\n" + "9" * 5000 + " 0 0 0\n", "lines 1 to 3"),
    "columns without end": (
        f"1\nhomo=1 Properties=species:S:1:pos:R:3:x:R:{'9' * 5000}\n{ATOM}\n",
        "Properties claims",
    ),
    "columns that go backwards": (
        f"1\nhomo=1 Properties=x:R:-3:species:S:1:pos:R:3\n{ATOM}\n",
        "Properties claims",
    ),
    "an infinite number": ("1\nhomo=1\nH 1e999 0 0\n", "finite number"),
}


@pytest.mark.parametrize("kind", XYZ)
def test_an_xyz_file_with_absurd_numbers(tmp_path, kind):
    text, part = XYZ[kind]
    (tmp_path / "a.xyz").write_text(text)
    with pytest.raises(DataError) as caught:
        read_structures(tmp_path / "a.xyz", "homo")
    assert part in str(caught.value)
    assert "a.xyz" in str(caught.value)


def test_one_giant_among_many_molecules(tmp_path, monkeypatch):
    """All are padded to the largest: 40 MB of text could ask for terabytes."""
    monkeypatch.setattr("learnsym.data.readers.structures.MAX_PADDED", 1000)
    small = f"1\nhomo=1\n{ATOM}\n"
    (tmp_path / "a.xyz").write_text(small * 500 + "500\nhomo=1\n" + f"{ATOM}\n" * 500)
    with pytest.raises(DataError, match=r"501 molecules, of 2 atoms in the mean and one of 500"):
        read_structures(tmp_path / "a.xyz", "homo")
    (tmp_path / "a.xyz").write_text(small * 2000)
    assert len(read_structures(tmp_path / "a.xyz", "homo")[0]) == 2000


# --- folders with links


def pictures(folder):
    from PIL import Image

    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / name / f"{number}.png")


LINKS = {
    "a picture elsewhere": ("a/x.png", "elsewhere/a/0.png"),
    "a class elsewhere": ("c", "elsewhere/a"),
    "the whole machine": ("c", "/"),
    "a circle": ("a/again", "pictures"),
    "a part elsewhere": ("test", "elsewhere"),
}


@pytest.mark.parametrize("kind", LINKS)
def test_a_folder_of_pictures_with_a_link(main, tmp_path, kind):
    place, goal = LINKS[kind]
    pictures(tmp_path / "pictures")
    pictures(tmp_path / "elsewhere")
    (tmp_path / "pictures" / place).symlink_to(tmp_path / goal)
    done = main("dataset=folder", "dataset.path=pictures", "dataset.size=12", "train.epochs=1")
    check_one_sentence(done, 2, f"pictures/{place} is a link to ", "a copy of the pictures")


def test_links_that_are_harmless(main, tmp_path, tiny):
    """The folder itself may be one, and a picture may be there twice."""
    pictures(tmp_path / "real")
    (tmp_path / "real" / "a" / "same.png").symlink_to(tmp_path / "real" / "a" / "0.png")
    (tmp_path / "pictures").symlink_to(tmp_path / "real")
    words = [w for w in tiny if not w.startswith("dataset.")]
    done = main(
        "dataset=folder", "dataset.path=pictures", "dataset.size=12", *words, "train.epochs=1"
    )
    assert done.code == 0, done.err
