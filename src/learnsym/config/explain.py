"""Errors of Hydra and OmegaConf in one sentence: which key, what was given, what is valid."""

import difflib
import re

from omegaconf.errors import OmegaConfBaseException

from learnsym.config.search_path import NESTED, choices_of, config_folders
from learnsym.config.validate import unknown_key
from learnsym.errors import LearnSymError

_SYNTAX = "Error parsing override|mismatched input|no viable alternative|token recognition"


def explain(error: Exception, arguments: list[str]) -> str:
    """Return one sentence for what Hydra or OmegaConf says of a command line."""
    text = str(error)
    if match := re.match(r"Could not override '([^']*)'", text):
        return _explain_key(match[1], error)
    if match := re.search(r"Could not (?:find|load) '([^']*)'", text):
        return _no_choice(match[1])
    if match := re.match(r"Ambiguous value for argument '(.*?)'", text):
        key, _, values = match[1].partition("=")
        return (
            f"{match[1]}: several values are a sweep, which needs -m (a list is written "
            f"{key}=[{values}])."
        )
    if re.search(_SYNTAX, text):
        override = re.search(r"override '([^']*)'", text)
        return _unreadable(override[1] if override else " ".join(arguments))
    wrong_group = "Config group override must be" in text
    return _explain_group_value(arguments) if wrong_group else _own_words(error)


def _own_words(error: Exception) -> str:
    """Return our own message, if one caused the error, or the first lines of both."""
    cause = error.__cause__
    if isinstance(cause, LearnSymError):
        return str(cause)
    texts = [str(e) for e in (error, cause) if e is not None]  # a colon belongs to its second line
    lines = [line.rstrip(":") for t in texts for line in t.splitlines()[: 1 + (":\n" in t)]]
    return f"{': '.join(lines).rstrip('.') or type(error).__name__}."


def _unreadable(words: str) -> str:
    return f"{words!r} cannot be read as key=value."


def _no_choice(path: str) -> str:
    """Return the sentence for a group/choice that does not exist."""
    top, _, rest = path.partition("/")
    group, choice = (top, rest) if top in NESTED else path.rpartition("/")[::2]
    options = choices_of(group)
    close = difflib.get_close_matches(choice, options, n=1)
    suggestion = f"did you mean {close[0]}? " if close else ""
    return f"{group}={choice}: there is no such choice; {suggestion}Valid: {', '.join(options)}."


def _explain_group_value(arguments: list[str]) -> str:
    """Return the sentence for a config group that was given null or a number."""
    for argument in arguments:
        group, _, value = argument.lstrip("+~").partition("=")
        if not group:
            return _unreadable(argument)
        if (options := choices_of(group)) and value not in options:
            return f"{group}={value}: expected a choice. Valid: {', '.join(options)}."
    return _unreadable(" ".join(arguments))


def _explain_key(key: str, error: Exception) -> str:
    """Return the sentence for a key that is not in the composed configuration."""
    if key.startswith("hydra."):
        return f"{key}: Hydra has no such setting; main.py --cfg hydra shows all."
    if "No match in the defaults list" in str(error):
        groups = {p.name for folder in config_folders() for p in folder.iterdir() if p.is_dir()}
        return unknown_key("", key, sorted(groups))
    cause = error.__cause__
    if not isinstance(cause, OmegaConfBaseException) or cause.parent_node is None:
        return f"{key}: there is no such setting."
    parent, _, name = str(cause.full_key).rpartition(".")
    if not (valid := [str(k) for k in cause.parent_node if k not in ("_target_", "hydra")]):
        return f"{key}: there is no such setting; {parent} is a single value or an interpolation."
    return unknown_key(parent, name, valid)
