"""Versions of what decides a number."""

import hashlib
import platform
import subprocess
from functools import cache, partial
from importlib import metadata
from pathlib import Path

LIBRARIES = ("learnsym", "torch", "torchvision", "numpy", "lightning-fabric", "hydra-core")


def versions() -> dict[str, str | None]:
    """Return the versions of libraries and Python, the hash of the source and its commit."""
    libraries: dict[str, str | None] = {name: metadata.version(name) for name in LIBRARIES}
    own = {"python": platform.python_version(), "code": code_hash(), "commit": commit()}
    return libraries | own


@cache
def code_hash() -> str:
    """Return 12 hex digits of a hash of the package's source."""
    digest, package = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def commit() -> str | None:
    """Return the commit of the checkout, "+changes" if its code differs; None outside of git."""
    package = Path(__file__).parents[1]
    commands = (
        # A package that is installed within somebody else's checkout is not tracked there.
        ["ls-files", "--error-unmatch", str(package / "run" / "run.py")],
        ["rev-parse", "--short", "HEAD"],
        ["status", "--porcelain", "--", "main.py", "src", "cfg"],
    )
    git = ["git", "-C", str(package.parents[1]), "--no-optional-locks"]
    ask = partial(subprocess.check_output, stderr=subprocess.DEVNULL, text=True)
    try:
        _, head, changes = (ask([*git, *words]).strip() for words in commands)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changes else "")
