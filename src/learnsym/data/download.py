"""Find, download, check and unpack files."""

import gzip
import logging
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from learnsym.errors import DataError

TIMEOUT_S = 20
"""Seconds without an answer after which the next mirror is tried."""
_DAMAGED = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, LookupError)


def find(data_dir: str, subfolders: Iterable[str], names: Iterable[str]) -> Path | None:
    """Return the first of `names` in the `subfolders` of `data_dir`, if any."""
    names = list(names)
    for subfolder in subfolders:
        for name in names:
            path = Path(data_dir).expanduser() / subfolder / name
            if path.is_file():
                return path
    return None


def download(dataset: str, name: str, folder: Path, urls: Sequence[str], checksum: str) -> Path:
    """Return the file `name` in `folder`, downloaded if need be.

    Args:
        dataset: as the user calls it, for messages.
        name: of the file.
        folder: created if it does not exist.
        urls: tried in this order.
        checksum: "md5:..." or "sha256:...". A file that does not have it is never kept.

    Raises:
        DataError: no mirror gave the file; it says why, and where to put the file by hand.
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

    One of the `subfolders` of `data_dir` if the files are there, otherwise the first, into which
    the archive is downloaded (unless it is there) and unpacked. Whoever reads the files has to
    check them: torchvision's classes do, by md5.
    """
    for subfolder in subfolders:
        folder = Path(data_dir).expanduser() / subfolder
        if (folder / archive.base_folder).is_dir():
            return folder
    folder = Path(data_dir).expanduser() / subfolders[0]
    path = download(dataset, archive.filename, folder, [archive.url], f"md5:{archive.tgz_md5}")

    def extract(scratch: Path) -> Path:
        shutil.unpack_archive(path, scratch, filter="data")
        return scratch / archive.base_folder

    unpack_atomically(path, folder / archive.base_folder, extract)
    return folder


def unpack_atomically(archive: Path, target: Path, extract: Callable[[Path], Path]) -> None:
    """Move what `extract` returns in a scratch folder to `target`, all or nothing.

    Raises:
        DataError: the archive is damaged.
    """
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            os.replace(extract(Path(scratch)), target)
    except _DAMAGED as error:
        raise DataError(
            f"{archive} cannot be unpacked ({error}). Try to unpack {target.name} by hand into "
            f"{target.parent}, or set paths.data to a folder that has it."
        ) from error


def gunzip(archive: Path) -> Path:
    """Unpack a .gz file beside it and return the path of its content."""

    def extract(scratch: Path) -> Path:
        with gzip.open(archive) as packed, (scratch / "content").open("wb") as content:
            shutil.copyfileobj(packed, content, 2**20)
        return scratch / "content"

    unpack_atomically(archive, archive.with_suffix(""), extract)
    return archive.with_suffix("")


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.RequestException):
        return "no answer" if isinstance(error, requests.Timeout) else "no connection"
    return "wrong checksum, file refused" if "hash" in str(error) else str(error).splitlines()[0]
