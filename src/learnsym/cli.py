"""What `main.py` calls: Hydra composes, `learnsym.run.run` works, and whatever goes wrong becomes
one sentence and an exit code.

Nothing here imports torch: a wrong key or choice is answered before that.
"""

import json
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from learnsym.config.explain import explain
from learnsym.config.hydra_guard import guard_hydra
from learnsym.config.resolvers import register_resolvers
from learnsym.config.validate import check_top_level
from learnsym.errors import ConfigError, LearnSymError
from learnsym.run.launcher_env import launch_env, wait_for_the_first, wait_for_the_others
from learnsym.utils.files import write_atomically

WHY_NOT_OPTUNA = (
    "as hydra-optuna-sweeper does its trials again when a search is continued; a grid is continued where it was: "
    "-m net.regularisation=0.01,0.03,0.1."
)


def main(job: Callable[[], None]) -> None:
    """Run Hydra's main function; exit 0, or 1 for a failed run or sweep, or 2 for a mistake in the
    command.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us as they are; we print the sentence
    # A person reads our output: libraries' remarks about their own future do not belong there.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    register_resolvers()
    guard_hydra()
    _check_flags(sys.argv[1:])
    try:
        job()
    except LearnSymError as error:
        _stop(str(error), error.exit_code)
    except (
        HydraException,
        OmegaConfBaseException,
        ValueError,
    ) as error:  # ValueErrors: Hydra's, of some overrides
        _stop(explain(error, sys.argv[1:]), 2)
    except YAMLError as error:
        _stop(" ".join(f"a configuration cannot be read: {error}".split()).rstrip(".") + ".", 2)
    except KeyboardInterrupt:
        _stop("stopped; the same command goes on from the last epoch.", 130)
    from learnsym.report import sweep_callback as sweep

    sys.exit(1 if sweep.failed_jobs else 0)


def _stop(sentence: str, code: int, details: str = "") -> None:
    """Say what went wrong and exit. Where several processes fail alike, the first says it for
    all.
    """
    here = launch_env()
    if here.is_first or wait_for_the_first(code):
        print(f"{details}error: {sentence}", file=sys.stderr, flush=True)
    if here.shared:
        sys.stdout.flush()
        wait_for_the_others()
        os._exit(
            code
        )  # threads of the group of processes may still run, and would abort an orderly exit
    sys.exit(code)


def _check_flags(arguments: list[str]) -> None:
    """Refuse a flag that Hydra does not know, in one sentence, which its own parser does not
    manage; and another sweeper.
    """
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> None:
        found = message.removeprefix("unrecognized arguments: ")
        if found != message and not found.startswith("-"):
            message = f"{found}: flags such as -m come before all settings"
        _stop(f"{message} (--hydra-help tells of all flags).", 2)

    for argument in arguments:
        if (sweeper := re.fullmatch(r"\+*hydra/sweeper=(.*)", argument)) and sweeper[1] != "basic":
            _stop(f"hydra/sweeper={sweeper[1]} is not supported, {WHY_NOT_OPTUNA}", 2)
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign, assignment]
    if parser.parse_args(arguments).multirun and launch_env().shared:
        _stop(
            f"-m: {launch_env().starter} starts the processes of a single run; a sweep is started without it.",
            2,
        )


def job(cfg: DictConfig) -> None:
    """One run. In a sweep its failure is recorded and the others go on."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    register_resolvers()  # a launcher may have started this in a process of its own
    # On a cluster lightning-fabric would say so in every process; who starts several by srun knows
    # it.
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    hydra = HydraConfig.get()
    # As typed: an interpolation in an override belongs into the config, where its key is known if
    # it fails.
    overrides = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    choices = dict(hydra.runtime.choices)
    if hydra.mode != RunMode.MULTIRUN:
        try:
            if choices.get("table"):
                raise ConfigError(
                    f"table={choices['table']} is a sweep: python main.py -m table={choices['table']}."
                )
            if (launcher := choices["launcher"]) != "local":
                raise ConfigError(
                    f"launcher={launcher} would have no effect: it starts what comes after -m, a single run too."
                )
            _run(cfg, overrides, choices)
        except LearnSymError as error:
            _stop(str(error), error.exit_code)
        except Exception as error:
            directory = getattr(error, "directory", None)
            where = f"in {directory}/error.txt" if directory else "above"
            details = "" if directory else traceback.format_exc()  # no run yet that could keep it
            _stop(
                f"unexpected {type(error).__name__}: {error}; the traceback is {where}.", 1, details
            )
        return
    record = {"overrides": overrides, "status": "failed", "directory": None, "error": None}
    try:
        record |= {"directory": str(_run(cfg, overrides, choices)), "status": "finished"}
    except Exception as error:
        known = isinstance(error, LearnSymError)
        record |= {
            "error": str(error) if known else f"{type(error).__name__}: {error}",
            "directory": getattr(error, "directory", None),
        }
        folder = Path(record["directory"] or Path(hydra.sweep.dir) / "jobs" / str(hydra.job.num))
        write_atomically(folder / "error.txt", f"{error}\n" if known else traceback.format_exc())
        print(f"failed: {' '.join(overrides)}: {record['error']}", file=sys.stderr)
    write_atomically(
        Path(hydra.sweep.dir) / "jobs" / f"{hydra.job.num}.json", json.dumps(record, indent=2)
    )


def _run(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> Path:
    check_top_level(cfg)

    from learnsym.run.run import run  # torch from here on

    return run(cfg, overrides, choices)


# --- Hydra's complaints in one sentence
