"""The report's page as a document: everything is in it, nothing is asked for, no string of a run
becomes markup."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_runs import PIXEL, make_run

from learnsym.report import html as page_module
from learnsym.report.curves import curves
from learnsym.report.html import page
from learnsym.report.tables import make_table
from learnsym.results.collect import collect
from learnsym.results.grouping import group

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
    groups = group(runs)
    table = make_table(groups, runs)
    text = page("A title", "main.py mode=report", table, groups, runs, settings.get("figures", []))
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
    assert "0.1 ± 0paper: 0.3 [F]" in document.text["tbody"][0]
    assert any(
        "measured from a published figure; figure 4" in str(a["title"]) for a in document.of("abbr")
    )
    assert "broken failed: RunError: train_loss is nan" in document.text["ul"][0]
    assert "goes-on unfinished" in document.text["ul"][0]
    assert sum("net.regularisation=0.1 seed=1" in code for code in document.text["code"]) == 1
    assert "0.01" in document.text["details"][-2], "differences of configuration"
    assert "aaaaaaaaaaaa" in text


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
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}, (
        "a name, no address"
    )
    assert not re.search(r"@import|url\(", text)


def test_tables_are_tables(folder: Path) -> None:
    _, document = made(folder)
    assert all(th.get("scope") in ("col", "row") for th in document.of("th"))
    assert all("alt" in img for img in document.of("img"))
    labelled = {label["for"] for label in document.of("label") if "for" in label}
    assert {
        e["id"]
        for tag in ("select", "input")
        for e in document.of(tag)
        if e.get("type") != "checkbox"
    } <= labelled


def test_no_string_of_a_run_is_markup(tmp_path: Path) -> None:
    for seed, note in enumerate((HOSTILE, "b")):
        entry = {"metric": "test_loss", "value": HOSTILE, "status": HOSTILE, "where": HOSTILE}
        machine = {
            "device": HOSTILE,
            "versions": {HOSTILE: HOSTILE, "code": HOSTILE},
            "data": {"provenance": f"STAND-IN {HOSTILE}"},
        }
        make_run(tmp_path, seed, words=[f"net.note={note}"], config={"net": {HOSTILE: note}, "seed": HOSTILE}, paper=[entry],
                 metrics={"test_loss": 1.0, f"test_{HOSTILE}": 2.0}, rows=[{"epoch": 1, HOSTILE: 1.0}], **machine)  # fmt: skip
    make_run(tmp_path, 4, name="x<script>alert(3)<", error=HOSTILE)
    runs = collect(str(tmp_path / "*"))
    groups = group(runs)
    document = Document(page(HOSTILE, HOSTILE, make_table(groups, runs), groups, runs, []))
    assert len(document.of("script")) == 2, "the data and the page's own"
    assert all(str(img["src"]).startswith("data:") for img in document.of("img"))
    assert not [k for _, attributes in document.tags for k in attributes if k.startswith("on")]
    assert document.text["h1"] == [HOSTILE]
    assert HOSTILE in json.loads(document.text["script"][0])["metrics"]


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
    _, document = made(folder)
    data = json.loads(document.text["script"][0])
    assert data["metrics"] == ["train_loss", "learned_rotation_width_rad"]
    assert data["start"] == "train_loss", "the width does not change"
    assert data["groups"] == ["regularisation=0.01", "regularisation=0.1"]
    (goes_on,) = [run for run in data["runs"] if run["status"] == "unfinished"]
    assert (goes_on["group"], goes_on["x"], goes_on["y"]["train_loss"]) == (1, [1, 2], [0.1, 0.05])
    assert len(data["runs"]) == 5


def test_very_long_runs_are_thinned_and_it_is_said(tmp_path: Path) -> None:
    rows = [{"epoch": e, "train_loss": 1 / e, "val_loss": float("nan")} for e in range(1, 101)]
    make_run(tmp_path, metrics={"test_loss": 1.0}, rows=rows)
    runs = collect(str(tmp_path / "*"))
    data, every = curves(group(runs), runs, limit=60)
    assert every == 4
    assert data["runs"][0]["x"] == [*range(1, 101, 4), 100]
    assert set(data["runs"][0]["y"]["val_loss"]) == {None}
    assert curves(group(runs), runs)[1] == 1
    assert "Every 4th epoch" in page_module.training(data, every)
    assert "th epoch" not in page_module.training(data, 1)


def test_a_page_without_a_finished_run(tmp_path: Path) -> None:
    make_run(tmp_path, name="broken", error="it broke")
    _, document = made(tmp_path)
    assert "No run has finished." in document.text["main"][0]
    assert "No run has recorded an epoch." in document.text["main"][0]
