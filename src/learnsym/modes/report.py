"""`mode=report`: tables and a page of runs that are there already, as at the end of a sweep."""

import hashlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from learnsym.errors import ConfigError
from learnsym.results.collect import collect
from learnsym.results.grouping import group_runs
from learnsym.run.mode import ResultsMode


class Report(ResultsMode):
    """Write tables (Markdown, CSV, LaTeX) and one HTML page of the runs of `runs=`.

    Args:
        out: folder that takes the files; None: reports/<name of the pattern> under paths.out.
        metrics: names or patterns of the metrics that tables show; None: those of testing and
            learning.
        across_code: take means over runs of several versions of the code.

    Raises:
        ValueError: an empty list of metrics.
    """

    needs_runs = True

    def __init__(
        self, out: str | None = None, metrics: list[str] | None = None, across_code: bool = False
    ) -> None:
        if metrics is not None and not metrics:
            raise ValueError(
                "metrics=[]: at least one name or pattern is needed; "
                "null shows those of testing and learning."
            )
        self.out = out
        self.metrics = metrics
        self.across_code = across_code

    def __call__(self, cfg: DictConfig) -> Path:
        """Write everything; return the path of report.html."""
        from learnsym.report.write import write_report  # with pandas

        patterns = [cfg.runs] if isinstance(cfg.runs, str) else [str(p) for p in cfg.runs]
        default = Path(cfg.paths.out) / "reports" / name_of_patterns(patterns)
        folder = Path(self.out or default).absolute()
        if folder.exists() and not folder.is_dir():
            raise ConfigError(
                f"mode.out={self.out}: a folder is wanted, and there is a file of this name."
            )
        runs = collect(patterns)
        groups = group_runs(runs, self.across_code)
        typed = patterns[0] if len(patterns) == 1 else patterns
        command = shlex.join(["main.py", "mode=report", f"runs={typed}"])
        title = f"Report: {', '.join(patterns)}"
        return write_report(folder, title, command, runs, groups, self.metrics)


def name_of_patterns(patterns: Sequence[str]) -> str:
    """Return a readable folder name, the same for the same patterns.

    >>> name_of_patterns(["runs/sweeps/cifar10-1b2c/*"])
    'cifar10-1b2c-a6e86582'
    """
    names = [re.sub(r"[^\w.-]+", "", name) for name in Path(patterns[0]).parts]
    words = [name for name in names if name.strip(".")]
    digest = hashlib.sha256("\n".join(patterns).encode()).hexdigest()[:8]
    return "-".join([*words[-1:], digest])
