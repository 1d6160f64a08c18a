"""The rules that hold the project together: which way imports run, one set of versions, presets
that compose, lean start-up."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from learnsym.config.allowed_classes import get_class
from learnsym.config.build import dry_build
from learnsym.config.resolvers import register_resolvers
from learnsym.config.validate import SUPPLIED, check, check_top_level, iter_targets
from learnsym.errors import ConfigError
from learnsym.report.presets import published

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "learnsym"
PRESETS = sorted(
    p.relative_to(ROOT / "cfg/experiment").with_suffix("").as_posix()
    for p in (ROOT / "cfg/experiment").rglob("*.yaml")
    if not p.name.startswith("_")
)
TABLES = sorted(
    p.relative_to(ROOT / "cfg/table").with_suffix("").as_posix()
    for p in (ROOT / "cfg/table").rglob("*.yaml")
)
BELOW = {
    "groups": set(),
    "distributions": {"groups"},
    "kernels": {"groups"},
    "layers": {"groups", "distributions", "kernels"},
    "nets": {"groups", "distributions", "kernels", "layers"},
}
"""What the mathematics may import of the rest, besides the ground floor (schema, randomness,
processes, errors)."""
INTERFACES = {
    "learnsym.data.base",
    "learnsym.data.augment",
    "learnsym.run.directory",
    "learnsym.figures.run",
    "learnsym.figures.spectrum",
}
"""What data, training, analysis and results may know of each other."""
FRAMEWORK = {"hydra", "omegaconf", "wandb", "lightning_fabric", "tensorboard"}


def imports(path: Path) -> set[str]:
    """All modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("floor", list(BELOW))
def test_mathematics_imports_downwards(floor: str) -> None:
    for path in (SOURCE / floor).rglob("*.py"):
        for module in imports(path):
            assert module.split(".")[0] not in FRAMEWORK, f"{path}: {module}"
            if module.startswith("learnsym."):
                part = module.split(".")[1]
                assert part in BELOW[floor] | {
                    floor,
                    "schema",
                    "randomness",
                    "processes",
                    "errors",
                }, f"{path}: {module}"


@pytest.mark.parametrize("part", ["data", "training", "analysis", "results"])
def test_upper_packages_know_only_interfaces_of_each_other(part: str) -> None:
    for path in (SOURCE / part).rglob("*.py"):
        for module in imports(path):
            other = module.split(".")[1] if module.startswith("learnsym.") else part
            if other in {"data", "training", "analysis", "results"} - {part}:
                assert module in INTERFACES, f"{path}: {module}"


def test_the_loop_can_be_read_from_top_to_bottom() -> None:
    assert len((SOURCE / "training/loop.py").read_text().splitlines()) <= 300


# --- versions


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


def test_three_files_pin_the_same_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    constraints = dict(c.split("==") for c in project["tool"]["uv"]["constraint-dependencies"])
    locked = dict(
        re.findall(
            r"^([\w.-]+)==([\w.+-]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
        )
    )
    conda = yaml.safe_load((ROOT / "environment.yaml").read_text())["dependencies"]
    pip = next(d["pip"] for d in conda if isinstance(d, dict))
    pinned = dict(line.split("==") for line in pip if "==" in line)
    wanted = {
        name_of(r)
        for r in (*project["project"]["dependencies"], *project["dependency-groups"]["dev"])
    }
    assert set(pinned) == wanted
    assert all(constraints[name] == version for name, version in pinned.items())
    assert locked.items() <= constraints.items()
    assert wanted <= set(locked)


def test_lock_has_a_hash_for_everything_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)
    assert "://" not in text


def test_no_file_names_a_registry_host() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    if not listed[0]:
        pytest.skip("not a git checkout")
    hosts = re.compile(
        r"py" + r"pi\.org|python" + r"hosted|conda\.anaconda|registry\.npm", re.IGNORECASE
    )
    named = [
        f
        for f in listed
        if f and (ROOT / f).is_file() and hosts.search((ROOT / f).read_text(errors="ignore"))
    ]
    assert named == []


# --- presets


@pytest.fixture(scope="module", autouse=True)
def hydra_directory():
    register_resolvers()
    with initialize_config_dir(str(ROOT / "cfg"), version_base="1.3"):
        yield


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_compose_and_pass_the_check(preset: str) -> None:
    for scale in ("full", "cpu", "smoke"):
        cfg = compose("config", overrides=[f"experiment={preset}", f"scale={scale}"])
        check_top_level(cfg)
        check(cfg)
    dry_build(cfg)
    stated = [(p.metric, p.status, p.where, p.target) for p in published(preset)]
    assert stated == [
        (e.metric, e.status, e.get("where", ""), e.get("target")) for e in cfg.paper
    ], "the page shows what a run shows"
    text = (ROOT / "cfg/experiment" / f"{preset}.yaml").read_text()
    assert f"python main.py experiment={preset}" in text, "the header states the command"


@pytest.mark.parametrize("preset", [p for p in PRESETS if p != "augerino/width_sweep"])
def test_scales_differ(preset: str) -> None:
    """A preset without smaller scales would run for days where minutes were asked for."""
    epochs = [
        compose("config", overrides=[f"experiment={preset}", f"scale={s}"]).train.epochs
        for s in ("full", "smoke")
    ]
    assert epochs[0] > epochs[1]


@pytest.mark.parametrize("table", TABLES)
def test_tables_sweep_over_presets_that_exist(table: str) -> None:
    cfg = compose("config", overrides=[f"table={table}"], return_hydra_config=True)
    params = cfg.hydra.sweeper.params
    experiments = str(params.experiment).split(",")
    assert set(experiments) <= set(PRESETS)
    alone = (
        "dynamics/",
        "augerino/effective_dimension/",
    )  # repetitions within a run; four spectra, of one training each
    if not all(e.startswith(alone) for e in experiments):
        assert len(str(params.seed).split(",")) >= 2, "a deviation takes two seeds"


def test_every_argument_is_in_its_yaml() -> None:
    """Configs are documentation: what can be set is listed."""
    for path in (ROOT / "cfg").rglob("*.yaml"):
        node = yaml.safe_load(path.read_text()) or {}
        target = node.get("_target_", "")
        if not target.startswith("learnsym."):
            continue
        given = set(node) | {next(iter(d)) for d in node.get("defaults", []) if isinstance(d, dict)}
        missing = set(inspect.signature(get_class(path.name, target)).parameters) - given - SUPPLIED
        assert not missing, f"{path}: {missing}"


@pytest.mark.parametrize("page", ["README.md", "EXPERIMENTS.md"])
def test_commands_on_the_pages_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    assert set(re.findall(r"main\.py[^\n`|]*?[ ]experiment=([\w/]+)", text)) <= set(PRESETS)
    assert set(re.findall(r"[ ]table=([\w/]+)", text)) <= set(TABLES)
    assert "main.py" in text


def test_every_preset_is_on_the_page() -> None:
    text = (ROOT / "EXPERIMENTS.md").read_text()
    assert [t for t in TABLES if f"table={t}" not in text] == []
    assert [p for p in PRESETS if not re.search(rf"experiment={p}[ `]", text)] == []


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.hub.load",
        "learnsym.config.build.build",
        "subprocess.Popen",
        "torch.nn.NoSuchThing",
    ],
)
def test_only_classes_of_the_allowed_packages_are_built(target: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(target)):
        get_class("net", target)


def test_targets_are_found_inside_targets() -> None:
    cfg = compose("config")
    assert {"net", "net.backbone", "train", "train.optimizer", "base_group", "dataset"} <= {
        path for path, _ in iter_targets(cfg)
    }


# --- start-up


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(m for m in sys.modules if '.' not in m))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_heavy_libraries_wait_until_they_are_used() -> None:
    heavy = {
        "wandb",
        "tensorboard",
        "torch_geometric",
        "e2cnn",
        "torchvision",
        "matplotlib",
        "pandas",
        "sklearn",
        "scipy",
    }
    loaded = modules_after(
        "import learnsym.run.run, learnsym.modes.train, learnsym.modes.width_sweep, learnsym.nets.e2_steerable"
    )
    assert "torch" in loaded
    assert not heavy & loaded


def test_the_command_line_is_checked_before_torch() -> None:
    """A wrong key or choice is answered by Hydra and `learnsym.cli` alone."""
    assert not {"torch", "lightning_fabric", "pandas", "matplotlib"} & modules_after(
        "import hydra, learnsym, learnsym.cli"
    )
