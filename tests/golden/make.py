"""Write the golden losses anew: uv run tests/golden/make.py [preset ...], all presets without one.

Right after a formula, a recipe or a default was changed on purpose, and for a new preset: the
commit says which and why. Never to make a failing test pass whose reason is not understood.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from hydra import initialize_config_dir

from golden.steps import HERE, PRESETS, first_losses, golden, written
from learnsym.config.resolvers import register_resolvers
from learnsym.config.search_path import CONFIG_DIR


def main(asked: list[str]) -> None:
    """Those of the presets, or of all; presets that are no more are left out."""
    torch.set_num_threads(1)
    register_resolvers()
    known = {preset: losses for preset, losses in golden().items() if preset in PRESETS}
    with (
        initialize_config_dir(str(CONFIG_DIR), version_base="1.3"),
        tempfile.TemporaryDirectory() as folder,
    ):
        for preset in asked or PRESETS:
            known[preset] = first_losses(preset, Path(folder))
            print(preset, flush=True)
            paper = preset.partition("/")[0]
            mine = {name: losses for name, losses in known.items() if name.startswith(f"{paper}/")}
            (HERE / f"{paper}.json").write_text(written(mine))


if __name__ == "__main__":
    main(sys.argv[1:])
