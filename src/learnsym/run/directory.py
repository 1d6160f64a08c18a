"""A run's directory: what is written while it goes on, atomically, and what is read when the same
command comes again.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from learnsym.errors import RunError
from learnsym.utils.files import append_line, make_folder, unwritable, write_atomically

SHOWN_OF_A_RESULT = ("status", "metrics", "data", "versions")
"""Without these, a result.json is none."""


class RunDirectory:
    """config.yaml, metrics.jsonl, checkpoints/, figures/, result.json, error.txt of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.figures = path / "figures"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises:
            RunError: another process is at work on it, or the directory cannot be made.
        """
        lock = FileLock(self.path / ".lock", blocking=False)
        try:
            make_folder(self.path)
            lock.acquire()
        except Timeout as error:
            raise RunError(
                f"{self.path}: another process is at work on this run; wait for it, or change paths.out."
            ) from error
        except OSError as error:
            raise unwritable(self.path, error) from error
        try:
            yield
        finally:
            lock.release()

    def clear(self) -> None:
        """Start over: forget everything that this run wrote; first that it is finished, then its
        checkpoints, so that a process that is killed here leaves no checkpoint without its rows.
        """
        self.result_path.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.path):
            for path in sorted(folder.rglob("*"), reverse=True):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                elif path.name != ".lock":
                    path.unlink()

    # --- metrics.jsonl

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one epoch's numbers and see them to the disk."""
        append_line(self.path / "metrics.jsonl", json.dumps(row))

    def rows(self) -> list[dict[str, Any]]:
        """All epochs' numbers; a line cut short by a crash ends them. A RunError for one that
        cannot be read otherwise.
        """
        return read_rows(self.path / "metrics.jsonl")

    def truncate(self, epochs: int) -> None:
        """Keep the rows of the first `epochs` epochs.

        Raises:
            RunError: some of them are not there, or cannot be read. (A row is on the disk before
                its checkpoint; somebody has meddled.)
        """
        path = self.path / "metrics.jsonl"
        kept = [row for row in self.rows() if row["epoch"] <= epochs] if epochs else []
        if len(kept) < epochs:
            raise RunError(
                f"{path} has rows of {len(kept)} epochs, the checkpoint is of epoch {epochs}; fresh=true starts over."
            )
        if path.exists():
            write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))

    # --- result.json and error.txt

    @property
    def result_path(self) -> Path:
        return self.path / "result.json"

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run, or None.

        Raises:
            RunError: there is one, but it cannot be read.
        """
        if not self.result_path.exists():
            return None
        result = read_json(self.result_path, "delete it, or start over with fresh=true")
        if missing := [key for key in SHOWN_OF_A_RESULT if key not in result]:
            raise RunError(
                f"{self.result_path} has no {', '.join(missing)}; delete it, or start over with fresh=true."
            )
        return result

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write result.json; an earlier error is past."""
        write_atomically(self.result_path, json.dumps(result, indent=2) + "\n")
        (self.path / "error.txt").unlink(missing_ok=True)

    def fail(self, text: str) -> None:
        """Leave error.txt, where that is still possible."""
        try:
            write_atomically(self.path / "error.txt", text)
        except RunError as error:
            print(error, file=sys.stderr)


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """A JSON object that a run has written.

    Raises:
        RunError: the file cannot be read, or holds something else; the advice says what to do.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{path} cannot be read as JSON ({str(error).splitlines()[0]}); {advice}."
        ) from error
    if not isinstance(found, dict):
        raise RunError(f"{path} holds no JSON object; {advice}.")
    return found


def read_rows(path: Path, whole: bool = False) -> list[dict[str, Any]]:
    """Rows of a metrics.jsonl. A last line that a crash has cut short is no row, or (`whole`) an
    error like any other.

    Raises:
        RunError: a line cannot be read.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    complete = len(lines) - 1
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines if lines[-1] else lines[:-1], 1):
        try:
            row = json.loads(line)
            row["epoch"]
            if number > complete and whole:
                raise ValueError("it has no end")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number > complete and not whole:
                break
            raise RunError(
                f"{path}, line {number} cannot be read as a row of numbers; delete the folder {path.parent}, or start over with "
                "fresh=true."
            ) from error
        rows.append(row)
    return rows
