"""Directories of runs as `learnsym.run.run` leaves them, with numbers that a test chooses."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""A PNG."""


def make_run(
    folder: Path,
    seed: int = 0,
    *,
    words: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
    error: str | None = None,
    name: str | None = None,
    scale: str = "full",
    code: str = "aaaaaaaaaaaa",
    paths: Mapping[str, str] | None = None,
    **result: Any,
) -> Path:
    """One run's directory; finished where it has metrics, failed where it has an error."""
    path = folder / (name or f"net-data-{scale}-seed{seed}-{len(list(folder.glob('*'))):08x}")
    (path / "figures").mkdir(parents=True)
    whole = {
        "seed": seed,
        "scale": scale,
        "paths": dict(paths or {"data": "data", "out": str(folder)}),
    } | dict(config or {})
    (path / "config.yaml").write_text(yaml.safe_dump(whole))
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if metrics is not None:
        content = {
            "status": "finished",
            "metrics": metrics,
            "versions": {"learnsym": "0.1.0", "code": code},
            "device": "cpu",
        }
        content |= {
            "command": " ".join(["main.py", *words, f"seed={seed}"]),
            "seconds": 1.5,
            "seed": seed,
            "scale": scale,
        }
        (path / "result.json").write_text(json.dumps(content | result))
        (path / "figures/learned_symmetry.png").write_bytes(PIXEL)
    if error is not None:
        (path / "error.txt").write_text(error)
    return path
