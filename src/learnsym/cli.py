"""The command line: Hydra composes, `learnsym.run` works, whatever goes wrong is one sentence.

Nothing here imports torch: a wrong key or choice is answered before that.
"""

import json
import os
import re
import sys
import traceback
import warnings
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from learnsym.config.allowed_classes import allow_plugins
from learnsym.config.explain import explain
from learnsym.config.hydra_guard import guard_hydra
from learnsym.config.resolvers import register_resolvers
from learnsym.config.search_path import CONFIG_DIR
from learnsym.config.validate import check_top_level
from learnsym.errors import ConfigError, LearnSymError
from learnsym.run.launch_env import launch_env, wait_for_other_ranks, wait_for_rank_zero
from learnsym.schema import PlainDict
from learnsym.utils.files import write_atomically

WHY_NOT_OPTUNA = (
    "as hydra-optuna-sweeper does its trials again when a search is continued; a grid is continued "
    "where it was: -m net.regularisation=0.01,0.03,0.1."
)


def main() -> NoReturn:
    """Run the command line; exit with 0, 1 for a failed run or sweep, 2 for a wrong command."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us as they are; we print the sentence
    # Libraries' remarks about their own future are not for the person at the console.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    register_resolvers()
    guard_hydra()
    _check_flags(sys.argv[1:])
    try:
        allow_plugins(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="config")(job)()
    except LearnSymError as error:
        _stop(str(error), error.exit_code)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueErrors: Hydra's
        _stop(explain(error, sys.argv[1:]), 2)
    except YAMLError as error:
        text = " ".join(f"a configuration cannot be read: {error}".split())
        _stop(text.rstrip(".") + ".", 2)
    except KeyboardInterrupt:
        _stop("stopped; the same command goes on from the last epoch.", 130)
    from learnsym.report import sweep_callback

    sys.exit(1 if sweep_callback.failed_jobs else 0)


def job(cfg: DictConfig) -> None:
    """Do one run; in a sweep its failure is recorded and the others go on."""
    register_resolvers()  # a launcher may have started this in a process of its own
    # lightning-fabric would say so in every process.
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    settings = HydraConfig.get()
    # As typed: an interpolation in an override belongs into the configuration.
    overrides = OmegaConf.to_container(settings.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    choices = dict(settings.runtime.choices)
    if settings.mode == RunMode.MULTIRUN:
        _job_of_sweep(cfg, overrides, choices)
    else:
        _single_job(cfg, overrides, choices)


def _single_job(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> None:
    try:
        if table := choices.get("table"):
            raise ConfigError(f"table={table} is a sweep: python main.py -m table={table}.")
        if (launcher := choices["launcher"]) != "local":
            raise ConfigError(
                f"launcher={launcher} would have no effect: it starts what comes after -m, a "
                "single run too."
            )
        _run(cfg, overrides, choices)
    except LearnSymError as error:
        _stop(str(error), error.exit_code)
    except Exception as error:
        directory = getattr(error, "directory", None)
        where = f"in {directory}/error.txt" if directory else "above"
        details = "" if directory else traceback.format_exc()  # no run yet that could keep it
        kind = type(error).__name__
        _stop(f"unexpected {kind}: {error}; the traceback is {where}.", 1, details)


def _job_of_sweep(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> None:
    settings = HydraConfig.get()
    record: PlainDict = {"overrides": overrides, "status": "failed"}
    record |= {"directory": None, "error": None}
    sweep = Path(settings.sweep.dir)
    try:
        record |= {"directory": str(_run(cfg, overrides, choices)), "status": "finished"}
    except Exception as error:
        known = isinstance(error, LearnSymError)
        directory: str | None = getattr(error, "directory", None)
        record["error"] = str(error) if known else f"{type(error).__name__}: {error}"
        record["directory"] = directory
        folder = Path(directory or sweep / "jobs" / str(settings.job.num))
        write_atomically(folder / "error.txt", f"{error}\n" if known else traceback.format_exc())
        print(f"failed: {' '.join(overrides)}: {record['error']}", file=sys.stderr)
    write_atomically(sweep / "jobs" / f"{settings.job.num}.json", json.dumps(record, indent=2))


def _run(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> Path:
    allow_plugins(overrides)
    check_top_level(cfg)
    from learnsym.run.run import run  # torch from here on

    return run(cfg, overrides, choices)


def _stop(sentence: str, code: int, details: str = "") -> NoReturn:
    """Say what went wrong and exit; where several ranks fail alike, rank 0 says it for all."""
    env = launch_env()
    if env.is_rank_zero or wait_for_rank_zero(code):
        print(f"{details}error: {sentence}", file=sys.stderr, flush=True)
    if env.is_distributed:
        sys.stdout.flush()
        wait_for_other_ranks()
        os._exit(code)  # threads of the group of processes may still run: they abort an exit
    sys.exit(code)


def _check_flags(arguments: list[str]) -> None:
    """Refuse unknown flags in one sentence, which Hydra's parser does not, and other sweepers."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        flags = message.removeprefix("unrecognized arguments: ")
        if flags != message and not flags.startswith("-"):
            message = f"{flags}: flags such as -m come before all settings"
        _stop(f"{message} (--hydra-help tells of all flags).", 2)

    for argument in arguments:
        sweeper = re.fullmatch(r"\+*hydra/sweeper=(.*)", argument)
        if sweeper and sweeper[1] != "basic":
            _stop(f"hydra/sweeper={sweeper[1]} is not supported, {WHY_NOT_OPTUNA}", 2)
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    env = launch_env()
    if parser.parse_args(arguments).multirun and env.is_distributed:
        started = f"{env.launcher} starts the processes of a single run"
        _stop(f"-m: {started}; a sweep is started without it.", 2)
