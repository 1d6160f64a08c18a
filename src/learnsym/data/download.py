"""Find, download, check and unpack files."""

import contextlib
import gzip
import logging
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from learnsym.errors import DataError

TIMEOUT_S = 20  # seconds without an answer after which the next mirror is tried
_DAMAGED = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, LookupError)


def find(data_dir: str, subfolders: Sequence[str], names: Sequence[str]) -> Path | None:
    """Return the first of `names` in the `subfolders` of `data_dir`, if any."""
    root = Path(data_dir).expanduser()
    paths = (root / subfolder / name for subfolder in subfolders for name in names)
    return next(filter(Path.is_file, paths), None)


def download(dataset: str, name: str, folder: Path, urls: Sequence[str], checksum: str) -> Path:
    """Return the file `name` in `folder`, downloaded if need be from the first URL that has it.

    A file without the `checksum` ("md5:..." or "sha256:...") is never kept. If no URL gives it, the
    DataError says why, and where to put the file by hand.
    """
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    failures = []
    for url in urls:
        fetch = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT_S)
        try:
            return Path(pooch.retrieve(url, checksum, fname=name, path=folder, downloader=fetch))
        except (OSError, ValueError) as error:  # pooch raises a ValueError for a wrong checksum
            failures.append(f"{urlparse(url).hostname}: {_reason(error)}")
    raise DataError(
        f"{dataset} needs the file {name}, which could not be downloaded ({'; '.join(failures)}): "
        f"put it into {folder}, or set paths.data to a folder that has it."
    )


def unpack(dataset: str, archive: type[Any], data_dir: str, subfolders: Sequence[str]) -> Path:
    """Return the folder in which a torchvision data set (`archive`) finds its unpacked files.

    One of the `subfolders` if the files are there, otherwise the first, into which the archive is
    downloaded and unpacked. Whoever reads the files has to check them: torchvision does, by md5.
    """
    folders = [Path(data_dir).expanduser() / subfolder for subfolder in subfolders]
    for folder in folders:
        if (folder / archive.base_folder).is_dir():
            return folder
    folder = folders[0]
    path = download(dataset, archive.filename, folder, [archive.url], f"md5:{archive.tgz_md5}")
    with unpacking(path, folder / archive.base_folder) as scratch:
        shutil.unpack_archive(path, scratch, filter="data")
        os.replace(scratch / archive.base_folder, folder / archive.base_folder)
    return folder


def gunzip(archive: Path) -> Path:
    """Unpack a .gz file beside it and return the path of its content."""
    target = archive.with_suffix("")
    with unpacking(archive, target) as scratch:
        with gzip.open(archive) as packed, (scratch / "content").open("wb") as content:
            shutil.copyfileobj(packed, content, 2**20)
        os.replace(scratch / "content", target)
    return target


@contextlib.contextmanager
def unpacking(archive: Path, target: Path) -> Iterator[Path]:
    """Give a scratch folder beside `target`; raise a DataError if the archive is damaged."""
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            yield Path(scratch)
    except _DAMAGED as error:
        raise DataError(
            f"{archive} cannot be unpacked ({error}). Try to unpack {target.name} by hand into "
            f"{target.parent}, or set paths.data to a folder that has it."
        ) from error


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.RequestException):
        return "no answer" if isinstance(error, requests.Timeout) else "no connection"
    return "wrong checksum, file refused" if "hash" in str(error) else str(error).splitlines()[0]
