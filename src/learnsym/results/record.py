"""A run's directory: what is written while it goes on, atomically, and what is read when the same command comes again."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from learnsym.errors import RunError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that `path` holds either the old content or the new, whole.

    Raises:
        RunError: it cannot be written (a full disk, no permission); the old file is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(f"{path} cannot be written ({error.strerror or error}); what was there before is unchanged.")


@cache
def code_hash() -> str:
    """Hash (12 hex digits) of the package's source: another one, and a result may not be what this code would give."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def commit() -> str | None:
    """The commit that this code was checked out from, "+changes" where code or presets differ from it; None outside of git."""
    package, root = Path(__file__).parents[1], Path(__file__).parents[3]
    try:
        # A package installed within somebody else's checkout is not tracked there.
        asked = (["ls-files", "--error-unmatch", str(package / "run.py")], ["rev-parse", "--short", "HEAD"])
        asked += (["status", "--porcelain", "--", "main.py", "src", "cfg"],)
        _, head, changed = (
            subprocess.run(
                ["git", "--no-optional-locks", *words], cwd=root, capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changed else "")


def versions() -> dict[str, str | None]:
    """Versions of what decides a number."""
    found = {
        name: metadata.version(name) for name in ("learnsym", "torch", "torchvision", "numpy", "lightning-fabric", "hydra-core")
    }
    return found | {"python": platform.python_version(), "code": code_hash(), "commit": commit()}


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
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise RunError(f"{self.path}: another process is at work on this run; wait for it, or change paths.out.") from error
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            yield
        finally:
            lock.release()

    def clear(self) -> None:
        """Start over: forget everything that this run wrote."""
        for path in sorted(self.path.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            elif path.name != ".lock":
                path.unlink()

    # --- metrics.jsonl ----------------------------------------------------------------------------------------------------------

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one epoch's numbers and see them to the disk."""
        path = self.path / "metrics.jsonl"
        try:
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(path, error) from error

    def rows(self) -> list[dict[str, Any]]:
        """All epochs' numbers; a line cut short by a crash ends them."""
        return read_rows(self.path / "metrics.jsonl")

    def truncate(self, epochs: int) -> None:
        """Keep the rows of the first `epochs` epochs.

        Raises:
            RunError: some of them are not there. (A row is on the disk before its checkpoint; somebody has meddled.)
        """
        path = self.path / "metrics.jsonl"
        kept = [row for row in self.rows() if row["epoch"] <= epochs]
        if len(kept) < epochs:
            raise RunError(f"{path} has rows of {len(kept)} epochs, the checkpoint is of epoch {epochs}; fresh=true starts over.")
        if path.exists():
            write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))

    # --- result.json and error.txt ----------------------------------------------------------------------------------------------

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
        try:
            return json.loads(self.result_path.read_text())
        except (OSError, ValueError) as error:
            raise RunError(f"{self.result_path} cannot be read as JSON; delete it, or start over with fresh=true.") from error

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


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics.jsonl, up to the first line that is not whole."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
    return rows


class Console:
    """What a person sees while a run goes on: a progress bar on a terminal, a quiet line an epoch elsewhere."""

    def __init__(self, progress: bool | str) -> None:
        self.bar = sys.stderr.isatty() if progress == "auto" else bool(progress)
        self._last = 0.0

    @contextmanager
    def progress(self, epoch: int, epochs: int, steps: int) -> Iterator[Callable[[], Any]]:
        """A bar over the steps of one epoch; the value is called after every step."""
        from tqdm import tqdm

        with tqdm(total=steps, desc=f"epoch {epoch}/{epochs}", leave=False, disable=not self.bar) as bar:
            yield bar.update

    def log(self, row: Mapping[str, Any], epochs: int) -> None:
        """One line an epoch, at most one a second: the numbers that a person follows."""
        last = row["epoch"] == epochs
        if not last and time.monotonic() - self._last < 1.0:
            return
        self._last = time.monotonic()
        shown = [k for k in row if k.endswith(("loss", "accuracy")) or "learned_rotation" in k]
        print(f"epoch {row['epoch']}/{epochs}  " + "  ".join(f"{k} {row[k]:.4g}" for k in shown), flush=True)
