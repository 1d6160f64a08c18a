"""A run's directory: files that are written atomically, and read when the command comes again."""

import json
import sys
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from learnsym.errors import RunError
from learnsym.schema import PlainDict, PlainMapping
from learnsym.utils.files import make_folder, to_json, unwritable, with_nan, write_atomically

REQUIRED = ("status", "metrics", "data", "versions")
"""Keys without which a file is no result.json."""


class RunDirectory:
    """config.yaml, data.json, metrics.jsonl, checkpoints/, figures/ and the result of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.figures = path / "figures"
        self.config_path = path / "config.yaml"
        self.data_path = path / "data.json"
        self.rows_path = path / "metrics.jsonl"
        self.result_path = path / "result.json"
        self.error_path = path / "error.txt"

    def clear(self) -> None:
        """Delete what this run wrote: the result, then the checkpoints, then the rows they need."""
        self.result_path.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.path):
            for path in sorted(folder.rglob("*"), reverse=True):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                elif path.name != ".lock":
                    path.unlink()

    def rows(self) -> list[PlainDict]:
        """Return all epochs' numbers (see `read_rows`)."""
        return read_rows(self.rows_path)

    def truncate(self, epochs: int) -> None:
        """Keep the rows of the first epochs.

        They are written before checkpoints: where one is missing, the file was edited.
        """
        kept = [row for row in self.rows() if row["epoch"] <= epochs] if epochs else []
        if len(kept) < epochs:
            raise RunError(
                f"{self.rows_path} has rows of {len(kept)} epochs, the checkpoint is of epoch "
                f"{epochs}; fresh=true starts over."
            )
        if self.rows_path.exists():
            write_atomically(self.rows_path, "".join(to_json(row) + "\n" for row in kept))

    def result(self) -> PlainDict | None:
        """Return the result of a finished run, or None; a RunError if it cannot be read."""
        path, advice = self.result_path, "delete it, or start over with fresh=true"
        if not path.exists():
            return None
        try:
            result = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"{path} cannot be read as JSON ({reason}); {advice}.") from error
        if not isinstance(result, dict):
            raise RunError(f"{path} holds no JSON object; {advice}.")
        if missing := [key for key in REQUIRED if key not in result]:
            raise RunError(f"{path} has no {', '.join(missing)}; {advice}.")
        return result | {"metrics": with_nan(result["metrics"])}

    def finish(self, result: PlainMapping) -> None:
        """Write result.json; an earlier error is past."""
        write_atomically(self.result_path, to_json(result, indent=2) + "\n")
        self.error_path.unlink(missing_ok=True)

    def fail(self, text: str) -> None:
        """Leave error.txt, where that is still possible."""
        try:
            write_atomically(self.error_path, text)
        except RunError as error:
            print(error, file=sys.stderr)


def lock_folder(path: Path, subject: str) -> BaseFileLock:
    """Make and lock the folder of a subject (a run, a sweep), unless another process has it."""
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


def read_rows(path: Path, whole: bool = False) -> list[PlainDict]:
    """Read the rows of a metrics.jsonl; a file that does not exist has none.

    A line that cannot be read is a RunError, but for a last one that a crash has cut short, unless
    the file is to be `whole`.
    """
    *lines, end = path.read_bytes().split(b"\n") if path.exists() else [b""]
    rows: list[PlainDict] = []
    for number, line in enumerate([*lines, end] if end else lines, 1):
        is_cut = number > len(lines)
        try:
            row = json.loads(line)
            row["epoch"]
            if is_cut and whole:
                raise ValueError("the line has no end")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if is_cut and not whole:
                break
            raise RunError(
                f"{path}, line {number} cannot be read as a row of numbers; delete the folder "
                f"{path.parent}, or start over with fresh=true."
            ) from error
        rows.append(with_nan(row))
    return rows
