"""What a run is: its configuration, a hash of it, a name; versions of what decides a number."""

import copy
import hashlib
import json
import platform
import re
import subprocess
from functools import cache, partial
from importlib import metadata
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from learnsym.config.build import build, to_plain
from learnsym.config.former_names import with_current_names, with_former_names
from learnsym.data.base import Data
from learnsym.errors import ConfigError
from learnsym.run.directory import RunDirectory
from learnsym.schema import SECTIONS, PlainDict, key_of

IRRELEVANT = ("paths", "logger", "fresh", "launcher", "runs", "paper", "hydra", "plugins")
"""What decides no result."""


def with_checkpoint_config(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """Take net, data and recipe from the checkpoint, except what the command line says.

    A section that the command chooses (`dataset=mnist`, `experiment=...`) stays as composed; single
    keys (`dataset.rotation_range=90`) are set on top of the checkpoint's, which must have them.
    """
    from learnsym.training import checkpoint

    if cfg.checkpoint is None:
        return cfg
    stored = with_current_names(checkpoint.configuration(Path(cfg.checkpoint), SECTIONS))
    typed = list(map(key_of, overrides))
    if "experiment" in typed:
        return cfg
    merged = copy.deepcopy(cfg)
    for section in SECTIONS:
        if any(re.fullmatch(rf"{section}(/[\w/]+)?", key) for key in typed):
            continue
        merged[section] = OmegaConf.create(stored[section])
        if "data_dir" in merged.dataset:
            merged.dataset.data_dir = cfg.paths.data
        for key in (key for key in typed if key.startswith(f"{section}.")):
            if OmegaConf.select(merged, key, default=ConfigError) is ConfigError:
                valid = ", ".join(k for k in stored[section] if k != "_target_")
                raise ConfigError(
                    f"{key}: the checkpoint's {section} has no such setting. Valid: {valid}."
                )
            OmegaConf.update(merged, key, OmegaConf.select(cfg, key))
    return merged


def directory_for(cfg: DictConfig, path: Path) -> Path:
    """Return a run's directory: `path`, or one beside it if the run there is on other data."""
    try:
        stored = json.loads(RunDirectory(path).data_path.read_text())["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or an early one
        return path
    data: Data = build(cfg, "dataset")
    if data.fingerprint == stored:
        return path
    other = path.with_name(f"{path.name}-data{data.fingerprint[:8]}")
    print(
        f"remark: the data are not those that {path} was run on (fingerprint {stored}, now "
        f"{data.fingerprint}); the run on these is {other}."
    )
    return other


def config_hash(cfg: DictConfig) -> str:
    """Return 8 hex digits of a hash of everything in a configuration that decides a result."""
    anywhere = copy.deepcopy(cfg)
    anywhere.paths = {key: key for key in cfg.paths}  # files are told by names, not by folders
    content: PlainDict = with_former_names(to_plain(anywhere))
    content = {key: value for key, value in content.items() if key not in IRRELEVANT}
    analysis = content.get("analysis", {})
    if not (analysis.get("distance_to_equivariance") or analysis.get("equivariance_angles")):
        content.pop("analysis", None)
    trainer = content.get("trainer", {})
    trainer.pop("progress", None)
    if trainer.get("nodes") == 1:  # runs keep the hashes that they had before there were nodes
        trainer.pop("nodes")
    if content.get("checkpoint"):  # its content: the run that wrote it may have been done again
        written = Path(content["checkpoint"]).read_bytes()
        content["checkpoint"] = hashlib.sha256(written).hexdigest()
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def run_name(cfg: DictConfig, choices: dict[str, str]) -> str:
    """Return the name of a run's directory: what it is about, scale, seed, hash."""
    if cfg.checkpoint:  # RUN/checkpoints/last.pt: named after the run that it belongs to
        subject = Path(cfg.checkpoint).absolute().parent.parent.name
    else:
        sampled = [choices["base_group"], choices["conv"]] if "conv" in cfg.net else []
        chosen = "-".join([choices["net"], *sampled, choices["dataset"]])
        subject = choices.get("experiment") or chosen
    mode = [] if choices["mode"] == "train" else [choices["mode"]]
    words = [*subject.split("/"), *mode, str(cfg.scale), f"seed{cfg.seed}", config_hash(cfg)]
    return "-".join(dict.fromkeys(words))


def versions() -> dict[str, str | None]:
    """Return the versions of libraries and Python, the hash of the source and its commit."""
    names = ("learnsym", "torch", "torchvision", "numpy", "lightning-fabric", "hydra-core")
    libraries: dict[str, str | None] = {name: metadata.version(name) for name in names}
    ours = {"python": platform.python_version(), "code": code_hash(), "commit": commit()}
    return libraries | ours


@cache
def code_hash() -> str:
    """Return 12 hex digits of a hash of the package's source."""
    digest, package = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def commit() -> str | None:
    """Return the commit of the checkout, "+changes" if its code differs; None outside of git."""
    package = Path(__file__).parents[1]
    commands = (
        # A package that is installed within somebody else's checkout is not tracked there.
        ["ls-files", "--error-unmatch", str(package / "run" / "run.py")],
        ["rev-parse", "--short", "HEAD"],
        ["status", "--porcelain", "--", "main.py", "src", "cfg"],
    )
    git = ["git", "-C", str(package.parents[1]), "--no-optional-locks"]
    ask = partial(subprocess.check_output, stderr=subprocess.DEVNULL, text=True)
    try:
        _, head, changes = (ask([*git, *words]).strip() for words in commands)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changes else "")
