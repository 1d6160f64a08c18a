"""Execute every block of code of README.md, CONTRIBUTING.md and docs/*.md.

* Blocks of Python and YAML with a file's name in the sentence before them (`mylab/nets.py`,
  `conf/net/tiny.yaml`) are written to that file in the page's folder; doctests in it are run, and
  ruff's rules hold for it. Other blocks of Python are executed.
* Commands, in blocks or within a line, are typed in the page's order. They are made short (`SHORT`
  in docs_driver.py: few examples, four steps, narrow networks, two values of a sweep), and figures
  are not rendered. Those that need data from elsewhere, or several processes
  (tests/system/test_two_processes.py, test_torchrun.py), are composed and go through all checks of
  main.py. The jobs of launchers are done one after the other, and the launchers' settings composed.
  `runs/RUN` stands for the last run that was trained on the page, `runs/sweeps/A` and `B` for its
  sweeps.
* A block of text that begins with `error:` is what the command before it must answer.
* What remains is in NOT_EXECUTED, with the reason.

All of it in a copy of the project. The site of these pages and of the docstrings is built as well.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").glob("*.md")),
]
NOT_EXECUTED = {
    r"(uv )?pip install .*": "installs; every test here runs in what uv installed",
    r"conda env create .*|conda activate learnsym": "installs; test_structure.py has the versions",
    r"uv run (pytest|ruff|mypy|pre-commit) ?.*|\.ci/run": "this is it, and what CI does around it",
    r"uv run mkdocs (serve|build --strict)": "test_the_site_builds does",
    r"git .*|cd .*|ls .*|squeue.*|scancel.*|wandb sync .*": "the reader's shell",
}
"""Commands that no test types -> why. All others must be of a form that
`test_every_command_is_known` knows."""
MAIN = re.compile(
    r"(?:uv run )?(?:(?P<starter>torchrun|srun) .*?)?"
    r"(?:uv run )?(?:(?:python )?main\.py|learnsym)(?= |$)"
)
INLINE = re.compile(r"`((?:uv |pip |python |conda |torchrun |learnsym )[^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the paragraph before it, and its line."""

    language: str
    text: str
    before: str
    line: int


def read(page):
    """Return the page's blocks, and its other text line by line (blank where a block was)."""
    blocks, prose, inside, start = [], [], None, 0
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        fence = re.match(r"```(\w*)$", line)
        if fence and inside is None:
            inside, language, start = [], fence[1], number
        elif fence:
            paragraph = "\n".join(prose).rstrip().rpartition("\n\n")[2]
            blocks.append(Block(language, "\n".join(inside) + "\n", paragraph, start))
            inside = None
        elif inside is not None:
            inside.append(line)
        prose.append("" if fence or inside is not None else line)
    assert inside is None, f"{page}:{start}: a block without an end"
    return blocks, prose


def commands_of(page):
    """Return (line number, command, what it must answer or None), in the page's order."""
    blocks, prose = read(page)
    commands = []
    for block, after in zip(blocks, [*blocks, None][1:], strict=True):
        if block.language not in ("", "bash"):
            continue
        is_answer = after and after.language == "text" and after.text.startswith("error:")
        answer = after.text.strip() if is_answer else None
        lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
        parts = [part.strip() for line in lines for part in line.partition(" #")[0].split("&&")]
        commands += [(block.line, part, answer) for part in parts if part]
    for number, line in enumerate(prose, 1):
        inline = (part.strip() for text in INLINE.findall(line) for part in text.split("&&"))
        commands += [(number, command, None) for command in inline]
    return sorted(commands, key=lambda command: command[0])


def files_of(page):
    """Return path -> content of the files that the page tells its reader to write."""
    files = {}
    for block in read(page)[0]:
        ending = {"python": "py", "yaml": "yaml"}.get(block.language)
        sentence = re.split(r"(?<=[.:])\s(?=[A-Z])", block.before)[-1]
        paths = re.findall(rf"`((?:mylab|conf)/[\w/]+\.{ending})`", sentence) if ending else []
        for path in paths:
            assert path not in files, f"{page}:{block.line}: {path} is there already"
            files[path] = block.text
    return files


def started(command):
    """Return the environment of the first process that torchrun or srun starts."""
    if command["starter"] is None:
        return {}
    flags = dict(re.findall(r"--([\w-]+)=(\w+)", command[0]))
    if command["starter"] == "torchrun":
        nodes, each = int(flags.get("nnodes", 1)), int(flags["nproc-per-node"])
        return {
            "TORCHELASTIC_RUN_ID": "docs",
            "RANK": "0",
            "WORLD_SIZE": f"{nodes * each}",
            "LOCAL_WORLD_SIZE": f"{each}",
        }
    nodes, each = int(flags["nodes"]), int(flags["ntasks-per-node"])
    step = {"ID": "0", "NUM_TASKS": f"{nodes * each}", "NUM_NODES": f"{nodes}"}
    return {"SLURM_PROCID": "0"} | {f"SLURM_STEP_{name}": value for name, value in step.items()}


def steps_of(page, files):
    """Return what the driver does with the page: modules first, the others in their order."""
    steps = []
    for path in (path for path in files if path.endswith(".py")):
        name = path.removesuffix(".py").replace("/", ".")
        steps.append((0, {"kind": "module", "name": name, "where": f"{page}: {path}"}))
    for block in read(page)[0]:
        if block.language == "python" and block.text not in files.values():
            where = f"{page}:{block.line}"
            steps.append((block.line, {"kind": "python", "text": block.text, "where": where}))
    for number, line, answer in commands_of(page):
        if match := MAIN.match(line):
            step = {
                "kind": "command",
                "words": shlex.split(line[match.end() :]),
                "expected": answer,
                "environment": started(match),
                "where": f"{page}:{number}",
                "line": line,
            }
            steps.append((number, step))
    return [step for _, step in sorted(steps, key=lambda step: step[0])]


@pytest.fixture(scope="module")
def extras():
    """Names of the optional dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return set(project["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_known(page, extras):
    for number, line, _ in commands_of(page):
        where = f"{page}:{number}: {line}"
        if MAIN.match(line) or any(re.fullmatch(pattern, line) for pattern in NOT_EXECUTED):
            continue
        if asked := re.fullmatch(r"uv sync((?: --extra \w+| --all-extras)+)", line):
            assert set(re.findall(r"--extra (\w+)", asked[1])) <= extras, where
        elif script := re.match(r"uv run (benchmarks/\w+\.py)( --data DIR)?$", line):
            assert (ROOT / script[1]).is_file(), where  # they take idle cores and minutes
        else:
            pytest.fail(f"{where}: no test executes this")


def copy_of_the_project(tree):
    """Copy what main.py needs."""
    for folder in ("src", "cfg", "results"):
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, tree / folder)
    for name in ("main.py", "EXPERIMENTS.md", "README.md"):
        shutil.copy2(ROOT / name, tree)


@pytest.mark.long
def test_the_pages(tmp_path):
    tree, path = tmp_path / "tree", tmp_path / "work.json"
    copy_of_the_project(tree)
    work = {}
    for page in PAGES:
        files = files_of(page)
        work[page] = {"files": files, "steps": steps_of(page, files)}
    path.write_text(json.dumps(work))
    hidden = ("LEARNSYM_DATA", "LEARNSYM_PLUGINS")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    environment |= {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/helpers/docs_driver.py"), str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)  # processor time of every step
    failed = json.loads(path.read_text())
    assert failed == [], "\n".join(failed)


@pytest.mark.parametrize("page", PAGES)
def test_modules_on_the_page_are_in_style(page, tmp_path):
    modules = []
    for path, text in files_of(page).items():
        if path.endswith(".py"):
            modules.append(tmp_path / path)
            modules[-1].parent.mkdir(exist_ok=True)
            modules[-1].write_text(text)
    if modules:
        (tmp_path / "mylab/__init__.py").write_text('"""A package of the reader."""\n')
    config = ["--config", str(ROOT / "pyproject.toml")]
    for action in (["check"], ["format", "--check"]) if modules else []:
        words = [sys.executable, "-m", "ruff", *action, *config, *modules]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_and_figures_are_there(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", text):
        there = "://" in target or (ROOT / page).parent.joinpath(target).exists()
        assert there, f"{page}: {target}"


def test_figures_are_small():
    assert [p.name for p in (ROOT / "docs").glob("*.png") if p.stat().st_size > 200_000] == []


@pytest.mark.long
def test_the_site_builds(tmp_path):
    """Every link works, and every docstring of the reference is read without a warning."""
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (ROOT / "docs/reference").glob("*.md"):
        reference = (tmp_path / f"reference/{page.stem}/index.html").read_text()
        assert 'id="learnsym.' in reference, f"{page.name} shows no public name"
