"""Splits: disjoint, nested, repeatable, and deaf to the global random numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnsym.data.base import DataInfo, ImageData, Split
from learnsym.data.splits import SplitSettings, channel_statistics, take
from learnsym.errors import DataError
from learnsym.utils.rng import generator


def choose(train_count, test_count, train_size, val_size, test_size, seed, val_last=False):
    """Rows of the splits with these settings."""
    settings = SplitSettings(
        train_size=train_size, val_size=val_size, test_size=test_size, seed=seed
    )
    settings.val_last = val_last
    return settings.choose(train_count, test_count)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_training_and_validation_are_disjoint_and_nested(data):
    count = data.draw(st.integers(2, 60))
    val = data.draw(st.integers(0, count - 1))
    size = data.draw(st.integers(1, count - val))
    seed, last = data.draw(st.integers(0, 99)), data.draw(st.booleans())
    chosen = choose(count, 5, size, val, None, seed, last)
    sets = {name: set(indices.tolist()) for name, indices in chosen.items()}
    assert {name: len(s) for name, s in sets.items()} == {"train": size, "test": 5} | (
        {"val": val} if val else {}
    )
    assert sets["train"].isdisjoint(sets.get("val", ()))
    assert sets["train"] <= set(choose(count, 5, None, val, None, seed, last)["train"].tolist())
    if last and val:
        assert sets["val"] == set(range(count - val, count))


def test_everything_is_taken_in_its_order_and_without_a_copy():
    part = Split(torch.rand(7, 1, 2, 2), torch.arange(7))
    splits = take(part, part, choose(7, 7, None, 0, None, 3))
    assert list(splits) == ["train", "test"]
    assert splits["train"] is part


def test_subsets_are_random_and_repeatable_and_leave_the_global_numbers_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    chosen = choose(1000, 1000, 100, 50, 100, seed=4)
    again = choose(1000, 1000, 100, 50, 100, seed=4)
    assert all(torch.equal(chosen[name], again[name]) for name in chosen)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(chosen["train"], torch.arange(100))
    assert not torch.equal(chosen["train"], choose(1000, 1000, 100, 50, 100, seed=5)["train"])
    assert not torch.equal(chosen["train"], chosen["test"])


@pytest.mark.parametrize(
    ("sizes", "named"),
    [((9, 2, None), "10"), ((None, 10, None), "val_size=10"), ((None, 0, 6), "at most 5")],
)
def test_asking_for_more_than_there_is_is_refused(sizes, named):
    with pytest.raises(DataError, match=named):
        choose(10, 5, *sizes, seed=0)


def test_a_test_set_is_split_off_at_random():
    everything = Split(torch.arange(10.0).view(10, 1, 1, 1), torch.arange(10))
    train, test, told = SplitSettings(test_fraction=0.3).hold_out_test(everything, "x")
    assert "fraction 0.3, seed 0" in told
    assert sorted(train.targets.tolist() + test.targets.tolist()) == list(range(10))
    assert len(test) == 3
    assert torch.equal(test.inputs.flatten().long(), test.targets)
    for fraction in (0.0, 1.0):
        with pytest.raises(DataError, match="x has 10 examples"):
            SplitSettings(test_fraction=fraction).hold_out_test(everything, "x")


def test_purposes_and_seeds_have_their_own_numbers():
    first = [
        torch.rand(3, generator=generator(seed, what)).tolist()
        for seed in (0, 1)
        for what in ("a", "b")
    ]
    assert len({tuple(numbers) for numbers in first}) == 4
    assert torch.rand(3, generator=generator(0, "a")).tolist() == first[0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_statistics_are_those_of_the_scaled_pixels(dtype):
    images = torch.randint(0, 256, (50, 3, 6, 5), dtype=torch.uint8)
    pixels = images.double() / 255
    mean, std = channel_statistics(images if dtype == torch.uint8 else pixels.float())
    torch.testing.assert_close(
        torch.tensor(mean), pixels.mean((0, 2, 3)).float(), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        torch.tensor(std), pixels.std((0, 2, 3), correction=0).float(), atol=1e-6, rtol=0
    )
    assert channel_statistics(torch.zeros(3, 1, 2, 2))[1] == (1.0,)


def test_prepare_scales_and_normalises_bytes_and_reals_alike():
    info = DataInfo(
        "x",
        "classification",
        (3, 4, 4),
        2,
        ("a", "b"),
        "",
        (0.5, 0.4, 0.3),
        (0.2, 0.3, 0.4),
        {},
        "",
    )
    data = ImageData(info, {}, "flip")
    stored = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    expected = (stored / 255 - torch.tensor(info.mean).view(-1, 1, 1)) / torch.tensor(
        info.std
    ).view(-1, 1, 1)
    torch.testing.assert_close(data.prepare(stored), expected)
    torch.testing.assert_close(data.prepare(stored / 255), expected)
    seen, trained = data.prepare(stored), data.prepare(stored, train=True)
    same = [
        torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(trained, seen, strict=True)
    ]
    assert all(same)
    assert trained.dtype == torch.float32
