"""`mode=report`: tables and a page of runs that are there already. The end of a sweep is the same,
of its jobs.
"""

import hashlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from learnsym.errors import ConfigError
from learnsym.report.write import write_report
from learnsym.results.collect import collect
from learnsym.results.grouping import group
from learnsym.run.mode import ResultsMode


class Report(ResultsMode):
    """Tables (Markdown, CSV, LaTeX) and one self-contained HTML page of the runs that `runs=`
    stands for.
    """

    needs_runs = True

    def __init__(
        self, out: str | None = None, metrics: list[str] | None = None, across_code: bool = False
    ) -> None:
        """Args:
            out: folder that takes the files; None: reports/<name of the pattern> under paths.out.
            metrics: names or patterns of the metrics that tables show; None: those of testing and
                of what was learned.
            across_code: means are taken over runs of several versions of the code.

        Raises:
            ValueError: an empty list of metrics.
        """
        if metrics is not None and not metrics:
            raise ValueError(
                "metrics=[]: at least one name or pattern is needed; null shows those of testing and learning."
            )
        self.out, self.metrics, self.across_code = out, metrics, across_code

    def __call__(self, cfg: DictConfig) -> Path:
        """Write everything; the path of report.html."""
        patterns = OmegaConf.to_container(cfg.runs) if OmegaConf.is_list(cfg.runs) else [cfg.runs]
        assert isinstance(patterns, list)
        folder = Path(
            self.out or Path(cfg.paths.out) / "reports" / name_of_patterns(patterns)
        ).absolute()
        if folder.exists() and not folder.is_dir():
            raise ConfigError(
                f"mode.out={self.out}: a folder is wanted, and there is a file of this name."
            )
        runs = collect(patterns)
        groups = group(runs, self.across_code)
        command = shlex.join(
            ["main.py", "mode=report", f"runs={patterns[0] if len(patterns) == 1 else patterns}"]
        )
        written = write_report(
            folder, f"Report: {', '.join(patterns)}", command, runs, groups, self.metrics
        )
        return written["report"]


def name_of_patterns(patterns: Sequence[str]) -> str:
    """A readable folder name, the same for the same patterns.

    >>> name_of_patterns(["runs/sweeps/cifar10-1b2c/*"])
    'cifar10-1b2c-ec38dafd'
    """
    parts = [re.sub(r"[^\w.-]+", "", part) for part in Path(patterns[0]).parts]
    words = [part for part in parts if part.strip(".")]
    digest = hashlib.sha256("\n".join(patterns).encode()).hexdigest()[:8]
    return "-".join([*words[-1:], digest])
