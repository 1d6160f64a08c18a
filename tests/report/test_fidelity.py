"""Every preset runs what its paper ran, or docs/fidelity.md says where not: composed, and compared
with what was published."""

from fnmatch import fnmatchcase
from functools import cache
from math import isclose
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from learnsym.config.resolvers import register_resolvers
from learnsym.config.search_path import CONFIG_DIR
from learnsym.errors import ConfigError
from learnsym.report.fidelity import fidelity_page, read_facts

ROOT = Path(__file__).parents[2]
FACTS = read_facts(ROOT / "results")
PRESETS = sorted(
    p.relative_to(CONFIG_DIR / "experiment").with_suffix("").as_posix()
    for p in (CONFIG_DIR / "experiment").rglob("*.yaml")
    if not p.name.startswith("_")
)


@pytest.fixture(scope="module")
def composed():
    """composed(preset, ...) at scale=full, as a plain container."""
    register_resolvers()

    def of(preset: str, *overrides: str):
        return OmegaConf.to_container(
            compose("config", overrides=[f"experiment={preset}", *overrides]), resolve=True
        )

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        yield of


def setting(cfg, key: str):
    """The value of a dotted key; None where there is none."""
    for part in key.split("."):
        cfg = cfg.get(part) if isinstance(cfg, dict) else None
    return cfg


def same(found, wanted) -> bool:
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict)
            and found.keys() == wanted.keys()
            and all(same(found[k], wanted[k]) for k in wanted)
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list) and len(found) == len(wanted) and all(map(same, found, wanted))
        )
    if isinstance(wanted, float) and isinstance(found, float | int) and not isinstance(found, bool):
        return isclose(found, wanted, rel_tol=1e-9)
    return found == wanted


def disagreements(preset: str, cfg) -> list[str]:
    """Where a preset is neither as published nor as a row of the page says."""
    all_published, rows, wrong = published_of(preset), differing_of(preset), []
    for key, published in all_published.items():
        row, found = rows.get(key), setting(cfg, key)
        if row is not None and not same(published, row.published):
            wrong.append(
                f"{preset}: {key} was published as {published}, "
                f"but the row of the page says {row.published}"
            )
        wanted = published if row is None else row.ours
        if not same(found, wanted):
            reason = "" if row is None else ", as the row of the page says"
            wrong.append(f"{preset}: {key} is {found}, not {wanted}{reason}")
    return wrong + [
        f"{preset}: {key} differs, but not from a published value"
        for key in rows.keys() - all_published
    ]


published_of, differing_of = cache(FACTS.published_settings), cache(FACTS.differing)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_what_was_published_or_the_page_says_so(preset, composed):
    """And each of its known settings, changed one by one, is found."""
    cfg = composed(preset)
    assert len(published_of(preset)) > 5, "no published settings are known of it"
    assert disagreements(preset, cfg) == []
    for key in published_of(preset):
        *path, last = key.split(".")
        node = setting(cfg, ".".join(path))
        before, node[last] = node.get(last), "another"
        assert any(f": {key} is another" in line for line in disagreements(preset, cfg)), key
        node[last] = before


def test_rows_are_of_presets_that_exist_and_differ():
    for block in (*FACTS.settings, *FACTS.differences):
        patterns = [p.removeprefix("!") for p in block.presets]
        unused = [p for p in patterns if not any(fnmatchcase(preset, p) for preset in PRESETS)]
        assert unused == [], unused
    for row in FACTS.differences:
        assert (row.key is None) != (row.what is None), row
        assert row.key is None or not same(row.published, row.ours), row


def test_the_page_is_up_to_date():
    assert (ROOT / "docs" / "fidelity.md").read_text() == fidelity_page(FACTS), (
        "python main.py mode=book writes it anew"
    )


@pytest.mark.parametrize(
    "row", [r for r in FACTS.differences if r.as_published], ids=lambda r: r.name
)
def test_what_brings_the_published_one_back_composes_and_does(row, composed):
    words = row.as_published.split()
    presets = [w.removeprefix("experiment=") for w in words if w.startswith("experiment=")]
    for preset in presets or {
        next(p for p in PRESETS if fnmatchcase(p, pattern))
        for pattern in row.presets
        if pattern[0] != "!"
    }:
        overrides = [w for w in words if not w.startswith("experiment=")]
        cfg = composed(preset, *overrides)
        if row.key:
            assert same(setting(cfg, row.key), row.published), (preset, row.key)


def test_a_file_that_is_none_is_named(tmp_path):
    for text in ("- 1", "about: x\nsettings: []\ndifferences: [{presets: [a], key: b}]", "a: ["):
        (tmp_path / "published_settings.yaml").write_text(text)
        with pytest.raises(ConfigError, match="published_settings"):
            read_facts(tmp_path)
    assert yaml.safe_load((ROOT / "results" / "published_settings.yaml").read_text())["differences"]
