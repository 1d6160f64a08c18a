"""What `main.py` calls: Hydra composes, `learnsym.run.run` works, and whatever goes wrong becomes one sentence and an exit code.

Nothing here imports torch: a wrong key or choice is answered before that.
"""

import difflib
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

from learnsym.run.launcher_env import place, wait_for_the_first, wait_for_the_others
from learnsym.config.build import CONFIG_DIR, check_top_level, register_resolvers, unknown_key
from learnsym.utils.files import write_atomically
from learnsym.errors import ConfigError, LearnSymError
from learnsym.config.hydra_guard import guard_hydra
from learnsym.utils.lazy_dynamo import postpone_dynamo

WHY_NOT_OPTUNA = (
    "as hydra-optuna-sweeper does its trials again when a search is continued; a grid is continued where it was: "
    "-m net.regularisation=0.01,0.03,0.1."
)


def main(job: Callable[[], None]) -> None:
    """Run Hydra's main function; exit 0, or 1 for a failed run or sweep, or 2 for a mistake in the command."""
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
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueErrors: Hydra's, of some overrides
        _stop(explain(error, sys.argv[1:]), 2)
    except YAMLError as error:
        _stop(" ".join(f"a configuration cannot be read: {error}".split()).rstrip(".") + ".", 2)
    except KeyboardInterrupt:
        _stop("stopped; the same command goes on from the last epoch.", 130)
    from learnsym.report import sweep_callback as sweep

    sys.exit(1 if sweep.failed_jobs else 0)


def _stop(sentence: str, code: int, details: str = "") -> None:
    """Say what went wrong and exit. Where several processes fail alike, the first says it for all."""
    here = place()
    if here.is_first or wait_for_the_first(code):
        print(f"{details}error: {sentence}", file=sys.stderr, flush=True)
    if here.shared:
        sys.stdout.flush()
        wait_for_the_others()
        os._exit(code)  # threads of the group of processes may still run, and would abort an orderly exit
    sys.exit(code)


def _check_flags(arguments: list[str]) -> None:
    """Refuse a flag that Hydra does not know, in one sentence, which its own parser does not manage; and another sweeper."""
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
    if parser.parse_args(arguments).multirun and place().shared:
        _stop(f"-m: {place().starter} starts the processes of a single run; a sweep is started without it.", 2)


def job(cfg: DictConfig) -> None:
    """One run. In a sweep its failure is recorded and the others go on."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    register_resolvers()  # a launcher may have started this in a process of its own
    # On a cluster lightning-fabric would say so in every process; who starts several by srun knows it.
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    hydra = HydraConfig.get()
    # As typed: an interpolation in an override belongs into the config, where its key is known if it fails.
    overrides = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    choices = dict(hydra.runtime.choices)
    if hydra.mode != RunMode.MULTIRUN:
        try:
            if choices.get("table"):
                raise ConfigError(f"table={choices['table']} is a sweep: python main.py -m table={choices['table']}.")
            if (launcher := choices["launcher"]) != "local":
                raise ConfigError(f"launcher={launcher} would have no effect: it starts what comes after -m, a single run too.")
            _run(cfg, overrides, choices)
        except LearnSymError as error:
            _stop(str(error), error.exit_code)
        except Exception as error:
            directory = getattr(error, "directory", None)
            where = f"in {directory}/error.txt" if directory else "above"
            details = "" if directory else traceback.format_exc()  # no run yet that could keep it
            _stop(f"unexpected {type(error).__name__}: {error}; the traceback is {where}.", 1, details)
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
    write_atomically(Path(hydra.sweep.dir) / "jobs" / f"{hydra.job.num}.json", json.dumps(record, indent=2))


def _run(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> Path:
    check_top_level(cfg)
    postpone_dynamo()
    from learnsym.run.run import run  # torch from here on

    return run(cfg, overrides, choices)


# --- Hydra's complaints in one sentence -----------------------------------------------------------------------------------------


def explain(error: Exception, arguments: list[str]) -> str:
    """One sentence for what Hydra or OmegaConf says of a command line: which key, what was found, what would be valid."""
    text = str(error)
    if match := re.match(r"Could not override '([^']*)'", text):
        return _explain_key(match[1], text, arguments)
    if match := re.search(r"Could not (?:find|load) '([^']*)'", text):
        return _no_choice(match[1])
    if match := re.match(r"Ambiguous value for argument '(.*?)'", text):
        key, _, values = match[1].partition("=")
        return f"{match[1]}: several values are a sweep, which needs -m (a list is written {key}=[{values}])."
    if re.search("Error parsing override|mismatched input|no viable alternative|token recognition", text):
        found = re.search(r"override '([^']*)'", text)
        return f"{found[1] if found else ' '.join(arguments)!r} cannot be read as key=value."
    if "Config group override must be" in text:
        return _explain_group_value(arguments)
    cause = error.__cause__
    if isinstance(cause, LearnSymError):
        return str(cause)
    lines = [line for e in (error, cause) if e is not None for line in str(e).splitlines()[: 1 + (":\n" in str(e))]]
    return f"{': '.join(line.rstrip(':') for line in lines).rstrip('.') or type(error).__name__}."


def choices_of(group: str) -> list[str]:
    """What may be chosen in a config group, as it is typed; names with an underscore in front are ingredients of others."""
    folder = CONFIG_DIR / group
    found = folder.rglob("*.yaml") if group in ("experiment", "table") else folder.glob("*.yaml")
    return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in found if not p.name.startswith("_"))


def _no_choice(path: str) -> str:
    """The sentence for a group/choice that does not exist."""
    top, _, rest = path.partition("/")
    group, choice = (top, rest) if top in ("experiment", "table") else path.rpartition("/")[::2]
    options = choices_of(group)
    close = difflib.get_close_matches(choice, options, n=1)
    suggestion = f"did you mean {close[0]}? " if close else ""
    return f"{group}={choice}: there is no such choice; {suggestion}Valid: {', '.join(options)}."


def _explain_group_value(arguments: list[str]) -> str:
    """A config group was given something that is no name (null, a number)."""
    for argument in arguments:
        group, _, value = argument.lstrip("+~").partition("=")
        if not group:
            return f"{argument!r} cannot be read as key=value."
        if (options := choices_of(group)) and value not in options:
            return f"{group}={value}: a choice is wanted. Valid: {', '.join(options)}."
    return f"{' '.join(arguments)!r} cannot be read as key=value."


def _explain_key(key: str, text: str, arguments: list[str]) -> str:
    """A key that is not in the composed config: compose without it to know which are."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    if key.startswith("hydra."):
        return f"{key}: Hydra has no such setting; main.py --cfg hydra shows all."
    if "No match in the defaults list" in text:
        groups = sorted(p.name for p in CONFIG_DIR.iterdir() if p.is_dir())
        return unknown_key("", key, groups)
    others = [a for a in arguments if "=" in a and not a.startswith(("-", "hydra.")) and a.lstrip("+~").split("=")[0] != key]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = compose("config", overrides=[a for a in others if "," not in a])
    except (HydraException, OmegaConfBaseException):
        return f"{key}: there is no such setting."
    parent, _, name = key.rpartition(".")
    while parent and not isinstance(OmegaConf.select(cfg, parent), DictConfig):
        if OmegaConf.select(cfg, parent) is not None:
            return f"{key}: there is no such setting; {parent} is a single value."
        parent, _, name = parent.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return unknown_key(parent, name, [str(k) for k in node if k != "_target_"])
