"""Downloads against a server on this machine: checksums, mirrors, messages, and no half-written
files."""

import hashlib
import io
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from learnsym.data.download import download, find, unpack
from learnsym.errors import DataError

CONTENT = b"the right bytes"
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves the folder `served`; gives its address."""
    monkeypatch.setenv("no_proxy", "*")
    served = tmp_path / "served"
    served.mkdir()
    (served / "good.bin").write_bytes(CONTENT)
    (served / "bad.bin").write_bytes(b"other bytes")

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(served))

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


DEAD = "http://127.0.0.1:9"  # the port of the discard protocol, on which nothing listens


def test_a_file_with_the_right_checksum_is_kept(server, tmp_path):
    path = download("mnist", "mine.bin", tmp_path / "new" / "folder", [f"{server}/good.bin"], MD5)
    assert path == tmp_path / "new" / "folder" / "mine.bin"
    assert path.read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server, tmp_path):
    with pytest.raises(DataError, match=r"needs the file x\.bin.*wrong checksum.*put it into"):
        download("mnist", "x.bin", tmp_path / "data", [f"{server}/bad.bin"], MD5)
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("first", [f"{DEAD}/good.bin", "SERVER/bad.bin", "SERVER/absent.bin"])
def test_the_next_mirror_is_tried(server, tmp_path, first):
    urls = [first.replace("SERVER", server), f"{server}/good.bin"]
    assert download("mnist", "x.bin", tmp_path / "data", urls, MD5).read_bytes() == CONTENT


def test_every_reason_is_given_in_one_sentence(server, tmp_path):
    with pytest.raises(DataError) as caught:
        download(
            "mnist",
            "x.bin",
            tmp_path / "data",
            [f"{DEAD}/x", f"{server}/absent", f"{server}/bad.bin"],
            MD5,
        )
    message = str(caught.value)
    assert "no connection" in message
    assert "HTTP 404" in message
    assert "wrong checksum" in message
    assert str(tmp_path / "data") in message
    assert "\n" not in message


def test_a_file_that_lies_there_is_taken_without_the_network(tmp_path, no_network):
    (tmp_path / "x.bin").write_bytes(CONTENT)
    assert download("mnist", "x.bin", tmp_path, [f"{DEAD}/x"], MD5).read_bytes() == CONTENT
    assert no_network == []


def test_find_goes_through_folders_then_names(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.gz").touch()
    assert find(str(tmp_path), ("sub", ""), ("a", "a.gz")) == tmp_path / "a.gz"
    (tmp_path / "sub" / "a.gz").touch()
    assert find(str(tmp_path), ("sub", ""), ("a", "a.gz")) == tmp_path / "sub" / "a.gz"
    assert find(str(tmp_path), ("sub", ""), ("b",)) is None


def tar_of(path, names):
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 3
            archive.addfile(entry, io.BytesIO(b"abc"))
    return hashlib.md5(path.read_bytes()).hexdigest()


def canonical(server, names):
    """Something like a torchvision class, whose archive the server has."""
    return SimpleNamespace(
        base_folder="base", filename="all.tar.gz", url=f"{server}/all.tar.gz", tgz_md5=names
    )


def test_an_archive_is_unpacked_in_place(server, tmp_path):
    md5 = tar_of(tmp_path / "served" / "all.tar.gz", ["base/one", "base/two"])
    folder = tmp_path / "data"
    assert unpack("cifar10", canonical(server, md5), str(folder), ("", "cifar10")) == folder
    assert sorted(p.name for p in (folder / "base").iterdir()) == ["one", "two"]
    assert sorted(p.name for p in folder.iterdir()) == ["all.tar.gz", "base"]


def test_unpacked_files_are_taken_where_they_lie(tmp_path, no_network):
    (tmp_path / "cifar10" / "base").mkdir(parents=True)
    assert (
        unpack("cifar10", canonical(DEAD, "0" * 32), str(tmp_path), ("", "cifar10"))
        == tmp_path / "cifar10"
    )
    assert no_network == []


def test_an_archive_that_climbs_out_of_its_folder_is_refused(server, tmp_path):
    md5 = tar_of(tmp_path / "served" / "all.tar.gz", ["base/one", "../../evil"])
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack("cifar10", canonical(server, md5), str(tmp_path / "data"), ("",))
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "data" / "base").exists()
