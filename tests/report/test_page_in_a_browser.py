"""The report's page in a real browser without a network: what a person sees when they point, type,
filter and press keys."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import CHROMIUM, Browser
from fake_runs import make_run

from learnsym.report.html import page
from learnsym.report.tables import make_table
from learnsym.results.collect import collect
from learnsym.results.grouping import group

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
)
UP, RIGHT, DOWN = ("ArrowUp", 38), ("ArrowRight", 39), ("ArrowDown", 40)


def loss(level: float, seed: int, epoch: int) -> float:
    return (level + seed / 100) * (4 - epoch)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of two seeds, a run that goes on; a label, an error and a metric that try to be a
    script."""
    folder = tmp_path_factory.mktemp("runs")
    for level, seed in itertools.product((0.1, 0.5), (0, 1)):
        words, config = [f"net.level={level}"], {"net": {"level": level}}
        rows = [
            {"epoch": e, "train_loss": loss(level, seed, e), "learned_width_rad": level + e - 2}
            for e in (1, 2, 3)
        ]
        metrics = {"test_loss": level, f"test_{HOSTILE}": 1.0}
        make_run(
            folder, seed, words=words, config=config, metrics=metrics, rows=rows, device=HOSTILE
        )
    make_run(
        folder,
        7,
        name="other",
        config={"net": {"level": HOSTILE}},
        rows=[{"epoch": 1, "train_loss": 0.7}],
    )
    make_run(folder, 8, name="broken", error=HOSTILE)
    runs = collect(str(folder / "*"))
    groups = group(runs)
    path = folder / "report.html"
    path.write_text(page(HOSTILE, HOSTILE, make_table(groups, runs), groups, runs, []))
    return path


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture
def browser(window: Browser, report: Path) -> Iterator[Browser]:
    """The page, just opened; at the end: nothing was asked for, nothing went wrong, no string has
    become a script."""
    window.requests.clear()
    window.open(report)
    window.wait("document.querySelector('#chart path')")
    choose(window, "train_loss")
    yield window
    assert window.complaints == []
    assert [url for url in window.requests if not url.startswith("data:")] == [report.as_uri()]
    assert window.ask("document.title") == HOSTILE


def choose(browser: Browser, metric: str) -> None:
    """With the keyboard, as in a list of choices."""
    browser.ask("document.getElementById('metric').focus()")
    names = browser.ask("[...document.getElementById('metric').options].map(o => o.value)")
    place = browser.ask("document.getElementById('metric').selectedIndex")
    for _ in range(abs(names.index(metric) - place)):
        browser.press(*(DOWN if names.index(metric) > place else UP))
    assert browser.ask("document.getElementById('metric').value") == metric


def text(browser: Browser, selector: str) -> str:
    return browser.ask(f"document.querySelector({json.dumps(selector)}).innerText")


def lines(browser: Browser) -> tuple[int, int]:
    """How many runs, and how many means, are drawn."""
    return browser.ask("document.querySelectorAll('#chart .run').length"), browser.ask(
        "document.querySelectorAll('#chart .mean').length"
    )


def place_of(browser: Browser, kind: str, number: int, epoch: int) -> tuple[float, float]:
    """Where on the screen a point of a line is."""
    browser.ask("document.getElementById('chart').scrollIntoView({block: 'center'})")
    script = f"""(() => {{
        const path = document.querySelectorAll('#chart .{kind}')[{number}];
        const [x, y] = path.getAttribute('d').slice(1).split('L')[{epoch - 1}].split(' ').map(Number);
        const at = new DOMPoint(x, y).matrixTransform(path.getScreenCTM());
        return [at.x, at.y];
    }})()"""
    x, y = browser.ask(script)
    return x, y


def test_pointing_at_a_curve_tells_run_epoch_and_value(browser: Browser) -> None:
    assert lines(browser) == (5, 2)
    assert browser.ask("document.getElementById('tip').hidden")
    for number, level, seed, epoch in ((1, 0.1, 1, 2), (2, 0.5, 0, 1)):
        browser.point(*place_of(browser, "run", number, epoch))
        shown = text(browser, "#tip").split("\n")
        assert shown[0] == f"level={level}, seed {seed}"
        assert shown[1] == f"epoch {epoch}: {loss(level, seed, epoch):.5g}"
        assert shown[2].startswith("net-data-full-seed")
    browser.point(2, 2)
    assert browser.ask("document.getElementById('tip').hidden")


def test_the_thick_line_is_the_mean(browser: Browser) -> None:
    browser.point(*place_of(browser, "mean", 1, 2))
    mean = (loss(0.5, 0, 2) + loss(0.5, 1, 2)) / 2
    assert text(browser, "#tip").split("\n") == [
        "level=0.5",
        f"epoch 2: {mean:.5g}",
        "mean of 2 runs",
    ]


def test_typing_filters_runs(browser: Browser) -> None:
    assert text(browser, "#count") == "5 of 5 runs."
    browser.click("#filter")
    browser.type("Level=0.5 seed")
    assert (text(browser, "#count"), lines(browser)) == ("2 of 5 runs.", (2, 1))
    browser.type(" 1")
    assert (text(browser, "#count"), lines(browser)) == ("1 of 5 runs.", (1, 0))
    browser.type(" nothing")
    assert (text(browser, "#count"), lines(browser)) == ("0 of 5 runs.", (0, 0))


def test_a_row_can_be_switched_off_and_on(browser: Browser) -> None:
    browser.click("#legend button:nth-child(2)")
    assert lines(browser) == (3, 1)
    assert (
        browser.ask(
            "document.querySelector('#legend button:nth-child(2)').getAttribute('aria-pressed')"
        )
        == "false"
    )
    browser.click("#legend button:nth-child(2)")
    assert lines(browser) == (5, 2)


def test_the_logarithm_leaves_out_what_it_cannot_show_and_says_so(browser: Browser) -> None:
    def heights() -> list[float]:
        return [round(float(place_of(browser, "run", 0, e)[1])) for e in (1, 2)]

    choose(browser, "learned_width_rad")
    before = heights()
    browser.click("#log")
    assert "4 values are not drawn: absent or not finite, or not above zero." in text(
        browser, "#count"
    )
    assert heights() != before
    browser.click("#log")
    assert heights() == before


def test_the_keyboard_reaches_every_point(browser: Browser) -> None:
    browser.ask("document.getElementById('chart').focus()")
    browser.press(*DOWN)
    assert text(browser, "#tip").split("\n")[:2] == [
        "level=0.1, seed 0",
        f"epoch 3: {loss(0.1, 0, 3):.5g}",
    ]
    browser.press("ArrowLeft", 37)
    browser.press(*DOWN)
    assert text(browser, "#tip").split("\n")[:2] == [
        "level=0.1, seed 1",
        f"epoch 2: {loss(0.1, 1, 2):.5g}",
    ]
    browser.press("Escape", 27)
    assert browser.ask("document.getElementById('tip').hidden")


def test_a_command_can_be_copied(browser: Browser) -> None:
    browser.ask("document.querySelector('#runs-versions-and-hardware details').open = true")
    browser.click("button.copy")
    browser.wait(
        "['copied', 'selected'].includes(document.querySelector('button.copy').textContent)"
    )
    source = browser.ask("document.querySelector('button.copy').getAttribute('aria-controls')")
    assert browser.ask(f"document.getElementById('{source}').textContent").startswith("main.py ")


def test_a_narrow_screen_scrolls_tables_and_not_the_page(browser: Browser) -> None:
    browser.resize(360, 740)
    browser.ask("for (const part of document.querySelectorAll('details')) part.open = true")
    browser.wait("document.querySelector('#chart svg').clientWidth < 360")
    assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
    assert browser.ask(
        "[...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)"
    )
    browser.resize(1200, 900)


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_on_its_ground(report: Path, dark: bool) -> None:
    """At least 4.5 to 1 (WCAG AA), for text and for what is said softly."""
    with Browser(dark=dark) as browser:
        browser.open(report)

        def brightness(selector: str, what: str) -> float:
            colour = browser.ask(f"getComputedStyle(document.querySelector('{selector}')).{what}")
            parts = [int(c) / 255 for c in colour[4:-1].split(",")]
            linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
            return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

        ground = brightness("body", "backgroundColor")
        assert (ground < 0.1) == dark
        for selector in ("body", ".note", "a", ".status"):
            lighter, darker = sorted((ground, brightness(selector, "color")), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) > 4.5, selector


def test_nothing_is_folded_away_on_paper(browser: Browser) -> None:
    folded = "document.querySelectorAll('details:not([open])').length"
    before = browser.ask(folded)
    assert before > 0
    browser.ask("dispatchEvent(new Event('beforeprint'))")
    assert browser.ask(folded) == 0
    browser.ask("dispatchEvent(new Event('afterprint'))")
    assert browser.ask(folded) == before


def test_a_hundred_runs_are_drawn_and_pointed_at(tmp_path: Path) -> None:
    for number in range(100):
        rows = [
            {"epoch": e, "train_loss": (number + 1) / e, **{f"m{k}": e for k in range(19)}}
            for e in range(1, 201)
        ]
        level = number // 5
        words, config = [f"net.level={level}"], {"net": {"level": level}}
        make_run(
            tmp_path, number % 5, words=words, config=config, metrics={"test_loss": 1.0}, rows=rows
        )
    runs = collect(str(tmp_path / "*"))
    groups = group(runs)
    path = tmp_path / "report.html"
    path.write_text(page("Many", "main.py", make_table(groups, runs), groups, runs, []))
    assert path.stat().st_size < 10_000_000
    with Browser() as browser:
        browser.open(path)
        browser.wait("document.querySelector('#chart path')")
        assert lines(browser) == (100, 20)
        browser.point(*place_of(browser, "run", 99, 1))
        assert text(browser, "#tip").split("\n")[:2] == ["level=19, seed 4", "epoch 1: 100"]
        assert browser.complaints == []
