"""TODO."""

import difflib
import inspect
import json
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from learnsym.config.allowed_classes import get_class
from learnsym.errors import ConfigError
from learnsym.schema import Count

SUPPLIED = frozenset({"in_channels", "num_outputs", "task", "params", "points_per_example"})
"""Constructor arguments that the run supplies (from the data set, or the network's parameters), never the YAML."""


TOP_LEVEL: dict[str, Any] = {
    "scale": typing.Literal["full", "cpu", "smoke"],
    "seed": Count,
    "debug": bool,
    "fresh": bool,
    "checkpoint": str | None,
    "runs": str | list[str] | None,
}


GROUPS = ("analysis", "augmentation", "base_group", "conv", "dataset", "kernel")


GROUPS += ("logger", "mode", "net", "paths", "train", "trainer")
"""The other top-level keys: one per config group (table, experiment, launcher and kind leave nothing under their own names)."""


PATHS = ("data", "out")


CONFIG_DIR = Path(__file__).parents[3] / "cfg"


def check(cfg: DictConfig) -> None:
    """Check every configured name, type and choice; raises ConfigError with one sentence for the first that is wrong."""
    check_top_level(cfg)
    for path, node in iter_targets(cfg):
        check_target(path, node)


def check_top_level(cfg: DictConfig) -> None:
    """The few keys that belong to no group, and that every interpolation resolves. Needs no torch."""
    known = [*TOP_LEVEL, *GROUPS, "paper"]
    key = "config"
    try:
        for key in cfg:
            if key not in known:
                raise ConfigError(unknown_key("", str(key), known))
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
    """All nodes with a `_target_`, depth first, with their dotted paths; nodes reached by interpolation only at their home."""
    for key in cfg:
        if OmegaConf.is_interpolation(cfg, key) or not isinstance(cfg[key], DictConfig):
            continue
        inner = f"{path}.{key}" if path else str(key)
        if "_target_" in cfg[key]:
            yield inner, cfg[key]
        yield from iter_targets(cfg[key], inner)


def check_target(path: str, node: DictConfig) -> None:
    """Names and types of one node against the signature of its class."""
    cls = get_class(path, node["_target_"])
    signature = inspect.signature(cls).parameters
    hints = (
        typing.get_type_hints(cls.__init__, include_extras=True)
        if cls.__init__ is not object.__init__
        else {}
    )
    keys = [str(k) for k in node if k != "_target_"]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    for key in keys:
        if key in SUPPLIED:
            raise ConfigError(f"{path}.{key} is supplied by the run, not by the configuration.")
        if key not in signature and not open_ended:
            raise ConfigError(unknown_key(path, key, [k for k in signature if k not in SUPPLIED]))
        # What an interpolation brings in is named by the group it comes from: that is what a person can change.
        home = re.fullmatch(r"\$\{(\w+)\}", str(OmegaConf.to_container(node, resolve=False)[key]))
        _check_value(home[1] if home else f"{path}.{key}", node[key], hints.get(key, Any))
    required = [
        k
        for k, p in signature.items()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    for key in required:
        if key not in keys and key not in SUPPLIED:
            raise ConfigError(f"{path}.{key} is missing: {cls.__name__} cannot do without it.")


def unknown_key(path: str, key: str, valid: list[str]) -> str:
    """The sentence for a name that does not exist, with the nearest one that does."""
    close = difflib.get_close_matches(key, valid, n=1)
    full = f"{path}.{key}" if path else key
    suggestion = f"did you mean {path + '.' if path else ''}{close[0]}? " if close else ""
    return f"{full}: there is no such setting; {suggestion}Valid: {', '.join(sorted(valid))}."


def _check_value(path: str, value: Any, hint: Any) -> None:
    if isinstance(value, DictConfig) and "_target_" in value:
        _check_class(path, value, hint)
        return
    plain = (
        OmegaConf.to_container(value, resolve=True)
        if isinstance(value, DictConfig | ListConfig)
        else value
    )
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError as error:
        if isinstance(hint, type):
            raise _needs_choice(path, plain, hint) from error
        return  # an annotation that pydantic cannot read: `build` finds out
    try:
        # JSON mode: lists may stand for tuples and whole numbers for reals, but "3" is not 3.
        adapter.validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        reasons = dict.fromkeys(
            _reason(e) for e in error.errors() if e["type"] != "needs_python_object"
        )
        if not reasons:
            raise _needs_choice(path, plain, hint) from error
        where = next((e["loc"] for e in error.errors()), ())
        inner = "".join(f"[{p}]" for p in where if isinstance(p, int))
        raise ConfigError(f"{path}{inner}={_shown(plain)}: {' or '.join(reasons)}.") from error


def _needs_choice(path: str, plain: Any, hint: Any) -> ConfigError:
    """The sentence for a plain value where an object belongs."""
    group = path.replace(".", "/")
    options = sorted(p.stem for p in (CONFIG_DIR / group).glob("[!_]*.yaml"))
    right = (
        f"it is chosen by {group}=<choice>; valid: {', '.join(options)}"
        if options
        else f"a {_names([hint])} is wanted"
    )
    return ConfigError(f"{path}={_shown(plain)}: {right}.")


def _names(classes: list[Any]) -> str:
    return " or ".join(getattr(c, "__name__", str(c)) for c in classes)


def _check_class(path: str, node: DictConfig, hint: Any) -> None:
    wanted = [h for h in (typing.get_args(hint) or (hint,)) if isinstance(h, type)]
    found = get_class(path, node["_target_"])
    if wanted and not issubclass(found, tuple(wanted)):
        options = [
            name
            for name, target in _choices(path)
            if issubclass(get_class(path, target), tuple(wanted))
        ]
        right = f"; valid: {', '.join(f'{path}={name}' for name in options)}" if options else ""
        raise ConfigError(
            f"{path}: {found.__name__} cannot stand where a {_names(wanted)} is wanted{right}."
        )


def _choices(path: str) -> list[tuple[str, str]]:
    """The options of a config group, and what each of them builds."""
    files = sorted((CONFIG_DIR / path.replace(".", "/")).glob("[!_]*.yaml"))
    return [(file.stem, str(OmegaConf.load(file).get("_target_"))) for file in files]


def _reason(error: Mapping[str, Any]) -> str:
    message = error["msg"].removeprefix("Input ")
    return message.replace("should be", "it should be", 1)


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
