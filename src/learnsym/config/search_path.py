"""Where configurations lie: this project's folder, and the user's own (`--config-dir`)."""

import sys
from collections.abc import Iterator
from pathlib import Path

_INSTALLED = Path(__file__).parents[1] / "cfg"
CONFIG_DIR = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[3] / "cfg"
"""In an installed package it lies inside; in a checkout beside src."""
NESTED = ("experiment", "table")
"""Config groups whose choices lie in folders of their own: `experiment=augerino/mario_iggy`."""


def config_folders() -> Iterator[Path]:
    """Yield this project's folder of configurations, then that of the command line."""
    yield CONFIG_DIR
    for flag, value in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if flag in ("--config-dir", "-cd"):
            yield Path(value)
        elif flag.startswith("--config-dir="):
            yield Path(flag.partition("=")[2])


def choices_of(group: str) -> list[str]:
    """Return what may be chosen in a config group, as typed; _names are ingredients of others."""
    names = set()
    for folder in (parent / group for parent in config_folders()):
        files = folder.rglob("*.yaml") if group in NESTED else folder.glob("*.yaml")
        names |= {
            p.relative_to(folder).with_suffix("").as_posix() for p in files if p.name[0] != "_"
        }
    return sorted(names)


def choice_file(group: str, choice: str) -> Path:
    """Return the file of a choice; the user's own comes first, as Hydra takes them."""
    files = [folder / group / f"{choice}.yaml" for folder in config_folders()]
    return [file for file in files if file.is_file()][-1]
