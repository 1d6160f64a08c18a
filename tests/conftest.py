"""What all tests share: one thread a process, the folder of real data, no network."""

import os
from pathlib import Path

import pytest

# The tests' tensors are small, and threads of several processes would wait for each other. Before
# torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data; tests that need it are skipped where it is absent."""
    root = Path(__file__).parents[1]
    folder = Path(os.environ.get("LEARNSYM_TEST_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}")
    return str(folder)


@pytest.fixture
def no_network(monkeypatch):
    """Every attempt to connect fails at once, and is listed."""
    import pooch

    asked = []

    def refuse(self, url, output_file, pooch, check_only=False):
        asked.append(url)
        raise ConnectionError("no network in this test")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", refuse)
    return asked
