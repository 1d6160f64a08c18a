"""The command line: Hydra composes, `learnsym.run` works, whatever goes wrong is one sentence.

Nothing here imports torch: a wrong key or choice is answered before that.
"""

import json
import os
import re
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
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
from learnsym.run.launch_env import launch_env, wait_for_rank_zero
from learnsym.schema import SECTIONS, PlainDict, key_of
from learnsym.utils.files import write_atomically


def main() -> NoReturn:
    """Run the command line; exit with 0, 1 for a failed run or sweep, 2 for a wrong command."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us as they are; we print the sentence
    # Libraries' remarks about their own future are not for the person at the console.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    register_resolvers()
    guard_hydra()
    words = sys.argv[1:]
    _check_flags(words)
    if "checkpoint" in map(key_of, words):
        # Its sections may have keys that those of config.yaml lack: they are checked against them.
        sys.argv[1:] = [re.sub(rf"^(?=({'|'.join(SECTIONS)})\.)", "++", word) for word in words]
    try:
        allow_plugins(words)
        hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="config")(job)()
    except LearnSymError as error:
        _stop(str(error), error.exit_code)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueErrors: Hydra's
        _stop(explain(error, words), 2)
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
    do = _job_of_sweep if settings.mode == RunMode.MULTIRUN else _single_job
    do(cfg, overrides, dict(settings.runtime.choices))


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
        sentence = f"unexpected {type(error).__name__}: {error}; the traceback is {where}."
        _stop(sentence, 1, details)


def _job_of_sweep(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> None:
    settings = HydraConfig.get()
    record_path = Path(settings.sweep.dir) / "jobs" / str(settings.job.num)
    record: PlainDict = {"overrides": overrides, "status": "finished"}
    try:
        record |= {"directory": str(_run(cfg, overrides, choices)), "error": None}
    except Exception as error:
        known, directory = isinstance(error, LearnSymError), getattr(error, "directory", None)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        record |= {"status": "failed", "directory": directory, "error": text}
        details = f"{error}\n" if known else traceback.format_exc()
        write_atomically(Path(directory or record_path) / "error.txt", details)
        print(f"failed: {' '.join(overrides)}: {text}", file=sys.stderr)
    write_atomically(record_path.with_suffix(".json"), json.dumps(record, indent=2))


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
        if env.is_rank_zero and env.launcher == "torchrun":
            time.sleep(3)  # for the others, which torchrun kills when rank 0 ends
        os._exit(code)  # threads of the group of processes may still run: they abort an exit
    sys.exit(code)


def _check_flags(arguments: list[str]) -> None:
    """Refuse unknown flags in one sentence, which Hydra's parser does not, and other sweepers."""

    def refuse(message: str) -> NoReturn:
        flags = message.removeprefix("unrecognized arguments: ")
        if flags != message and not flags.startswith("-"):
            message = f"{flags}: flags such as -m come before all settings"
        _stop(f"{message} (--hydra-help tells of all flags).", 2)

    for argument in arguments:
        sweeper = re.fullmatch(r"\+*hydra/sweeper=(.*)", argument)
        if sweeper and sweeper[1] != "basic":
            _stop(
                f"hydra/sweeper={sweeper[1]} is not supported, as hydra-optuna-sweeper does its "
                "trials again when a search is continued; a grid is continued where it was: "
                "-m net.regularisation=0.01,0.03,0.1.",
                2,
            )
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    env = launch_env()
    if parser.parse_args(arguments).multirun and env.is_distributed:
        _stop(env.no_sweep, 2)
