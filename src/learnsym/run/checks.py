"""Overrides that would have no effect in this mode are refused: silence there ruins experiments."""

import re

from omegaconf import DictConfig

from learnsym.config.build import build, imaginary_data
from learnsym.errors import ConfigError


def check_checkpoint(cfg: DictConfig, choices: dict[str, str], mode_class: type) -> None:
    """`checkpoint=` goes with the modes that read one."""
    reads, needs = getattr(mode_class, "reads_checkpoint", False), getattr(mode_class, "needs_checkpoint", False)
    if cfg.checkpoint is not None and not reads:
        raise ConfigError(
            f"checkpoint={cfg.checkpoint} would have no effect with mode={choices['mode']}; it goes with mode=test."
        )
    if cfg.checkpoint is None and needs:
        raise ConfigError(f"mode={choices['mode']} needs checkpoint=<run directory>/checkpoints/last.pt (or best.pt).")


def check_runs(cfg: DictConfig, overrides: list[str], choices: dict[str, str], mode_class: type) -> None:
    """`runs=` goes with the modes that read runs; what a run is made of has no effect on a mode that works on results."""
    needs = getattr(mode_class, "needs_runs", False)
    if cfg.runs and not needs and not getattr(mode_class, "takes_runs", False):
        raise ConfigError(f"runs={cfg.runs} would have no effect with mode={choices['mode']}; it goes with mode=report.")
    if needs and not cfg.runs:
        raise ConfigError(f"mode={choices['mode']} needs runs=<pattern>, such as runs='{cfg.paths.out}/*'.")
    if getattr(mode_class, "works_on_results", False):
        for override in overrides:
            if not re.match(r"[+~]*(mode|paths|runs)[.=]", override):
                raise ConfigError(f"{override} would have no effect with mode={choices['mode']}, which trains nothing.")


def check_augmentation(overrides: list[str], choices: dict[str, str], mode_class: type) -> None:
    """Each key of `augmentation` goes with one mode."""
    uses = {"passes": "dynamics", "batching": "drift"}
    for override in overrides:
        key = re.match(r"[+~]*augmentation\.(\w+)", override)
        if key and key[1] not in getattr(mode_class, "uses_augmentation", ()):
            right = f"it goes with mode={uses[key[1]]}" if key[1] in uses else f"valid: {', '.join(uses)}"
            raise ConfigError(f"{override} would have no effect with mode={choices['mode']}; {right}.")


def check_analysis(cfg: DictConfig, overrides: list[str], choices: dict[str, str], mode_class: type) -> None:
    """`analysis` goes with a mode that trains, its group with a distance, a distance with layers that it is known for."""
    from learnsym.analysis.distance import measurable

    typed = [o for o in overrides if re.match(r"[+~]*analysis\.", o)]
    idle = [o for o in typed if re.match(r"[+~]*analysis\.group=", o)]
    by_epochs = getattr(mode_class, "trains_by_epochs", True)
    if typed and (cfg.checkpoint is not None or getattr(mode_class, "needs_checkpoint", False) or not by_epochs):
        why = " from a checkpoint" if by_epochs else ", which records distances of its own"
        raise ConfigError(
            f"{typed[0]} would have no effect with mode={choices['mode']}{why}; it is measured in training, with mode=train."
        )
    if cfg.analysis.distance_to_equivariance:
        measurable(build(cfg, "net", **imaginary_data(cfg)))
    elif idle:
        raise ConfigError(f"{idle[0]} would have no effect without analysis.distance_to_equivariance=true.")
