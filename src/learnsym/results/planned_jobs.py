"""The jobs that a sweep was to do, from the multirun.yaml that Hydra keeps of it: those that left
no record are missing.
"""

from pathlib import Path

import yaml

SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def planned_jobs(sweep: Path) -> list[tuple[str, ...]]:
    """Overrides of every job, in order; empty where they cannot be known (another sweeper chooses
    its jobs as it goes).

    Args:
        sweep: its directory.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra._internal.utils import create_config_search_path
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from learnsym.config.search_path import CONFIG_DIR

    try:
        hydra = yaml.safe_load((sweep / "multirun.yaml").read_text())["hydra"]
        if hydra["sweeper"]["_target_"] != SWEEPER:
            return []
        words = [f"{key}={value}" for key, value in (hydra["sweeper"]["params"] or {}).items()]
        words += [str(word) for word in hydra["overrides"]["task"]]
        loader = ConfigLoaderImpl(config_search_path=create_config_search_path(str(CONFIG_DIR)))
        (jobs,) = BasicSweeper.split_arguments(
            OverridesParser.create(loader).parse_overrides(words), None
        )
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError, HydraException):
        return []  # no sweep of ours, or one cut short while it was written: there is nothing to compare with
    return [tuple(job) for job in jobs]
