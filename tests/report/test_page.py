"""The report's page as a document: everything is in it, nothing is asked for, no string of a run
becomes markup."""

import re
from html.parser import HTMLParser
from pathlib import Path

import plotly.offline
import pytest
from fake_runs import PIXEL, make_run

from learnsym.report import curves as curves_module
from learnsym.report import html as page_module
from learnsym.report.curves import make_curves
from learnsym.report.html import report_page
from learnsym.report.tables import make_table
from learnsym.results.collect import collect
from learnsym.results.grouping import group_runs

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;"


class Document(HTMLParser):
    """Tags with their attributes, whether they are closed in order, and the text of each kind of
    tag."""

    VOID = ("meta", "img", "input", "br", "wbr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.text[tag][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def made(folder: Path, **settings) -> tuple[str, Document]:
    runs = collect(str(folder / "*"))
    groups = group_runs(runs)
    table = make_table(groups, runs)
    text = report_page(
        "A title", "main.py mode=report", table, groups, runs, settings.get("figures", [])
    )
    return text, Document(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    paper = [{"metric": "test_loss", "value": 0.3, "status": "F", "where": "figure 4"}]
    for level in (0.01, 0.1):
        for seed in (0, 1):
            words, config = [f"net.regularisation={level}"], {"net": {"regularisation": level}}
            rows = [
                {"epoch": e, "step": e, "train_loss": level / e, "learned_rotation_width_rad": 0.5}
                for e in (1, 2, 3)
            ]
            make_run(
                tmp_path,
                seed,
                words=words,
                config=config,
                metrics={"test_loss": level},
                rows=rows,
                paper=paper,
            )
    make_run(tmp_path, 2, name="goes-on", config={"net": {"regularisation": 0.1}}, rows=rows[:2])
    make_run(tmp_path, 3, name="broken", error="RunError: train_loss is nan")
    return tmp_path


def test_every_part_is_there(folder: Path) -> None:
    text, document = made(folder)
    assert document.text["h1"] == ["A title"]
    assert [h.split()[0] for h in document.text["h2"]] == [
        "Results",
        "Learned",
        "Training",
        "Differences",
        "Runs,",
    ]
    ids = {attributes["id"] for _, attributes in document.tags if "id" in attributes}
    assert {a["href"].removeprefix("#") for a in document.of("a")} <= ids
    assert "6 runs: 4 finished, 1 failed, 1 unfinished" in document.text["header"][0]
    assert "regularisation=0.1" in document.text["tbody"][0]
    assert "0.1 ± 0 (0.3 [F, figure 4])" in document.text["tbody"][0]
    assert "F: measured from a published figure" in "".join(document.text["p"])
    assert "broken failed: RunError: train_loss is nan" in document.text["ul"][0]
    assert "goes-on unfinished" in document.text["ul"][0]
    assert sum("net.regularisation=0.1 seed=1" in cell for cell in document.text["td"]) == 1
    assert "0.01" in document.text["details"][-2], "differences of configuration"
    assert "aaaaaaaaaaaa" in text


def without_plotly(text: str) -> str:
    """Leave out plotly's own script, which holds addresses that it never asks for here."""
    return text.replace(plotly.offline.get_plotlyjs(), "")


def test_nothing_is_asked_for(folder: Path) -> None:
    text, document = made(folder)
    sources = [
        str(v)
        for _, attributes in document.tags
        for k, v in attributes.items()
        if k in ("src", "href", "action", "data")
    ]
    assert sources
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in sources)
    assert document.of("link") == []
    policy = next(
        m["content"]
        for m in document.of("meta")
        if m.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data: blob:;")
    assert len(without_plotly(text)) < len(text)
    assert not re.search(r"//\w|@import|url\(", without_plotly(text).replace("https://plot.ly", ""))


def test_tables_are_tables(folder: Path) -> None:
    _, document = made(folder)
    assert all(th.get("scope") in ("col", "row") for th in document.of("th"))
    assert all("alt" in img for img in document.of("img"))


def test_no_string_of_a_run_is_markup(tmp_path: Path) -> None:
    for seed, note in enumerate((HOSTILE, "b")):
        entry = {"metric": "test_loss", "value": HOSTILE, "status": HOSTILE, "where": HOSTILE}
        machine = {
            "device": HOSTILE,
            "versions": {HOSTILE: HOSTILE, "code": HOSTILE},
            "data": {"provenance": f"STAND-IN {HOSTILE}"},
        }
        settings = {"words": [f"net.note={note}"], "paper": [entry]}
        settings |= {"config": {"net": {HOSTILE: note}, "seed": HOSTILE}}
        settings |= {"metrics": {"test_loss": 1.0, f"test_{HOSTILE}": 2.0}}
        make_run(tmp_path, seed, rows=[{"epoch": 1, HOSTILE: 1.0}], **settings, **machine)
    make_run(tmp_path, 4, name="x<script>alert(3)<", error=HOSTILE)
    runs = collect(str(tmp_path / "*"))
    groups = group_runs(runs)
    text = report_page(HOSTILE, HOSTILE, make_table(groups, runs), groups, runs, [])
    document = Document(text)
    make_run(tmp_path / "plain", metrics={"test_loss": 1.0}, rows=[{"epoch": 1, "loss": 1.0}])
    plain_scripts = len(made(tmp_path / "plain")[1].of("script"))
    assert len(document.of("script")) == plain_scripts, "plotly's alone"
    assert all(str(img["src"]).startswith("data:") for img in document.of("img"))
    assert not [k for _, attributes in document.tags for k in attributes if k.startswith("on")]
    assert document.text["h1"] == [HOSTILE]
    assert "<script>alert" not in without_plotly(text).replace(r"\u003c", "<<")


def test_texts_of_the_chart_are_escaped(tmp_path: Path) -> None:
    """Plotly reads tags such as <a href> in texts."""
    make_run(tmp_path, name="<a>", config={"seed": "<b>"}, rows=[{"epoch": 1, HOSTILE: 1.0}])
    figure = make_curves([], collect(str(tmp_path)))
    (line,) = figure["data"]
    assert line["name"] == "&lt;a&gt;"
    assert line["text"].startswith("&lt;a&gt;, seed &lt;b&gt;, unfinished<br>&lt;a&gt;")
    (button,) = figure["layout"]["updatemenus"][0]["buttons"]
    assert "<" not in button["label"]


# --- figures


def test_figures_are_in_the_page(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep.png").write_bytes(PIXEL)
    _, document = made(folder, figures=[tmp_path / "sweep.png"])
    assert [img["alt"] for img in document.of("img")][:3] == [
        "all rows of the table",
        "learned symmetry: regularisation=0.01, seed 0",
        "learned symmetry: regularisation=0.01, seed 1",
    ]
    assert len(document.of("img")) == 5


def test_figures_that_are_too_many_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first seed of each row comes first."""
    monkeypatch.setattr(page_module, "MAX_FIGURES", 2 * len(PIXEL))
    _, document = made(folder)
    assert [str(img["alt"]).rpartition(",")[2] for img in document.of("img")] == [
        " seed 0",
        " seed 0",
    ]
    left_out = next(note for note in document.text["p"] if note.startswith("Not in this page"))
    assert left_out.count("learned_symmetry.png") == 2


def test_what_is_no_png_is_named(folder: Path) -> None:
    for path in folder.glob("*/figures/*.png"):
        path.write_bytes(b"<svg onload=alert(1)>")
    _, document = made(folder)
    assert document.of("img") == []
    assert any(note.startswith("Not in this page") for note in document.text["p"])


# --- curves


def test_curves_are_the_rows_of_metrics_jsonl(folder: Path) -> None:
    runs = [run for run in collect(str(folder / "*")) if run.rows]
    figure = make_curves(group_runs(runs), runs)
    menu = figure["layout"]["updatemenus"][0]
    assert [b["label"] for b in menu["buttons"]] == ["train_loss", "learned_rotation_width_rad"]
    assert menu["active"] == 0, "the width does not change"
    labels = [line["name"] for line in figure["data"] if line["showlegend"]]
    assert labels == ["regularisation=0.01", "regularisation=0.1"]
    (goes_on,) = [line for line in figure["data"] if "unfinished" in line["text"]]
    assert goes_on["name"] == "regularisation=0.1"
    assert (goes_on["x"], goes_on["y"]) == ([1, 2], [0.1, 0.05])
    means = [line for line in figure["data"] if line["text"].endswith(", mean")]
    assert [line["y"] for line in means] == [[0.01, 0.005, 0.00333333], [0.1, 0.05, 0.0333333]]
    assert len(figure["data"]) == 5 + 2
    width = menu["buttons"][1]["args"][0]["y"]
    assert width == [[0.5] * len(line["x"]) for line in figure["data"]]


def test_a_mean_is_over_epochs_that_all_runs_have(tmp_path: Path) -> None:
    for seed in (0, 1):
        rows = [{"epoch": e, "loss": float(e + seed)} for e in range(1, 4 - seed)]
        make_run(tmp_path, seed, metrics={"test_loss": 1.0}, rows=rows)
    runs = collect(str(tmp_path))
    mean = make_curves(group_runs(runs), runs)["data"][-1]
    assert (mean["x"], mean["y"]) == ([1, 2], [1.5, 2.5])


def test_very_long_runs_are_thinned_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"epoch": e, "train_loss": 1 / e, "val_loss": float("nan")} for e in range(1, 101)]
    make_run(tmp_path, metrics={"test_loss": 1.0}, rows=rows)
    assert "th epoch" not in "".join(made(tmp_path)[1].text["p"])
    monkeypatch.setattr(curves_module, "MAX_NUMBERS", 90)
    runs = collect(str(tmp_path / "*"))
    figure = make_curves(group_runs(runs), runs)
    assert figure["data"][0]["x"] == [*range(1, 101, 4), 100]
    val_loss = figure["layout"]["updatemenus"][0]["buttons"][1]["args"][0]["y"][0]
    assert set(val_loss) == {None}
    assert "Every 4th epoch" in "".join(made(tmp_path)[1].text["p"])


def test_a_page_without_a_finished_run(tmp_path: Path) -> None:
    make_run(tmp_path, name="broken", error="it broke")
    _, document = made(tmp_path)
    assert "No run has finished." in document.text["main"][0]
    assert "No run has recorded an epoch." in document.text["main"][0]
