"""TODO."""

import hashlib
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path


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
        asked = (
            ["ls-files", "--error-unmatch", str(package / "run" / "run.py")],
            ["rev-parse", "--short", "HEAD"],
        )
        asked += (["status", "--porcelain", "--", "main.py", "src", "cfg"],)
        _, head, changed = (
            subprocess.run(
                ["git", "--no-optional-locks", *words],
                cwd=root,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for words in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changed else "")


def versions() -> dict[str, str | None]:
    """Versions of what decides a number."""
    found = {
        name: metadata.version(name)
        for name in ("learnsym", "torch", "torchvision", "numpy", "lightning-fabric", "hydra-core")
    }
    return found | {"python": platform.python_version(), "code": code_hash(), "commit": commit()}
