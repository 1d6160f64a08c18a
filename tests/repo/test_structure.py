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
from learnsym.report.experiments_page import paper_values

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
MAY_IMPORT = {
    "errors": "",
    "schema": "",
    "utils": "errors",
    "groups": "errors schema utils",
    "distributions": "errors schema utils groups",
    "kernels": "errors schema utils groups",
    "layers": "errors schema utils groups distributions kernels",
    "nets": "errors schema utils groups distributions kernels layers",
    "data": "errors schema utils groups",
    "training": "errors schema utils groups distributions data layers",
    "dynamics": "errors schema utils groups layers data training",
    "analysis": "errors schema utils groups distributions kernels layers nets data training dynamics",  # noqa: E501
    "config": "errors schema utils",
    "run": "errors schema utils groups distributions kernels layers nets data training dynamics "
    "analysis config",
    "results": "errors schema utils config run",
    "figures": "errors schema utils groups distributions nets data dynamics analysis run results",
    "report": "errors schema utils config run results figures",
    "modes": "errors schema utils groups distributions kernels layers nets data training dynamics "
    "analysis config run results figures report",
    "cli": "errors schema utils config run report",
    "__init__": "errors schema utils groups distributions kernels layers nets data training "
    "dynamics analysis config run results",
}
"""Package (or module in the root) -> what it may import of the others."""
MATHEMATICS = ("groups", "distributions", "kernels", "layers", "nets", "data", "training")
MATHEMATICS += ("dynamics", "analysis")
FRAMEWORK = {"hydra", "omegaconf", "wandb", "tensorboard"}
FILES_IN_A_FOLDER = 20
LINES_IN_A_FILE = 300


def imports(path: Path) -> set[str]:
    """All modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def module_of(path: Path) -> str:
    """The dotted name of a file of the package."""
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)


MODULES = {module_of(p).removesuffix(".__init__"): p for p in sorted(SOURCE.rglob("*.py"))}


def part_of(module: str) -> str:
    """The package, or the module in the root, that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def own_imports(path: Path) -> set[str]:
    """Modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "learnsym":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "learnsym"}
    return found - {module_of(path).removesuffix(".__init__")}


def test_the_table_names_every_package() -> None:
    assert {part_of(module) for module in MODULES} == set(MAY_IMPORT)


@pytest.mark.parametrize("part", list(MAY_IMPORT))
def test_imports_run_downwards(part: str) -> None:
    allowed = {*MAY_IMPORT[part].split(), part}
    climbing = {
        f"{module} -> {other}"
        for module, path in MODULES.items()
        if part_of(module) == part
        for other in own_imports(path)
        if part_of(other) not in allowed
    }
    assert climbing == set()


@pytest.mark.parametrize("part", MATHEMATICS)
def test_mathematics_knows_no_framework(part: str) -> None:
    for path in (SOURCE / part).rglob("*.py"):
        assert not {m.split(".")[0] for m in imports(path)} & FRAMEWORK, path


def test_no_circle_of_imports() -> None:
    """Modules that import only what has been taken away are taken away until none is left."""
    left = {module: own_imports(path) & set(MODULES) for module, path in MODULES.items()}
    while free := {module for module, others in left.items() if not others & set(left)}:
        left = {module: others for module, others in left.items() if module not in free}
    assert set(left) == set()


def test_the_tree_can_be_taken_in() -> None:
    modules = {p.name for p in SOURCE.glob("*.py")} - {"__init__.py"}
    assert len(modules) <= 4, modules
    for folder in {p.parent for p in MODULES.values()}:
        assert len(list(folder.glob("*.py"))) <= FILES_IN_A_FOLDER, folder
        assert folder.joinpath("__init__.py").exists(), folder
    long = {
        str(p): n for p in MODULES.values() if (n := p.read_text().count("\n")) > LINES_IN_A_FILE
    }
    assert long == {}


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
    groups = project["dependency-groups"]
    requirements = [*project["project"]["dependencies"], *groups["dev"], *groups["docs"]]
    wanted = {name_of(r) for r in requirements if isinstance(r, str)}
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
    epochs = {}
    for scale in ("full", "cpu", "smoke"):
        cfg = compose("config", overrides=[f"experiment={preset}", f"scale={scale}"])
        check_top_level(cfg)
        check(cfg)
        epochs[scale] = cfg.train.epochs
    # A preset without smaller scales would run for days where minutes were asked for.
    assert epochs["full"] > epochs["smoke"] or preset == "augerino/width_sweep"
    dry_build(cfg)
    keys = ("metric", "status", "where", "target")
    stated = [[p.get(k) for k in keys] for p in paper_values(preset) or []]
    assert stated == [[e.get(k) for k in keys] for e in cfg.paper], (
        "the page shows what a run shows"
    )
    text = (ROOT / "cfg/experiment" / f"{preset}.yaml").read_text()
    assert f"python main.py experiment={preset}" in text, "the header states the command"


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
    for path in (ROOT / "cfg").rglob("[!_]*.yaml"):
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
        "import learnsym.run.run, learnsym.modes.train, learnsym.modes.width_sweep, "
        "learnsym.nets.e2_steerable"
    )
    assert "torch" in loaded
    assert not heavy & loaded


def test_the_command_line_is_checked_before_torch() -> None:
    """A wrong key or choice is answered by Hydra and `learnsym.cli` alone."""
    assert not {"torch", "lightning_fabric", "pandas", "matplotlib"} & modules_after(
        "import hydra, learnsym, learnsym.cli"
    )
