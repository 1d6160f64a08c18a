"""torch's compiler is loaded when something is compiled, whole, once, and by whatever way it is asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BEFORE = """
import sys
from learnsym.utils.lazy_dynamo import postpone_dynamo
postpone_dynamo()
import torch
import torch._dynamo

def loaded():
    return "torch._dynamo.eval_frame" in sys.modules

postponed = sys.modules["torch._dynamo"]
net = torch.nn.Linear(2, 2)
kept = torch._dynamo.disable(lambda x: x + 1)
assert kept(1) == 2
optimizer = torch.optim.Adam(net.parameters(), lr=0.1)

def step(net):
    optimizer.zero_grad()
    net(torch.ones(3, 2)).sum().backward()
    optimizer.step()

step(net)
from lightning_fabric.wrappers import OptimizedModule, _unwrap_compiled
assert not isinstance(net, OptimizedModule) and not issubclass(torch.nn.Linear, OptimizedModule)
assert _unwrap_compiled(net) == (net, None)
assert not hasattr(postponed, "__no_such_name__")
assert not loaded()
"""
AFTER = """
assert loaded()
assert torch._dynamo is sys.modules["torch._dynamo"] is postponed
assert type(postponed) is type(torch) and postponed.__spec__.origin == postponed.__file__
names = [name for name in sys.modules if name.startswith("torch._dynamo.") and name.count(".") == 2]
assert len(names) > 20
for name in names:  # one copy of each, with its own specification
    assert getattr(postponed, name.rpartition(".")[2], None) is sys.modules[name] or name not in vars(postponed), name
    assert sys.modules[name].__spec__.loader is not None and sys.modules[name].__spec__.origin.endswith(".py"), name
import torch._dynamo.testing
counter = torch._dynamo.testing.CompileCounter()
compiled = torch.compile(net, backend=counter)
assert isinstance(compiled, OptimizedModule) and isinstance(compiled, torch._dynamo.OptimizedModule)
assert not isinstance(net, OptimizedModule) and issubclass(torch._dynamo.OptimizedModule, OptimizedModule)
assert _unwrap_compiled(compiled)[0] is net
step(compiled)
assert counter.frame_count == 1
# What is kept from the compiler stays kept from it, although it was wrapped before there was one.
assert torch.compile(lambda x: kept(x), backend=counter)(torch.ones(1)) == 2
assert counter.frame_count == 1
"""
WAYS = {
    "an attribute": "torch._dynamo.config",
    "a name": "from torch._dynamo import explain",
    "all names": "from torch._dynamo import *",
    "a module inside": "import torch._dynamo.eval_frame",
    "a module inside, by name": "from torch._dynamo.utils import counters",
    "disable as a decorator": "assert torch._dynamo.disable()(len)([1]) == 1",
    "compiling": "torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1))",
    "threads": """
import threading
found, start = [], threading.Barrier(4)
def ask():
    start.wait()
    found.append((torch._dynamo.config, torch._dynamo.explain))
threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(found) == 4 and len({tuple(map(id, pair)) for pair in found}) == 1
""",
}
SOON = ("compiling", "a module inside")
"""The others are among the longer tests."""


def python(script: str) -> tuple[int, str]:
    """The exit code of a process of its own, and what it says of an assertion that does not hold."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("way", [name if name in SOON else pytest.param(name, marks=pytest.mark.long) for name in WAYS])
def test_the_compiler_is_itself_as_soon_as_it_is_asked_for(way: str) -> None:
    code, error = python(f"{BEFORE}{WAYS[way]}{AFTER}print('to the end', file=sys.stderr)")
    assert (code, error) == (0, "to the end\n")


def test_what_the_test_above_would_see() -> None:
    """Its assertions are those of another process."""
    code, error = python(f"{BEFORE}{AFTER}")
    assert code == 1
    assert error.splitlines()[-1] == "AssertionError", error


def test_an_imported_compiler_stays_as_it_is() -> None:
    code, error = python("""
import sys
import torch._dynamo
from learnsym.utils.lazy_dynamo import postpone_dynamo
before = list(sys.meta_path)
postpone_dynamo()
assert sys.meta_path == before
""")
    assert code == 0, error


def test_a_run_does_without_the_compiler(tmp_path) -> None:
    """The whole default experiment, figures and all, small; nothing on its way may ask for the compiler."""
    words = ["debug=true", f"paths.out={tmp_path}", "dataset.train_size=128", "dataset.test_size=128"]
    code, error = python(f"""
import runpy, sys
sys.argv = ["main.py", *{words!r}]
try:
    runpy.run_path({str(ROOT / "main.py")!r}, run_name="__main__")
except SystemExit as stop:
    assert stop.code == 0, stop.code
assert "torch.optim" in sys.modules
heavy = [name for name in ("torch._dynamo.eval_frame", "sympy", "triton") if name in sys.modules]
assert heavy == [], heavy
""")
    assert code == 0, error
