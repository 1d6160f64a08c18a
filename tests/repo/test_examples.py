"""Execute the notebooks under examples/, and check what they claim."""

import json
import math
import warnings
from pathlib import Path

import nbclient
import nbformat
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
VALUES = {
    "augerino_in_twenty_lines": "{'width': width, 'accuracy': accuracy}",
    "partial_group_convolution": "{'full': full_accuracy, 'partial': partial_accuracy, "
    "'thetas': thetas}",
}
"""What a notebook has computed after its last cell."""
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def test_every_notebook_is_checked():
    assert {path.stem for path in NOTEBOOKS} == set(VALUES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_short_text(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            assert output.output_type == "stream"
            assert len(output.text) < 500


def test_augerino_takes_twenty_lines():
    """From the first import to the learned width."""
    cells = nbformat.read(EXAMPLES / "augerino_in_twenty_lines.ipynb", as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    lines = [line for line in code.partition("print(")[0].splitlines() if line.strip()]
    assert len(lines) <= 20


@pytest.fixture
def computed(tmp_path, monkeypatch):
    """computed(name) executes a notebook and returns what it has computed."""
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent / "src"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))

    def execute(name):
        notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
        last = f"import json\nprint(json.dumps({VALUES[name]}, default=float))"
        notebook.cells.append(nbformat.v4.new_code_cell(last))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the kernel's client
            nbclient.NotebookClient(
                notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
            ).execute()
        return json.loads(notebook.cells[-1].outputs[-1].text)

    return execute


@pytest.mark.long
def test_augerino_finds_the_width_of_the_rotations(computed):
    values = computed("augerino_in_twenty_lines")
    assert abs(values["width"] - math.pi / 2) < 0.3
    assert values["accuracy"] > 0.98


@pytest.mark.long
def test_a_learned_part_of_the_group_tells_what_the_whole_cannot(computed):
    values = computed("partial_group_convolution")
    assert values["full"] < 0.6
    assert values["partial"] > 0.95
    assert values["thetas"]["lift.elements"] == 1.0
    assert min(values["thetas"].values()) < 0.5
