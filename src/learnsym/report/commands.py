"""A command line of main.py as a record of what was run: the preset, what was changed in it, the
scale.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

SCALES = ("full", "cpu", "smoke")
IDLE = re.compile(
    r"[+~]*(seed|table|fresh|runs|debug|launcher|logger|paths|hydra|trainer\.progress)([./][\w./]+)?="
)
"""Overrides that decide nothing but the seed, or where things are and how they are shown."""


@dataclass(frozen=True)
class Command:
    """What a command does, whoever typed it and wherever the data are."""

    preset: str | None
    """None: a run without `experiment=`."""
    overrides: tuple[str, ...]
    """What is changed in the preset, in the order of typing."""
    scale: str
    has_data_folder: bool
    """Whether `paths.data=` was given."""

    def __str__(self) -> str:
        words = [] if self.preset is None else [f"experiment={self.preset}"]
        words += self.overrides
        words += [] if self.scale == "full" else [f"scale={self.scale}"]
        words += ["paths.data=DIR"] if self.has_data_folder else []
        return " ".join(["python main.py", *(shlex.quote(w) for w in words)])


def read_command(text: str) -> Command:
    """`python main.py experiment=... key=value ...`, taken apart.

    Raises:
        ValueError: it is no such command.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no command ({error})") from error
    if words[:2] != ["python", "main.py"]:
        raise ValueError(f"{text!r} does not begin with 'python main.py'")
    return take_apart(words[2:])


def take_apart(words: Sequence[str]) -> Command:
    """Overrides as Hydra has them. What names a file says its name in DIR: where the data are
    decides nothing.

    Raises:
        ValueError: a word is no override, or the scale is none.
    """
    preset, scale, overrides = None, "full", []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals and not word.startswith("~"):
            raise ValueError(f"{word!r} is not of the form key=value")
        if key == "experiment":
            preset = value
        elif key == "scale":
            scale = value
        elif not IDLE.match(word):
            is_file = key.rpartition(".")[2] in ("file", "path") and "/" in value
            overrides.append(
                f"{key}=DIR/{value.rstrip('/').rpartition('/')[2]}" if is_file else word
            )
    if scale not in SCALES:
        raise ValueError(f"scale={scale} is not a scale; valid: {', '.join(SCALES)}")
    return Command(preset, tuple(overrides), scale, any(w.startswith("paths.data=") for w in words))
