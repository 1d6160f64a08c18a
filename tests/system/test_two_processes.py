"""Two processes give the metrics of one: on a CPU, on the same global batches, with everything that
draws or averages."""

import json

import pytest
from command_line import SEVERAL_PROCESSES

WORDS = (
    *SEVERAL_PROCESSES,
    "train.epochs=3",
    "train.clip_norm=1.0",
    "mode.response_images=2",
    "mode.response_angles=2",
)


def metrics_with(main, processes, *words):
    done = main(*WORDS, f"trainer.devices={processes}", f"paths.out=p{processes}", *words)
    assert done.code == 0, done.out + done.err
    result = json.loads((done.directory / "result.json").read_text())
    assert result["processes"] == processes
    rows = [
        json.loads(line) for line in (done.directory / "metrics.jsonl").read_text().splitlines()
    ]
    return result["metrics"], rows, done


@pytest.mark.long
def test_two_processes_give_the_metrics_of_one(main):
    one, rows_of_one, _ = metrics_with(main, 1)
    two, rows_of_two, done = metrics_with(main, 2)
    assert set(one) == set(two)
    assert len(rows_of_one) == len(rows_of_two) == 3
    for a, b in zip([one, *rows_of_one], [two, *rows_of_two], strict=True):
        for key in a:
            assert b[key] == pytest.approx(a[key], abs=1e-6, rel=1e-6), key
    assert done.out.count("epoch 3/3") == 1, "only one process speaks"
    assert "Traceback" not in done.err
    assert "Warning" not in done.err
