"""Execute the notebooks under examples/, and check what they claim."""

import math
import warnings
from pathlib import Path

import nbclient
import nbformat
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
CHECKS = {
    "augerino_in_twenty_lines": f"assert abs(width - {math.pi / 2}) < 0.3, width\n"
    "assert accuracy > 0.98, accuracy",
    "partial_group_convolution": "assert full_accuracy < 0.6, full_accuracy\n"
    "assert partial_accuracy > 0.95, partial_accuracy\n"
    "assert thetas['lift.elements'] == 1.0\n"
    "assert min(thetas.values()) < 0.5, thetas",
}
"""What holds after the last cell of a notebook."""
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def test_every_notebook_is_checked():
    assert {path.stem for path in NOTEBOOKS} == set(CHECKS)


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


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_does_what_it_claims(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent / "src"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(CHECKS[path.stem]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the kernel's client
        nbclient.NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
        ).execute()
