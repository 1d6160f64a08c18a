"""Write files so that a crash leaves the old content or the new one, whole.

That holds for a full disk and a loss of power too, by the order of steps: the new content reaches
the disk under another name, then replaces the old file, then the folder that holds the name reaches
the disk. Whatever is written after that can rely on it.
"""

import errno
import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from learnsym.errors import RunError


def write_atomically(path: Path, content: str | bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file, or let a function write it, so that it holds the old content or the new, whole.

    Folders above it are made. A RunError (a full disk, no permission) leaves the old one untouched.
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
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # RuntimeError: torch.save on a full disk
        with suppress(OSError):  # there is no folder, or no permission: the message says so
            partial.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def append_line(path: Path, line: str) -> None:
    """Append a line and flush it to the disk, or raise a RunError and leave the file as it was."""
    data = f"{line}\n".encode()
    try:
        make_folder(path.parent)
        is_new = not path.exists()
        with path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                if os.write(file.fileno(), data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        if is_new:
            _sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def to_json(content: object, indent: int | None = None) -> str:
    """Return JSON that every reader takes: what is no finite number is null."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(node: object) -> object:
    if isinstance(node, Mapping):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def with_nan(numbers: dict[str, Any]) -> dict[str, Any]:
    """Return numbers that `to_json` wrote, not a number where it wrote null."""
    return {key: math.nan if value is None else value for key, value in numbers.items()}


def make_folder(path: Path) -> None:
    """Create a folder and those above it, and flush their names to the disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        _sync_folder(folder.parent)


def _sync_folder(path: Path) -> None:
    """Flush the names in a folder, without which a renamed file may have its old one again."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems lack it
            raise
    finally:
        os.close(descriptor)


def unwritable(path: Path, error: Exception) -> RunError:
    """Return the error for a file that cannot be written."""
    strerror = error.strerror if isinstance(error, OSError) else None
    reason = strerror or str(error).splitlines()[0]
    return RunError(f"{path} cannot be written ({reason}); what was there before is unchanged.")
