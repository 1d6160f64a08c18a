"""What is one row of a table: runs that differ in nothing but the seed, under a name that tells
them from the others."""

from pathlib import Path

import pytest
from fake_runs import make_run

from learnsym.results.collect import collect
from learnsym.results.grouping import differing_keys, group_runs, remarks


def labels(folder: Path, **settings) -> dict[str, int]:
    return {g.label: len(g.runs) for g in group_runs(collect(str(folder / "*")), **settings)}


def arm(folder, seed, level, *more, **settings):
    words = [f"net.regularisation={level}", *more]
    return make_run(
        folder,
        seed,
        words=words,
        config={"net": {"regularisation": level}},
        metrics={"test_loss": 1.0},
        **settings,
    )


def test_seeds_make_a_row_and_what_was_typed_its_name(tmp_path):
    for level in (0.01, 0.1):
        for seed in range(3):
            arm(tmp_path, seed, level)
    assert labels(tmp_path) == {"regularisation=0.01": 3, "regularisation=0.1": 3}


def test_what_was_typed_in_two_ways_is_one_row(tmp_path):
    make_run(tmp_path, 0, config={"net": {"regularisation": 0.1}}, metrics={"test_loss": 1.0})
    arm(tmp_path, 1, 0.1)
    assert labels(tmp_path) == {"net-data": 2}


def test_a_setting_that_nobody_typed_makes_rows_of_their_own(tmp_path):
    """Two presets that changed between the runs, say: the same command, and not the same
    experiment."""
    for seed, width in ((0, 8), (1, 8), (2, 16)):
        make_run(
            tmp_path,
            seed,
            words=["net=conv5"],
            config={"net": {"width": width, "deep": {"x": 1}}},
            metrics={"test_loss": 1},
        )
    assert labels(tmp_path) == {"net-data, width=8": 2, "net-data, width=16": 1}


@pytest.mark.parametrize("section", ["trainer", "train", "dataset", "mode"])
def test_every_section_that_decides_a_result_counts(tmp_path, section):
    for seed, value in ((0, "a"), (1, "b")):
        make_run(tmp_path, seed, config={section: {"precision": value}}, metrics={"test_loss": 1.0})
    assert len(labels(tmp_path)) == 2


def test_where_things_are_kept_and_how_they_are_shown_makes_no_difference(tmp_path):
    for seed, place in enumerate(("/here", "/there")):
        config = {
            "dataset": {"data_dir": f"{place}/data", "file": f"{place}/data/x.npz"},
            "logger": {"of": place},
        }
        config |= {"trainer": {"progress": seed == 0}, "fresh": seed == 0, "runs": place}
        make_run(
            tmp_path,
            seed,
            config=config,
            metrics={"test_loss": 1.0},
            paths={"data": f"{place}/data", "out": place},
        )
    assert labels(tmp_path) == {"net-data": 2}


def test_scales_are_never_averaged(tmp_path):
    arm(tmp_path, 0, 0.1, scale="cpu")
    arm(tmp_path, 1, 0.1, scale="smoke")
    assert labels(tmp_path) == {"net-data (cpu)": 1, "net-data (smoke)": 1}


def test_versions_of_the_code_are_averaged_only_where_it_is_asked_for(tmp_path):
    arm(tmp_path, 0, 0.1, code="a" * 12)
    arm(tmp_path, 1, 0.1, code="b" * 12)
    assert labels(tmp_path) == {"net-data, code aaaaaaa": 1, "net-data, code bbbbbbb": 1}
    together = group_runs(collect(str(tmp_path / "*")), across_code=True)
    assert [len(g.runs) for g in together] == [2]
    assert "2 versions of the code: aaaaaaa (net-data), bbbbbbb (net-data)" in remarks(together)[0]


def test_a_seed_that_occurs_twice_is_said(tmp_path):
    arm(tmp_path / "one", 3, 0.1)
    arm(tmp_path / "two", 3, 0.1)
    (found,) = group_runs(collect([str(tmp_path / "one"), str(tmp_path / "two")]))
    assert len(found.runs) == 2
    assert "seed 3 occurs more than once" in remarks([found])[0]


def test_the_seed_of_data_is_a_difference_and_is_called_so(tmp_path):
    for seed in (0, 1):
        config = {"dataset": {"seed": seed}}
        make_run(
            tmp_path, 0, words=[f"dataset.seed={seed}"], config=config, metrics={"test_loss": 1.0}
        )
    assert list(labels(tmp_path)) == ["dataset.seed=0", "dataset.seed=1"]


def test_presets_are_called_by_their_names_and_classes_by_theirs(tmp_path):
    for arms in ("low", "high"):
        word = f"experiment=augerino/mario_iggy/{arms}"
        make_run(
            tmp_path, words=[word], config={"net": {"width": len(arms)}}, metrics={"test_loss": 1.0}
        )
    assert list(labels(tmp_path)) == ["mario_iggy/low", "mario_iggy/high"]
    for seed, target in enumerate(
        ("learnsym.nets.plain_cnn.Conv5", "learnsym.nets.plain_cnn.Conv13")
    ):
        make_run(
            tmp_path / "more",
            seed,
            config={"net": {"_target_": target}},
            metrics={"test_loss": 1.0},
        )
    assert list(labels(tmp_path / "more")) == ["net-data, net=Conv5", "net-data, net=Conv13"]


def test_a_default_is_named_where_others_typed_something_else(tmp_path):
    make_run(tmp_path, config={"net": {"regularisation": 0.01}}, metrics={"test_loss": 1.0})
    arm(tmp_path, 0, 0.1)
    assert list(labels(tmp_path)) == ["regularisation=0.01", "regularisation=0.1"]


def test_long_labels_leave_out_what_tells_nothing_apart(tmp_path):
    for level in (0.01, 0.1):
        arm(
            tmp_path,
            0,
            level,
            "dataset=molecules",
            "dataset.file=../a/very/long/path/to/some/molecules.npz",
        )
    make_run(
        tmp_path, words=["net=conv5"], config={"net": {"width": 3}}, metrics={"test_loss": 1.0}
    )
    assert list(labels(tmp_path)) == ["regularisation=0.01", "regularisation=0.1", "net=conv5"]


def test_a_value_with_spaces_is_one_override(tmp_path):
    for width in (1, 2):
        word = f"net.initial_widths={{rotation: {width}}}"
        make_run(
            tmp_path,
            words=[word],
            config={"net": {"initial_widths": {"rotation": width}}},
            metrics={"test_loss": 1.0},
        )
    assert list(labels(tmp_path)) == [
        "initial_widths={rotation: 1}",
        "initial_widths={rotation: 2}",
    ]


def test_differences_are_keys_whose_values_differ(tmp_path):
    for seed, values in enumerate(
        ({"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2, "c": None})
    ):
        make_run(tmp_path, seed, config={"net": values}, metrics={"test_loss": 1.0})
    groups = group_runs(collect(str(tmp_path / "*")))
    assert differing_keys(groups[:2]) == ["net.b"]
    assert len({g.label for g in groups}) == 3


def test_published_values_are_of_the_full_scale_and_stand_ins_are_said(tmp_path):
    paper = [{"metric": "test_loss", "value": 0.1, "status": "V"}]
    data = {"provenance": "STAND-IN for MNIST-rot."}
    arm(tmp_path, 0, 0.1, scale="cpu", paper=paper, data=data)
    said = remarks(group_runs(collect(str(tmp_path / "*"))))
    assert said == [
        "The paper's values are those of scale=full; these runs are of scale=cpu.",
        "STAND-IN for MNIST-rot.",
    ]
