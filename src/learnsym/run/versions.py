"""Versions of what decides a number."""

import hashlib
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = ("learnsym", "torch", "torchvision", "numpy", "lightning-fabric", "hydra-core")


def versions() -> dict[str, str | None]:
    """Return the versions of libraries and Python, the hash of the source and its commit."""
    libraries: dict[str, str | None] = {name: metadata.version(name) for name in _LIBRARIES}
    return libraries | {
        "python": platform.python_version(),
        "code": code_hash(),
        "commit": commit(),
    }


@cache
def code_hash() -> str:
    """Return 12 hex digits of a hash of the package's source."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def commit() -> str | None:
    """Return the commit of the checkout, "+changes" if its code differs; None outside of git."""
    package = Path(__file__).parents[1]
    # A package that is installed within somebody else's checkout is not tracked there.
    commands = (
        ["ls-files", "--error-unmatch", str(package / "run" / "run.py")],
        ["rev-parse", "--short", "HEAD"],
        ["status", "--porcelain", "--", "main.py", "src", "cfg"],
    )
    try:
        _, head, changes = (_git(package.parents[1], *words) for words in commands)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changes else "")


def _git(folder: Path, *words: str) -> str:
    command = ["git", "--no-optional-locks", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
