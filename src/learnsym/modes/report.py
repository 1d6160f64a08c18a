"""`mode=report`: tables and a page of runs that are there already, as at the end of a sweep."""

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from learnsym.errors import ConfigError
from learnsym.results.collect import collect
from learnsym.results.grouping import group_runs
from learnsym.run.mode import ResultsMode


@dataclass
class Report(ResultsMode):
    """Write tables (Markdown, CSV, LaTeX) and one HTML page of the runs of `runs=`."""

    needs_runs = True

    out: str | None = None
    metrics: list[str] | None = None
    across_code: bool = False

    def __post_init__(self) -> None:
        if self.metrics is not None and not self.metrics:
            raise ValueError(
                "metrics=[]: at least one name or pattern is needed; "
                "null shows those of testing and learning."
            )

    def __call__(self, cfg: DictConfig) -> Path:
        """Write everything; return the path of report.html."""
        from learnsym.report.write import write_report  # with pandas

        patterns = [cfg.runs] if isinstance(cfg.runs, str) else list(cfg.runs)
        default = Path(cfg.paths.out) / "reports" / _name_of(patterns)
        folder = Path(self.out or default).absolute()
        if folder.exists() and not folder.is_dir():
            raise ConfigError(
                f"mode.out={self.out}: a folder is wanted, and there is a file of this name."
            )
        runs = collect(patterns)
        typed = patterns[0] if len(patterns) == 1 else patterns
        command = shlex.join(["main.py", "mode=report", f"runs={typed}"])
        title, groups = f"Report: {', '.join(patterns)}", group_runs(runs, self.across_code)
        return write_report(folder, title, command, runs, groups, self.metrics)


def _name_of(patterns: Sequence[str]) -> str:
    """Return a readable folder name, the same for the same patterns.

    >>> _name_of(["runs/sweeps/cifar10-1b2c/*"])
    'cifar10-1b2c-a6e86582'
    """
    names = [re.sub(r"[^\w.-]+", "", name) for name in Path(patterns[0]).parts]
    words = [name for name in names if name.strip(".")]
    digest = hashlib.sha256("\n".join(patterns).encode()).hexdigest()[:8]
    return "-".join([*words[-1:], digest])
