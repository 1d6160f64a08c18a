"""A run's directory: files that are written atomically, and read when the command comes again."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from learnsym.errors import RunError
from learnsym.schema import PlainDict, PlainMapping
from learnsym.utils.files import append_line, make_folder, unwritable, write_atomically

REQUIRED = ("status", "metrics", "data", "versions")
"""Keys without which a file is no result.json."""
START_OVER = "delete it, or start over with fresh=true"


class RunDirectory:
    """config.yaml, metrics.jsonl, checkpoints/, figures/, result.json, error.txt of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.figures = path / "figures"
        self.config_path = path / "config.yaml"
        self.rows_path = path / "metrics.jsonl"
        self.result_path = path / "result.json"
        self.error_path = path / "error.txt"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises:
            RunError: another process is at work on it, or the directory cannot be made.
        """
        lock = lock_folder(self.path, "run")
        try:
            yield
        finally:
            lock.release()

    def clear(self) -> None:
        """Delete everything that this run wrote.

        The result goes first and the checkpoints second, so that a process that is killed here
        leaves no checkpoint without its rows.
        """
        self.result_path.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.path):
            for path in sorted(folder.rglob("*"), reverse=True):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                elif path.name != ".lock":
                    path.unlink()

    def log(self, row: PlainMapping) -> None:
        """Append one epoch's numbers and see them to the disk."""
        append_line(self.rows_path, json.dumps(row))

    def rows(self) -> list[PlainDict]:
        """Return all epochs' numbers (see `read_rows`)."""
        return read_rows(self.rows_path)

    def truncate(self, epochs: int) -> None:
        """Keep the rows of the first `epochs` epochs.

        Raises:
            RunError: some of them are missing, or cannot be read. Rows are written before
                checkpoints, so the file was edited.
        """
        kept = [row for row in self.rows() if row["epoch"] <= epochs] if epochs else []
        if len(kept) < epochs:
            raise RunError(
                f"{self.rows_path} has rows of {len(kept)} epochs, the checkpoint is of epoch "
                f"{epochs}; fresh=true starts over."
            )
        if self.rows_path.exists():
            write_atomically(self.rows_path, "".join(json.dumps(row) + "\n" for row in kept))

    def result(self) -> PlainDict | None:
        """Return the result of a finished run, or None.

        Raises:
            RunError: there is one, but it cannot be read.
        """
        if not self.result_path.exists():
            return None
        result = read_json(self.result_path, START_OVER)
        if missing := [key for key in REQUIRED if key not in result]:
            raise RunError(f"{self.result_path} has no {', '.join(missing)}; {START_OVER}.")
        return result

    def finish(self, result: PlainMapping) -> None:
        """Write result.json; an earlier error is past."""
        write_atomically(self.result_path, json.dumps(result, indent=2) + "\n")
        self.error_path.unlink(missing_ok=True)

    def fail(self, text: str) -> None:
        """Leave error.txt, where that is still possible."""
        try:
            write_atomically(self.error_path, text)
        except RunError as error:
            print(error, file=sys.stderr)


def lock_folder(path: Path, subject: str) -> BaseFileLock:
    """Lock a folder until the lock is released or the process ends.

    Args:
        path: of the folder, which is made.
        subject: what it holds, for the message.

    Raises:
        RunError: another process has it, or the folder cannot be made.
    """
    lock = FileLock(path / ".lock", blocking=False)
    try:
        make_folder(path)
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"{path}: another process is at work on this {subject}; wait for it, or change "
            "paths.out."
        ) from error
    except OSError as error:
        raise unwritable(path, error) from error
    return lock


def read_json(path: Path, advice: str) -> PlainDict:
    """Read a JSON object that a run has written.

    Args:
        path: the file.
        advice: what to do if it cannot be read.

    Raises:
        RunError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{path} cannot be read as JSON ({reason}); {advice}.") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} holds no JSON object; {advice}.")
    return content


def read_rows(path: Path, whole: bool = False) -> list[PlainDict]:
    """Read the rows of a metrics.jsonl.

    Args:
        path: the file; one that does not exist has no rows.
        whole: whether a last line that a crash has cut short is an error, instead of no row.

    Raises:
        RunError: a line cannot be read.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    complete = len(lines) - 1
    rows: list[PlainDict] = []
    for number, line in enumerate(lines if lines[-1] else lines[:-1], 1):
        try:
            row = json.loads(line)
            row["epoch"]
            if number > complete and whole:
                raise ValueError("the line has no end")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number > complete and not whole:
                break
            raise RunError(
                f"{path}, line {number} cannot be read as a row of numbers; delete the folder "
                f"{path.parent}, or start over with fresh=true."
            ) from error
        rows.append(row)
    return rows
