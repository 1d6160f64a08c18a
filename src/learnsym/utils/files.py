"""Writing files so that a crash, a full disk or a loss of power leaves the old content or the new
one, never a part.

The order is what does it: the new content reaches the disk under another name, then takes the old
one's place, then the folder that holds the name reaches the disk. Whatever is written after that
can rely on it.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from learnsym.errors import RunError


def write_atomically(path: Path, content: str | bytes | Callable[[BinaryIO], Any]) -> None:
    """Write a file so that `path` holds either the old content or the new, whole.

    Args:
        path: the file; its folder is made.
        content: what it shall hold, or a function that writes it to an open file.

    Raises:
        RunError: it cannot be written (a full disk, no permission); the old file is untouched.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        make_folder(path.parent)
        with partial.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    except (
        OSError,
        RuntimeError,
    ) as error:  # RuntimeError: how torch.save says that a disk is full
        with suppress(OSError):  # the folder is none, or closed to us: the sentence says so
            partial.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def append_line(path: Path, line: str) -> None:
    """Append a line in one piece and see it to the disk.

    Raises:
        RunError: it cannot be written; what was there before is unchanged.
    """
    try:
        make_folder(path.parent)
        is_new = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            _append(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def _append(descriptor: int, data: bytes) -> None:
    """All of the data, or nothing."""
    before = os.fstat(descriptor).st_size
    try:
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def make_folder(path: Path) -> None:
    """Make a folder and those above it; their names are on the disk afterwards."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """See the names in a folder to the disk: without it, a renamed file may have its old name after
    a loss of power.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems of networks do not know it for folders
            raise
    finally:
        os.close(descriptor)


def unwritable(path: Path, error: Exception) -> RunError:
    """The sentence for a file that cannot be written."""
    reason = (
        error.strerror
        if isinstance(error, OSError) and error.strerror
        else str(error).splitlines()[0]
    )
    return RunError(f"{path} cannot be written ({reason}); what was there before is unchanged.")
