"""Names, types and choices of a configuration against the signatures of the classes it names.

The constructor's signature is the schema. Nothing is built and no data are read, so a mistake costs
seconds.
"""

import difflib
import inspect
import json
import re
import typing
from collections.abc import Iterator
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from learnsym.config.allowed_classes import get_class
from learnsym.config.search_path import choice_file, choices_of
from learnsym.errors import ConfigError
from learnsym.schema import Count, PlainDict

SUPPLIED = frozenset({"in_channels", "num_outputs", "task", "params", "points_per_example"})
"""Constructor arguments that the run supplies, from the data set or the network, never the YAML."""
TOP_LEVEL: PlainDict = {
    "scale": Literal["full", "cpu", "smoke"],
    "seed": Count,
    "debug": bool,
    "fresh": bool,
    "checkpoint": str | None,
    "runs": str | list[str] | None,
    "plugins": list[str],
}
"""Keys that belong to no group, and their types."""
GROUPS = ["analysis", "augmentation", "base_group", "conv", "dataset", "kernel", "logger", "mode"]
GROUPS += ["net", "paths", "train", "trainer"]
"""The other top-level keys; table, experiment, launcher and kind leave nothing there."""
PATHS = ("data", "out")


def check(cfg: DictConfig) -> None:
    """Check every configured name, type and choice; a ConfigError tells of the first wrong one."""
    check_top_level(cfg)
    for path, node in iter_targets(cfg):
        check_target(path, node)


def check_top_level(cfg: DictConfig) -> None:
    """Check, without torch, the keys that belong to no group, and that interpolations resolve."""
    known = [*TOP_LEVEL, *GROUPS, "paper"]
    if unknown := [str(key) for key in cfg if key not in known]:
        raise ConfigError(unknown_key("", unknown[0], known))
    key = "config"
    try:
        for key, hint in TOP_LEVEL.items():
            _check_value(key, cfg.get(key), hint)
        for key in cfg.paths:
            if key not in PATHS:
                raise ConfigError(unknown_key("paths", str(key), list(PATHS)))
            _check_value(f"paths.{key}", cfg.paths[key], str)
        key = "config"
        OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or key}: {str(error).splitlines()[0]}.") from error


def iter_targets(cfg: DictConfig, path: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Yield all nodes with a `_target_`, depth first, with their dotted paths.

    A node that several interpolations reach is yielded once, where it is written.
    """
    for key in map(str, cfg):
        if OmegaConf.is_interpolation(cfg, key) or not isinstance(cfg[key], DictConfig):
            continue
        inner = f"{path}.{key}" if path else key
        if "_target_" in cfg[key]:
            yield inner, cfg[key]
        yield from iter_targets(cfg[key], inner)


def check_target(path: str, node: DictConfig) -> None:
    """Check names and types of one node against the signature of its class."""
    cls: Any = get_class(path, node["_target_"])
    signature, init = inspect.signature(cls).parameters, cls.__init__
    hints = {} if init is object.__init__ else typing.get_type_hints(init, include_extras=True)
    keys = [str(k) for k in node if k != "_target_"]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    written: Any = OmegaConf.to_container(node, resolve=False)
    for key in keys:
        if key in SUPPLIED:
            raise ConfigError(f"{path}.{key} is supplied by the run, not by the configuration.")
        if key not in signature and not open_ended:
            raise ConfigError(unknown_key(path, key, [k for k in signature if k not in SUPPLIED]))
        # A person can change what an interpolation brings in where it is written: in its group.
        group = re.fullmatch(r"\$\{(\w+)\}", str(written[key]))
        _check_value(group[1] if group else f"{path}.{key}", node[key], hints.get(key, Any))
    for key, parameter in signature.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.default is parameter.empty and key not in {*keys, *SUPPLIED}:
            raise ConfigError(f"{path}.{key} is missing: {cls.__name__} cannot do without it.")


def unknown_key(path: str, key: str, valid: list[str]) -> str:
    """Return the message for a name that does not exist, with the nearest one that does."""
    close = difflib.get_close_matches(key, valid, n=1)
    prefix = f"{path}." if path else ""
    names = f"did you mean {prefix}{close[0]}? " if close else ""
    names += f"Valid: {', '.join(sorted(valid))}."
    return f"{prefix}{key}: there is no such setting; {names}"


def _check_value(path: str, value: object, hint: Any) -> None:
    if isinstance(value, DictConfig) and "_target_" in value:
        _check_class(path, value, hint)
        return
    plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    shown, config = "null" if plain is None else plain, ConfigDict(arbitrary_types_allowed=True)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=config)
    except PydanticUserError as error:
        if isinstance(hint, type):
            raise _needs_choice(path, shown, hint) from error
        return  # an annotation that pydantic cannot read: `build` finds out
    try:
        # JSON mode: lists may stand for tuples and whole numbers for reals, but "3" is not 3.
        adapter.validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        errors = [e for e in error.errors() if e["type"] != "needs_python_object"]
        if not errors:
            raise _needs_choice(path, shown, hint) from error
        reasons = dict.fromkeys(
            e["msg"].removeprefix("Input ").replace("should be", "it should be", 1) for e in errors
        )
        inner = "".join(f"[{p}]" for p in error.errors()[0]["loc"] if isinstance(p, int))
        raise ConfigError(f"{path}{inner}={shown}: {' or '.join(reasons)}.") from error


def _needs_choice(path: str, shown: object, hint: object) -> ConfigError:
    """Return the error for a plain value where an object belongs."""
    group, advice = path.replace(".", "/"), f"expected a {_names([hint])}"
    if options := choices_of(group):
        advice = f"it is chosen by {group}=<choice>; valid: {', '.join(options)}"
    return ConfigError(f"{path}={shown}: {advice}.")


def _check_class(path: str, node: DictConfig, hint: object) -> None:
    bases = tuple(h for h in (typing.get_args(hint) or (hint,)) if isinstance(h, type))
    cls, group = get_class(path, node["_target_"]), path.replace(".", "/")
    if not bases or issubclass(cls, bases):
        return
    targets = {choice: _target_of(group, choice) for choice in choices_of(group)}
    options = [
        f"{path}={c}" for c, t in targets.items() if t and issubclass(get_class(path, t), bases)
    ]
    advice = f"; valid: {', '.join(options)}" if options else ""
    raise ConfigError(
        f"{path}: {cls.__name__} cannot stand where a {_names(bases)} is wanted{advice}."
    )


def _target_of(group: str, choice: str) -> str:
    """Return the class that a choice builds, its own or that of the choice it is made from."""
    node = OmegaConf.load(choice_file(group, choice))
    if not isinstance(node, DictConfig):
        return ""
    if target := node.get("_target_"):
        return str(target)
    for entry in map(str, node.get("defaults", [])):
        if entry.endswith("@_here_"):
            parent, _, name = entry.removesuffix("@_here_").strip("/").rpartition("/")
            return _target_of(parent or group, name)
    return ""


def _names(classes: typing.Iterable[object]) -> str:
    return " or ".join(getattr(c, "__name__", str(c)) for c in classes)
