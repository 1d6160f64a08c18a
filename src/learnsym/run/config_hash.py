"""What tells two runs apart: a hash of everything that decides a result."""

import hashlib
import json
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from learnsym.config.former_names import with_former_names


def config_hash(cfg: DictConfig) -> str:
    """Hash (8 hex digits) of what decides a result: the resolved config less where things are kept
    and how they are shown.
    """
    copy = OmegaConf.create(OmegaConf.to_container(cfg, resolve=False))
    copy.paths = {
        key: key for key in cfg.paths
    }  # what is read from there is not said by where it is
    content = with_former_names(OmegaConf.to_container(copy, resolve=True))
    assert isinstance(content, dict)
    for key in ("paths", "logger", "fresh", "launcher", "runs", "paper", "hydra"):
        content.pop(key, None)
    measured = content.get("analysis", {})
    if not (measured.get("distance_to_equivariance") or measured.get("equivariance_angles")):
        content.pop("analysis", None)  # decides nothing
    machine = content.get("trainer", {})
    for key in (
        ("progress", "nodes") if machine.get("nodes") == 1 else ("progress",)
    ):  # runs are named as before there were nodes
        machine.pop(key, None)
    if content.get(
        "checkpoint"
    ):  # its content, not its name: the run that wrote it may have been done again
        content["checkpoint"] = hashlib.sha256(Path(content["checkpoint"]).read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
