"""Sweeps on a real Slurm of one machine (slurm_cluster.py): cancelled, preempted and outlived jobs,
and what is asked of it."""

import json
import re

import pytest
import slurm_cluster
from sweeps import LONG, assert_as_undisturbed, assert_named, needs, run_at_work, sweep, undisturbed

SHORT = f"train.epochs=2,3,4,5,{LONG},{LONG + 1}"


@pytest.fixture
def slurm(tmp_path_factory):
    if absent := slurm_cluster.missing():
        pytest.skip(
            f"no Slurm here: {', '.join(absent)} missing (Debian: apt-get install slurm-wlm munge)"
        )
    # A short path: sockets have names of at most 107 characters.
    with slurm_cluster.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@needs("submitit")
def test_six_jobs_of_slurm_one_cancelled_one_preempted(slurm, main, tiny, tmp_path):
    """The cancelled one is named, and done by the same command again; the preempted one is queued
    again by itself."""
    arguments = ["launcher=slurm", "hydra.launcher.cpus_per_task=1", *tiny, SHORT]
    with sweep(tmp_path, *arguments, **slurm) as wait:
        cancelled = run_at_work(tmp_path, LONG)
        (numbers,) = [
            json.loads(p.read_text()) for p in tmp_path.glob("runs/sweeps/*/slurm/ids.json")
        ]
        ids = {
            int(re.search(r"train.epochs=(\d+)", key)[1]): number for key, number in numbers.items()
        }
        slurm_cluster.output(slurm, "scancel", ids[LONG])
        run_at_work(tmp_path, LONG + 1)
        slurm_cluster.output(slurm, "scancel", "--signal=USR2", ids[LONG + 1])
        code, out = wait()
    assert code == 1, out
    assert "cancelled" in assert_named(out, 6, LONG)
    assert not (cancelled / "result.json").exists()
    (log,) = tmp_path.glob(f"runs/sweeps/*/slurm/{ids[LONG + 1]}/*_log.out")
    assert "continuing after epoch" in log.read_text(), "the preempted job"

    with sweep(tmp_path, *arguments, **slurm) as wait:
        code, out = wait()
    assert code == 0, out
    assert out.count("finished before: ") == 5
    assert "Slurm has 1 jobs, 1 of them new" in out
    undisturbed(main, tiny, SHORT)
    assert_as_undisturbed(tmp_path, 6)


@needs("submitit")
def test_jobs_of_slurm_outlive_the_command(slurm, main, tiny, tmp_path):
    """Its terminal is gone, the jobs are not: the same command waits for those that are still
    there."""
    arguments = [
        "launcher=slurm",
        "hydra.launcher.cpus_per_task=1",
        *tiny,
        f"train.epochs={LONG},{LONG + 1}",
    ]
    with sweep(tmp_path, *arguments, **slurm) as wait:
        run_at_work(tmp_path, LONG)
    code, out = wait()
    assert code == 130, out
    assert "The jobs stay queued" in out
    with sweep(tmp_path, *arguments, **slurm) as wait:
        code, out = wait()
    assert code == 0, out
    assert "Slurm has 2 jobs, 0 of them new" in out
    assert not [
        p for p in tmp_path.glob("runs/sweeps/*/slurm/*/*.out") if "continuing" in p.read_text()
    ]
    undisturbed(main, tiny, arguments[-1])
    assert_as_undisturbed(tmp_path, 2)


@needs("submitit")
def test_what_slurm_is_asked_for(slurm, tiny, tmp_path):
    asked = [
        "mem_gb=1.5",
        "timeout_min=7",
        "signal_delay_s=30",
        "cpus_per_task=1",
        "name=sweep",
        "partition=all",
    ]
    with sweep(
        tmp_path,
        "launcher=slurm",
        *(f"hydra.launcher.{a}" for a in asked),
        *tiny,
        "seed=0,1",
        **slurm,
    ) as wait:
        assert wait()[0] == 0
    (script,) = tmp_path.glob("runs/sweeps/*/slurm/*/*submission.sh")
    lines = script.read_text().splitlines()
    for line in (
        "mem=1536MB",
        "time=7",
        "signal=USR2@30",
        "cpus-per-task=1",
        "job-name=sweep",
        "partition=all",
        "array=0-1%2",
    ):
        assert f"#SBATCH --{line}" in lines
    assert "#SBATCH --requeue" in lines
    assert "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK" in lines


@needs("submitit")
def test_slurm_refuses(slurm, tiny, tmp_path):
    with sweep(
        tmp_path, "launcher=slurm", "hydra.launcher.partition=gpus", *tiny, "seed=0,1", **slurm
    ) as wait:
        code, out = wait()
    assert code == 2
    assert (
        out.splitlines()[-1] == "error: Slurm refuses the jobs: invalid partition specified: gpus."
    )


@needs("submitit")
def test_two_processes_in_a_job_of_slurm(slurm, tiny, tmp_path):
    """They are the job's own: Slurm knows of one."""
    words = (
        "launcher=slurm",
        "hydra.launcher.cpus_per_task=2",
        *tiny,
        "trainer.accelerator=cpu",
        "trainer.devices=2",
    )
    with sweep(tmp_path, *words, **slurm) as wait:
        code, out = wait()
    assert code == 0, out
    (result,) = tmp_path.glob("runs/*/result.json")
    assert json.loads(result.read_text())["processes"] == 2
