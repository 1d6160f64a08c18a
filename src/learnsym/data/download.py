"""Getting a file once, from the first mirror that has it with the right checksum; otherwise a
sentence on where to put it.
"""

import logging
import os
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from learnsym.errors import DataError

TIMEOUT_S = 20
"""Seconds without an answer after which the next mirror is tried."""


def find(data_dir: str, subfolders: Iterable[str], names: Iterable[str]) -> Path | None:
    """The first file called one of `names` in one of the `subfolders` of `data_dir` ("" is
    `data_dir` itself), if any.
    """
    names = list(names)
    for subfolder in subfolders:
        for name in names:
            path = Path(data_dir).expanduser() / subfolder / name
            if path.is_file():
                return path
    return None


def download(dataset: str, name: str, folder: Path, urls: Sequence[str], checksum: str) -> Path:
    """The file `name` in `folder`, fetched from the first of `urls` that gives it with the right
    checksum.

    Args:
        dataset: as the user calls it, for messages.
        checksum: "md5:..." or "sha256:...". A file that does not have it is never kept.

    Raises:
        DataError: in one sentence: no mirror gave it, why, and where the file can be put by hand.
    """
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    failures = []
    for url in urls:
        downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT_S)
        try:
            return Path(
                pooch.retrieve(
                    url, known_hash=checksum, fname=name, path=folder, downloader=downloader
                )
            )
        except (
            OSError,
            ValueError,
        ) as error:  # requests' errors are OSErrors, a wrong checksum is a ValueError
            failures.append(f"{urlparse(url).hostname}: {_reason(error)}")
    raise DataError(
        f"{dataset} needs the file {name}, which could not be downloaded ({'; '.join(failures)}): put it into {folder}, "
        "or set paths.data to a folder that has it."
    )


def unpack(dataset: str, canonical: Any, data_dir: str, subfolders: Sequence[str]) -> Path:
    """The folder in which a torchvision data set (a class with base_folder, filename, url, tgz_md5)
    finds its unpacked files.

    One of the `subfolders` of `data_dir` if the files are there, otherwise the first, into which
    the archive is downloaded (unless it lies there already) and unpacked. Whoever reads the files
    has to check them: torchvision's classes do, by md5.
    """
    for subfolder in subfolders:
        folder = Path(data_dir).expanduser() / subfolder
        if (folder / canonical.base_folder).is_dir():
            return folder
    folder = Path(data_dir).expanduser() / subfolders[0]
    archive = download(
        dataset, canonical.filename, folder, [canonical.url], f"md5:{canonical.tgz_md5}"
    )
    try:
        # Unpacked elsewhere and moved into place at once: a run killed half-way must not leave half
        # a data set behind.
        with tempfile.TemporaryDirectory(dir=folder) as scratch, tarfile.open(archive) as contents:
            contents.extractall(scratch, filter="data")
            os.replace(Path(scratch) / canonical.base_folder, folder / canonical.base_folder)
    except (OSError, tarfile.TarError) as error:
        raise DataError(
            f"{archive} cannot be unpacked ({error}); unpack it by hand and set paths.data to that folder."
        ) from error
    return folder


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer"
    if isinstance(error, requests.RequestException):
        return "no connection"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "wrong checksum, file refused" if "hash" in str(error) else str(error).splitlines()[0]
