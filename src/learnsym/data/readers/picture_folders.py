"""Find the pictures of a folder: which part of the data, which class, what was left out."""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from learnsym.errors import DataError

ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"))
SPLITS = {
    **dict.fromkeys(("train", "training", "trn", "learning"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout", "evaluation"), "test"),
}
"""What folders of the splits are called, in any case, with or without a word such as `set`."""
SYSTEM: tuple[str, ...] = ("__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin")
SYSTEM += ("lost+found", "__pycache__")
SYSTEM += ("system volume information", "thumbnails", "thumbs.db", "ehthumbs.db", "desktop.ini")


@dataclass
class PictureFiles:
    """What a folder holds.

    Attributes:
        classes: names in alphabetical order.
        splits: "train" and what else there is: files and the indices of their classes.
        left_out: why, with the number of files.
    """

    classes: tuple[str, ...] = ()
    splits: dict[str, list[tuple[Path, int]]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def remarks(self, root: Path) -> list[str]:
        """Return a sentence on what was not read, if there is something."""
        reasons = ", ".join(f"{count} {why}" for why, count in sorted(self.left_out.items()))
        return [f"{root}: files that were not read: {reasons}."] if reasons else []


@dataclass
class _Folder:
    path: Path
    folders: dict[str, "_Folder"]
    pictures: list[Path]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def nested(self) -> list["_Folder"]:
        """The folders in it that hold pictures at any depth."""
        return [f for f in self.folders.values() if f.pictures or f.nested]

    def describe(self) -> str:
        """Say what it holds."""
        parts = [f"{len(self.pictures)} pictures"] if self.pictures else []
        parts += [f"the folders {', '.join(self.folders)}"] if self.folders else []
        return " and ".join(parts) or "no pictures"


def split_of(name: str) -> str | None:
    """Return the split that a folder is named after, None for other names.

    >>> [split_of(name) for name in ("Training", "test_images", "VALID", "train-set", "cat")]
    ['train', 'test', 'val', 'train', None]
    """
    words = re.findall(r"[a-z]+", name.lower())
    stem = "".join(w for w in words if w not in ("set", "data", "images", "split", "dataset"))
    return SPLITS.get(stem) or SPLITS.get(re.sub(r"(data)?set$|data$", "", stem))


def find_pictures(root: Path) -> PictureFiles:
    """Find classes and splits.

    Raises:
        DataError: the folders are not one for each class, or one for each split with these in it.
    """
    expected = "Expected a folder with one sub-folder of pictures per class"
    if not root.is_dir():
        raise DataError(f"dataset.path: there is no folder {root}. {expected}.")
    result = PictureFiles()
    top = _read(root, result.left_out)
    if not top.nested:
        raise DataError(f"{root} holds {top.describe()}. {expected}.")
    named = {f.name: split_of(f.name) for f in top.folders.values()}
    holds_classes = [f for f in top.folders.values() if f.nested]
    if len(top.folders) == 1 and holds_classes and not any(named.values()):
        (only,) = holds_classes
        raise DataError(f"{root} holds but the folder {only.name}. Try dataset.path={only.path}.")
    if any(named[f.name] for f in holds_classes):
        folders = _splits(top, named)
    elif clash := [name for name, split in named.items() if split]:
        raise DataError(
            f"{root} holds {top.describe()}; {clash[0]} is the name of a split, but holds pictures "
            f"and no folder of a class. {expected}. Try another name for a class of this name."
        )
    else:
        folders = {"train": top}
    for split, folder in folders.items():
        result.splits[split] = _read_classes(folder, result)
        result.left_out["beside the folders of the classes"] += len(folder.pictures)
    if top not in folders.values():
        result.left_out["beside the folders of the classes"] += len(top.pictures)
    result.left_out = +result.left_out
    return result


def _read(path: Path, left_out: Counter[str]) -> _Folder:
    """Read a folder and those in it; hidden ones and files of other endings are counted."""
    folder = _Folder(path, {}, [])
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        hidden = entry.name.startswith(".") or entry.name.lower() in SYSTEM
        if entry.is_dir() and hidden:
            left_out[f"in {entry.name}"] += sum(len(files) for *_, files in os.walk(entry.path))
        elif entry.is_dir():
            folder.folders[entry.name] = _read(Path(entry.path), left_out)
        elif hidden:
            left_out["hidden"] += 1
        elif (ending := Path(entry.name).suffix.lower()) in ENDINGS:
            folder.pictures.append(Path(entry.path))
        else:
            left_out[ending or "without an ending"] += 1
    return folder


def _splits(top: _Folder, named: dict[str, str | None]) -> dict[str, _Folder]:
    """Return the folder of each split, where the folders are splits."""
    got = f"{top.path} holds {top.describe()}"
    folders: dict[str, _Folder] = {}
    for name, split in named.items():
        if split is None:
            raise DataError(f"{got}. Expected splits or classes, not both: {name} is no split.")
        if split in folders:
            raise DataError(f"{got}. Expected one {split} folder, not two.")
        folders[split] = top.folders[name]
    if "train" not in folders:
        raise DataError(f"{got}, but no training part. Expected train besides.")
    return {split: folders[split] for split in ("train", "val", "test") if split in folders}


def _read_classes(folder: _Folder, result: PictureFiles) -> list[tuple[Path, int]]:
    """Return the files of one folder of classes."""
    for f in folder.folders.values():
        if f.nested:
            raise DataError(
                f"{f.path} holds {f.describe()}. Expected the pictures of one class in it. If it "
                f"only wraps the classes, try dataset.path={f.path}."
            )
        if not f.pictures:
            raise DataError(f"{f.path} holds no pictures. Expected some of the class {f.name}.")
    names = tuple(folder.folders)
    if len(names) < 2:
        raise DataError(
            f"{folder.path} holds the one class {', '.join(names)}. Expected two or more."
        )
    if result.classes and names != result.classes:
        missing = sorted(set(result.classes) ^ set(names))
        raise DataError(
            f"{folder.path} has the classes {', '.join(names)} but train has "
            f"{', '.join(result.classes)}. Expected the same sub-folders ({', '.join(missing)})."
        )
    result.classes = names
    return [(p, i) for i, name in enumerate(names) for p in folder.folders[name].pictures]
