"""The first losses of every preset: composed at scale=smoke, on synthetic twins of its data, as
main.py builds and trains it.

In double precision, in which rounding takes longer to turn into another path (weights are drawn in
single precision all the same). How long depends on the network: batch norm and the first steps of
Adam multiply a difference by up to ten with every step. `TOLERANCES` are at least seven times what
was measured on 24 presets between AVX-512 and the plainest code of torch and oneDNN.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf
from twins import TWINS

from learnsym.config.build import build
from learnsym.config.search_path import CONFIG_DIR
from learnsym.run.context import RunContext, build_context
from learnsym.run.directory import RunDirectory
from learnsym.training.precision import Double

STEPS = 20
TOLERANCES = {
    "dynamics/": (1e-5, 1e-5, 1e-4, 1e-3),
    "augerino/mario_iggy": (1e-5, 1e-5, 1e-4, 1e-3),
    "augerino/olivetti": (1e-5, 1e-5, 1e-4, 1e-3),
    "augerino/qm9": (1e-5, 1e-5, 1e-4, 1e-3),
    "augerino/rotmnist": (1e-5, 1e-5, 1e-4, 1e-3),
    "partial_gcnn/kernels/": (1e-5, 2e-3, 4e-2, 0.3),
    "": (1e-5, 1e-5, 1e-4, 1e-3, 1e-3, 0.3),
}
"""How presets begin -> by how much a loss of the first, second, ... step may be off, relative to
its size; the last for all steps that follow. Measured: first step 2e-7; "dynamics/" and so on 2e-5
up to the last; kernels 4e-5, 8e-4, 7e-3 in the second, third and fifth; the others 1e-7, 8e-7,
1e-5."""
FEWER = {"pcam": 16, "stl10": 16, "olivetti": 16}
"""Training images of data sets whose steps would take long."""
HERE = Path(__file__).parent
PRESETS = sorted(
    p.relative_to(CONFIG_DIR / "experiment").with_suffix("").as_posix()
    for p in (CONFIG_DIR / "experiment").rglob("*.yaml")
    if not p.name.startswith("_")
)
Losses = dict[str, list[float]]
"""Of one preset: the name of a series -> losses, one a step."""


def tolerance(preset: str, step: int) -> float:
    """By how much a loss may be off, relative to its size."""
    steps = next(steps for start, steps in TOLERANCES.items() if preset.startswith(start))
    return steps[min(step, len(steps) - 1)]


class Recording(Fabric):
    """Remembers every loss that is differentiated: what a step minimises, regularisers included."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.losses: list[float] = []

    def backward(self, tensor: Any, *arguments: Any, **named: Any) -> None:
        """As Fabric's."""
        self.losses.append(tensor.item())
        super().backward(tensor, *arguments, **named)


def configured(preset: str, folder: Path) -> DictConfig:
    """The preset with its data's twin, long enough for twenty steps (`mode=drift`: the first of two
    epochs has sixteen)."""
    asked = [
        f"experiment={preset}",
        "scale=smoke",
        f"paths.out={folder}",
        "trainer.progress=false",
        "trainer.precision=64-true",
    ]
    cfg = compose("config", overrides=asked, return_hydra_config=True)
    dataset, mode = (str(cfg.hydra.runtime.choices[group]) for group in ("dataset", "mode"))
    twin = TWINS[dataset](folder) if dataset in TWINS else []
    if any(o.startswith("dataset=") for o in twin):
        cfg, twin = compose("config", overrides=[*asked, *twin], return_hydra_config=True), []
    lengths = {"dynamics": {"epochs": STEPS - 1}, "drift": {"epochs": 2}}
    changes = OmegaConf.to_container(OmegaConf.from_dotlist(twin))
    assert isinstance(changes, dict)
    changes["train"] = lengths.get(mode, {"epochs": STEPS, "max_steps": STEPS})
    if dataset in FEWER:
        changes["dataset"] = changes.get("dataset", {}) | {"train_size": FEWER[dataset]}
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    merged = OmegaConf.merge(cfg, changes)
    assert isinstance(merged, DictConfig)
    return merged


def first_losses(preset: str, folder: Path) -> Losses:
    """The losses of a training, or the risks of every arm and repetition of `mode=dynamics` and
    `mode=drift`."""
    cfg = OmegaConf.create(OmegaConf.to_container(configured(preset, folder), resolve=True))
    fabric = Recording(accelerator="cpu", devices=1, plugins=[Double()])
    session = build_context(fabric, cfg, RunDirectory(folder / preset.replace("/", "-")))
    mode = build(cfg, "mode")
    if not getattr(mode, "trains_by_epochs", True):
        mode(session)
        return recorded(session)
    session.data.splits.pop(
        "val", None
    )  # a validation changes nothing of the steps, and takes time
    session.training._keep = lambda row: None
    session.training.fit()
    return {"loss": fabric.losses}


def recorded(session: RunContext) -> Losses:
    """The losses in the records of an ensemble."""
    found = {}
    for path in sorted(session.directory.path.glob("records*.npz")):
        with np.load(path) as file:
            for arm, members in enumerate(file["loss"]):
                for member, losses in enumerate(members):
                    found[f"{path.stem}, arm {arm}, repetition {member}"] = losses[:STEPS].tolist()
    return found


def golden() -> dict[str, Losses]:
    """What is committed, of all presets."""
    return {
        preset: losses
        for path in sorted(HERE.glob("*.json"))
        for preset, losses in json.loads(path.read_text()).items()
    }


def written(losses: dict[str, Losses]) -> str:
    """As JSON, a line for every series."""
    presets = []
    for preset, series in sorted(losses.items()):
        lines = [
            f'    "{name}": [{", ".join(f"{x:.10g}" for x in numbers)}]'
            for name, numbers in series.items()
        ]
        presets.append(f'  "{preset}": {{\n' + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(presets) + "\n}\n"
