"""TODO."""

import difflib
import re

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from learnsym.config.validate import CONFIG_DIR, unknown_key
from learnsym.errors import LearnSymError


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
    if re.search(
        "Error parsing override|mismatched input|no viable alternative|token recognition", text
    ):
        found = re.search(r"override '([^']*)'", text)
        return f"{found[1] if found else ' '.join(arguments)!r} cannot be read as key=value."
    if "Config group override must be" in text:
        return _explain_group_value(arguments)
    cause = error.__cause__
    if isinstance(cause, LearnSymError):
        return str(cause)
    lines = [
        line
        for e in (error, cause)
        if e is not None
        for line in str(e).splitlines()[: 1 + (":\n" in str(e))]
    ]
    return f"{': '.join(line.rstrip(':') for line in lines).rstrip('.') or type(error).__name__}."


def choices_of(group: str) -> list[str]:
    """What may be chosen in a config group, as it is typed; names with an underscore in front are ingredients of others."""
    folder = CONFIG_DIR / group
    found = folder.rglob("*.yaml") if group in ("experiment", "table") else folder.glob("*.yaml")
    return sorted(
        p.relative_to(folder).with_suffix("").as_posix()
        for p in found
        if not p.name.startswith("_")
    )


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
    others = [
        a
        for a in arguments
        if "=" in a and not a.startswith(("-", "hydra.")) and a.lstrip("+~").split("=")[0] != key
    ]
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
