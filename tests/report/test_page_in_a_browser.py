"""The report's page in a real browser without a network: it opens, draws, and asks for nothing."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import CHROMIUM, Browser
from fake_runs import make_run

from learnsym.report.html import report_page
from learnsym.report.tables import make_table
from learnsym.results.collect import collect
from learnsym.results.grouping import group_runs

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of two seeds, a run that goes on; a label, an error and a metric that try to be a
    script."""
    folder = tmp_path_factory.mktemp("runs")
    for level, seed in itertools.product((0.1, 0.5), (0, 1)):
        words, config = [f"net.level={level}"], {"net": {"level": level}}
        rows = [
            {"epoch": e, "train_loss": (level + seed / 100) * (4 - e), HOSTILE: level * e}
            for e in (1, 2, 3)
        ]
        metrics = {"test_loss": level, f"test_{HOSTILE}": 1.0}
        make_run(
            folder, seed, words=words, config=config, metrics=metrics, rows=rows, device=HOSTILE
        )
    unfinished = [{"epoch": 1, "train_loss": 0.7}]
    make_run(folder, 7, name="other", config={"net": {"level": HOSTILE}}, rows=unfinished)
    make_run(folder, 8, name="broken", error=HOSTILE)
    runs = collect(str(folder / "*"))
    groups = group_runs(runs)
    path = folder / "report.html"
    path.write_text(report_page(HOSTILE, HOSTILE, make_table(groups, runs), groups, runs, []))
    return path


@pytest.fixture
def browser(report: Path) -> Iterator[Browser]:
    """The page, just opened; at the end: nothing was asked for, nothing went wrong, no string has
    become a script."""
    with Browser() as window:
        window.open(report)
        window.wait("document.querySelector('#curves .scatterlayer path')")
        yield window
        assert window.complaints == []
        asked = [url for url in window.requests if not url.startswith(("data:", "blob:"))]
        assert asked == [report.as_uri()]
        assert window.ask("document.title") == HOSTILE


def test_curves_are_drawn_and_the_menu_changes_the_metric(browser: Browser) -> None:
    assert browser.ask("document.querySelectorAll('#curves .scatterlayer .trace').length") >= 6
    assert browser.ask("document.querySelector('#curves .ytitle').textContent") == "train_loss"
    assert browser.ask("document.getElementById('curves').data.length") == 7
    button = "document.getElementById('curves').layout.updatemenus[0].buttons[1].args"
    browser.ask(f"Plotly.update('curves', ...{button}).then(() => true)")
    assert browser.ask("document.querySelector('#curves .ytitle').textContent") == HOSTILE
    assert browser.ask("document.getElementById('curves').data[0].y[1]") == pytest.approx(0.2)


def test_a_narrow_screen_scrolls_tables_and_not_the_page(browser: Browser) -> None:
    browser.resize(360, 740)
    browser.ask("for (const part of document.querySelectorAll('details')) part.open = true")
    browser.wait("document.documentElement.scrollWidth <= innerWidth")
    assert browser.ask(
        "[...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)"
    )
