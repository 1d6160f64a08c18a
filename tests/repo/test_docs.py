"""README.md and docs/*.md: every block of code is executed, in a copy of the project, so that no
page can go out of date.

* Blocks of Python and YAML with a file's name in the sentence before them are written to that file;
  doctests in it are run, and ruff's rules hold for it. Other blocks of Python are executed.
* Commands of main.py, in blocks or within a line, are typed in the page's order. They are made
  short (`SHORT` in docs_driver.py:
  few examples, four steps, narrow networks, two values of a sweep), and figures are not rendered.
  Those that need data from elsewhere, or several processes (tests/system/test_two_processes.py,
  test_torchrun.py), are composed and go through all checks of main.py. The jobs of engines
  (launcher=...) are done one after the other, and the engines' settings composed. `runs/RUN` stands
  for the last run that was trained on the page, `runs/sweeps/A` and `B` for its sweeps.
* A block of text that begins with `error:` is what the command before it must answer.
* What is left is in NOT_EXECUTED, with the reason.
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
    r"pip install uv": "installs; every test here runs in what uv installed",
    r"conda env create .*|conda activate learnsym": "installs; the versions are those of pyproject.toml (test_structure.py)",  # noqa: E501
    r"uv run pytest.*|uv run ruff .*|\.ci/run": "this is it, and what CI does around it",
    r"git .*|cd .*|ls .*|squeue.*|scancel.*": "the reader's shell",
}
"""Commands that no test types -> why. All others must be of a form that
`test_every_command_is_known` knows."""
MAIN = re.compile(
    r"(?:uv run )?(?:(?P<starter>torchrun|srun) .*?)?(?:uv run )?(?:python )?main\.py(?= |$)"
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the paragraph before it, and where it is."""

    language: str
    text: str
    before: str
    line: int


def read(page):
    """The page's blocks, and its text without them, line by line (blank where a block was)."""
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
    """(line number, command, what it must answer or None), in the page's order: of blocks, and
    those between backticks."""
    blocks, prose = read(page)
    found = []
    for block, after in zip(blocks, [*blocks, None][1:], strict=True):
        if block.language not in ("", "bash"):
            continue
        answer = (
            after.text.strip()
            if after and after.language == "text" and after.text.startswith("error:")
            else None
        )
        lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
        parts = [part.strip() for line in lines for part in line.partition(" #")[0].split("&&")]
        found += [(block.line, part, answer) for part in parts if part]
    for number, line in enumerate(prose, 1):
        inline = re.findall(r"`((?:uv run |python |conda |torchrun )[^`]+)`", line)
        found += [(number, part.strip(), None) for text in inline for part in text.split("&&")]
    return sorted(found, key=lambda f: f[0])


def files_of(page):
    """Path -> content of the files that the page tells its reader to write."""
    files = {}
    for block in read(page)[0]:
        ending = {"python": "py", "yaml": "yaml"}.get(block.language)
        sentence = re.split(r"(?<=[.:])\s(?=[A-Z])", block.before)[-1]
        for path in re.findall(rf"`((?:src|cfg)/[\w/]+\.{ending})`", sentence) if ending else []:
            files[path] = block.text
    return files


def started(command):
    """What torchrun or srun tells the first of the processes that it starts, of a match of MAIN."""
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


def steps_of(page):
    """What the driver does with the page."""
    files = files_of(page)
    steps = [
        {
            "kind": "module",
            "name": path.removeprefix("src/").removesuffix(".py").replace("/", "."),
            "where": f"{page}: {path}",
        }
        for path in files
        if path.endswith(".py")
    ]
    for block in read(page)[0]:
        if block.language == "python" and block.text not in files.values():
            steps.append({"kind": "python", "text": block.text, "where": f"{page}:{block.line}"})
    for number, line, answer in commands_of(page):
        if match := MAIN.match(line):
            words = shlex.split(line[match.end() :])
            step = {
                "kind": "command",
                "words": words,
                "expected": answer,
                "environment": started(match),
            }
            steps.append(step | {"where": f"{page}:{number}", "line": line})
    return steps


@pytest.fixture(scope="module")
def extras():
    """Names of the optional dependencies."""
    return set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    )


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
    """What main.py needs, and all files that the pages add to it."""
    for part in ("src", "cfg", "results"):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tree / part)
    for name in ("main.py", "EXPERIMENTS.md", "README.md"):
        shutil.copy2(ROOT / name, tree)
    for page in PAGES:
        for path, text in files_of(page).items():
            assert not (tree / path).exists(), f"{page} adds {path}, which is there already"
            (tree / path).write_text(text)


@pytest.mark.long
def test_the_pages(tmp_path):
    tree, work = tmp_path / "tree", tmp_path / "work.json"
    copy_of_the_project(tree)
    work.write_text(json.dumps({page: steps_of(page) for page in PAGES}))
    environment = {k: v for k, v in os.environ.items() if k != "LEARNSYM_DATA"}
    environment |= {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    driver = [sys.executable, str(ROOT / "tests/helpers/docs_driver.py"), str(work)]
    done = subprocess.run(
        driver,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)  # processor time of every step
    wrong = json.loads(work.read_text())
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES)
def test_modules_on_the_page_are_in_style(page, tmp_path):
    modules = []
    for path, text in files_of(page).items():
        if path.endswith(".py"):
            modules.append(tmp_path / Path(path).name)
            modules[-1].write_text(text)
    for action in (["check"], ["format", "--check"]) if modules else []:
        words = [
            sys.executable,
            "-m",
            "ruff",
            *action,
            "--config",
            str(ROOT / "pyproject.toml"),
            *modules,
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_and_figures_are_there(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", text):
        assert "://" in target or (ROOT / page).parent.joinpath(target).exists(), (
            f"{page}: {target}"
        )


def test_figures_are_small():
    assert [p.name for p in (ROOT / "docs").glob("*.png") if p.stat().st_size > 200_000] == []
