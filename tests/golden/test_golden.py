"""The first losses of every preset are those that are committed (tests/golden/*.json; make.py says
when to write them anew)."""

import logging
import math

import pytest
from hydra import initialize_config_dir

from golden.steps import HERE, PRESETS, STEPS, first_losses, golden, tolerance, written
from learnsym.config.resolvers import register_resolvers
from learnsym.config.search_path import CONFIG_DIR

GOLDEN = golden()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """For the twins, written once; Hydra finds the configurations meanwhile."""
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    register_resolvers()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        yield tmp_path_factory.mktemp("golden")


@pytest.fixture(autouse=True)
def figures_are_not_rendered(monkeypatch):
    """They are not what is compared."""
    monkeypatch.setattr("learnsym.figures.style.render", lambda figure: b"")


@pytest.mark.long
@pytest.mark.parametrize("preset", PRESETS)
def test_first_losses(preset, folder):
    found, wanted = first_losses(preset, folder), GOLDEN[preset]
    assert list(found) == list(wanted)
    for name, losses in found.items():
        assert len(losses) == len(wanted[name]) == STEPS
        off = [k for k in range(STEPS) if apart(losses[k], wanted[name][k]) > tolerance(preset, k)]
        assert not off, (
            f"{name}: step {off[0]} has {losses[off[0]]:.10g}, not {wanted[name][off[0]]:.10g}: "
            f"has a formula or recipe changed?"
        )


def apart(found: float, wanted: float) -> float:
    """Difference relative to the loss, or to 0.1 where the loss is small: a reward may make it pass
    through zero."""
    return abs(found - wanted) / max(abs(wanted), 0.1) if math.isfinite(found) else math.inf


def test_golden_losses_are_of_the_presets():
    assert sorted(GOLDEN) == PRESETS


@pytest.mark.parametrize("path", sorted(HERE.glob("*.json")), ids=lambda path: path.stem)
def test_files_are_as_written(path):
    """Edited by hand, they would differ in more than what has changed."""
    own = {
        preset: losses for preset, losses in GOLDEN.items() if preset.startswith(f"{path.stem}/")
    }
    assert path.read_text() == written(own)
