"""Runs that measure the distance to equivariant networks: what they leave, and that the training is
the same."""

import pytest

KEY = "distance_to_equivariance"
MEASURED = f"analysis.{KEY}=true"


def without(row):
    return {k: v for k, v in row.items() if KEY not in k}


def test_a_run_measures_its_layers_and_trains_as_it_would_without(main, tiny):
    plain, measured = main(*tiny), main(*tiny, MEASURED)
    assert measured.code == 0, measured.err
    assert plain.directory != measured.directory
    rows = measured.rows
    layers = [f"{KEY}/backbone.features.{i}.conv" for i in range(4)] + [f"{KEY}/backbone.head"]
    for row in rows:
        assert [k for k in row if KEY in k] == [KEY, *layers, f"relative_{KEY}"]
        assert all(row[k] > 0 for k in layers[:4])
        assert row[layers[4]] == 0, "the head takes pooled features"
        assert row[KEY] == pytest.approx(sum(row[k] ** 2 for k in layers) ** 0.5)
        assert 0 < row[f"relative_{KEY}"] < 1
    assert rows[0][KEY] != rows[1][KEY]
    assert [without(row) for row in rows] == plain.rows, "to the last bit"
    metrics, figures = measured.result["metrics"], measured.result["figures"]
    assert {k: v for k, v in metrics.items() if KEY in k} == {
        k: v for k, v in rows[-1].items() if KEY in k
    }
    assert without(metrics) == plain.result["metrics"]
    assert f"figures/{KEY}.png" in figures
    assert (measured.directory / "figures" / f"{KEY}.png").exists()
    assert f"figures/{KEY}.png" not in plain.result["figures"]


def test_a_measured_run_goes_on_where_it_stopped(main, tiny):
    """The rows of a run of two epochs that lost its last are written again, with the same
    numbers."""
    first = main(*tiny, MEASURED, "analysis.group=shift_turns")
    before = first.rows
    (first.directory / "result.json").unlink()
    again = main(*tiny, MEASURED, "analysis.group=shift_turns")
    assert again.directory == first.directory
    assert "continuing after epoch 2" in again.out
    assert first.rows == before
    other = main(*tiny, MEASURED)
    assert other.rows[-1][KEY] != before[-1][KEY], "quarter turns alone ask for less"
    assert other.rows[-1][KEY] < before[-1][KEY]


def test_what_is_not_measured_does_not_rename_runs(main, tiny):
    """Runs from before there was such a setting are found again."""
    from hydra import compose, initialize_config_dir
    from omegaconf import open_dict

    from learnsym.config.resolvers import register_resolvers
    from learnsym.config.search_path import CONFIG_DIR
    from learnsym.run.run_id import config_hash

    register_resolvers()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg, on = (compose("config", overrides=list(words)) for words in ((), (MEASURED,)))
    digest = config_hash(cfg)
    with open_dict(cfg):
        del cfg["analysis"]
    assert config_hash(cfg) == digest != config_hash(on)


@pytest.mark.usefixtures("drawn")
def test_the_figure_is_drawn(main, tiny):
    directory = main(*tiny, MEASURED).directory
    assert (directory / "figures" / f"{KEY}.png").read_bytes().startswith(b"\x89PNG")


def test_projected_networks_bring_a_distance_of_their_own(main):
    """They start equivariant, and ordinary training leads them away; a larger group asks for more
    than they start with."""
    words = (
        "net=projected_linear",
        "base_group=quarter_turns",
        "base_group.side=8",
        "net.channels=[2]",
        "net.features=4",
        "dataset=digits",
        "dataset.train_size=64",
        "train.epochs=2",
        "mode.response_images=0",
    )
    done = main(*words, MEASURED)
    assert done.code == 0, done.err
    rows = done.rows
    layers = [f"{KEY}/linear0", f"{KEY}/invariant"]
    assert [k for k in rows[0] if KEY in k] == [KEY, *layers]
    assert 0 < rows[0][KEY] < rows[1][KEY]
    assert rows[0][KEY] == pytest.approx(sum(rows[0][k] ** 2 for k in layers) ** 0.5)
    larger = main(*words, MEASURED, "analysis.group=shift_turns")
    assert larger.rows[0][KEY] > rows[1][KEY]
