"""Sweeps elsewhere: a job whose process is killed stops no other, is named at the end, and goes on
with the same command, bit by bit.

The launchers are the real ones: joblib, Ray on this machine, and submitit's processes;
test_slurm.py has a Slurm of one machine.
"""

import os
import re
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from sweeps import (
    LONG,
    ROOT,
    assert_as_undisturbed,
    assert_named,
    kill_one,
    metrics,
    needs,
    process_of,
    run_at_work,
    sweep,
    undisturbed,
)

# --- joblib


@pytest.mark.long
def test_a_killed_process_of_joblib_stops_no_other_job(main, tiny, tmp_path):
    """joblib ends all its processes then; the jobs of all of them go on, and the command
    succeeds."""
    words = f"train.epochs=2,3,{LONG},4"
    with sweep(tmp_path, "launcher=joblib", "hydra.launcher.n_jobs=2", *tiny, words) as wait:
        os.kill(process_of(run_at_work(tmp_path, LONG)), signal.SIGKILL)
        code, out = wait()
    assert code == 0, out
    assert "continuing after epoch" in out
    undisturbed(main, tiny, words)
    assert_as_undisturbed(tmp_path, 4)


@pytest.mark.slow
def test_a_job_that_kills_its_process_is_named(main, tiny, tmp_path):
    """It is killed whenever it is at work; the others are done."""
    arguments = ["launcher=joblib", "hydra.launcher.n_jobs=2", *tiny, f"train.epochs=2,3,{LONG},4"]
    with sweep(tmp_path, *arguments) as wait:
        run, killed = run_at_work(tmp_path, LONG), set()
        while wait.process.poll() is None:
            with suppress(AssertionError):
                if (process := process_of(run)) not in killed:
                    killed.add(process)
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.1)
        code, out = wait()
    assert code == 1, out
    assert "was killed" in assert_named(out, 4, LONG)
    assert len(metrics(tmp_path)) == 3
    assert len(killed) == 3


# --- submitit without Slurm: the same code, as processes of this machine


@pytest.mark.long
@needs("submitit")
def test_a_killed_process_of_submitit(main, tiny, tmp_path):
    arguments = ["launcher=slurm", "hydra.launcher.cluster=local", *tiny, f"train.epochs=2,{LONG}"]
    out = kill_one(tmp_path, arguments, LONG)
    assert "left no record; see " in assert_named(out, 2, LONG)
    with sweep(tmp_path, *arguments) as wait:
        code, out = wait()
    assert code == 0, out
    assert out.count("finished before: ") == 1
    undisturbed(main, tiny, f"train.epochs=2,{LONG}")
    assert_as_undisturbed(tmp_path, 2)


@pytest.mark.slow
@needs("submitit")
def test_a_process_of_submitit_whose_time_is_up_goes_on_by_itself(main, tiny, tmp_path):
    """With less than ten minutes, submitit takes its signal for the end of the time, which it
    forgives max_num_timeout times."""
    words = (
        "launcher=slurm",
        "hydra.launcher.cluster=local",
        "hydra.launcher.timeout_min=9",
        *tiny,
        f"train.epochs={LONG}",
    )
    with sweep(tmp_path, *words) as wait:
        os.kill(process_of(run_at_work(tmp_path, LONG)), signal.SIGUSR2)
        code, out = wait()
    assert code == 0, out
    (log,) = tmp_path.glob("runs/sweeps/*/slurm/*/*_log.out")
    assert "continuing after epoch" in log.read_text()
    undisturbed(main, tiny, f"train.epochs={LONG}")
    assert_as_undisturbed(tmp_path, 1)


@needs("submitit")
def test_submitit_knows_all_settings(tmp_path):
    """Those that are null by default, too; it refuses a name that it does not know."""
    from submitit import AutoExecutor

    from hydra_plugins.learnsym_launchers.slurm import SlurmConf, SlurmLauncher

    given = {
        "partition": "gpu",
        "account": "a",
        "qos": "long",
        "constraint": "a100",
        "exclude": "n1",
        "gres": "gpu:1",
    }
    given |= {"gpus_per_node": 1, "mem_gb": 8.0}
    settings = {k: v for k, v in vars(SlurmConf()).items() if k != "_target_"} | given
    parameters = SlurmLauncher(**settings).parameters()
    AutoExecutor(tmp_path, cluster="local").update_parameters(**parameters)
    assert {k.removeprefix("slurm_") for k in parameters} == set(settings) - {
        "cluster",
        "max_num_timeout",
    }
    assert None not in parameters.values()
    with pytest.raises(NameError, match="Unknown argument 'nothing'"):
        AutoExecutor(tmp_path, cluster="local").update_parameters(**parameters, slurm_nothing=1)


@needs("submitit")
def test_the_scheduler_hands_out_gpus(main, tiny, monkeypatch):
    """Three GPUs that are not there: a job of Slurm takes the first that it sees, and waits for no
    other's."""
    import lightning_fabric

    asked, real = [], lightning_fabric.Fabric

    def fabric(accelerator, devices, **settings):
        asked.append(devices)
        return real(accelerator="cpu", devices=1, **settings)

    monkeypatch.setattr(lightning_fabric, "Fabric", fabric)
    monkeypatch.setattr("learnsym.run.distributed.device_count", lambda: 3)
    done = main("-m", "launcher=slurm", "hydra.launcher.cluster=debug", *tiny, "seed=0,1")
    assert done.code == 0, done.err
    assert asked == [1, 1]


# --- Ray


@pytest.mark.long
@needs("ray")
def test_a_killed_process_of_ray(main, tiny, tmp_path):
    words = f"train.epochs=2,3,{LONG},4,5,6"
    arguments = ["launcher=ray", *tiny, words]
    out = kill_one(tmp_path, arguments, LONG)
    assert "WorkerCrashedError" in assert_named(out, 6, LONG)
    with sweep(tmp_path, *arguments, "hydra.launcher.max_retries=0") as wait:
        code, out = wait()
    assert code == 0, out
    assert out.count("finished before: ") == 5
    undisturbed(main, tiny, words)
    assert_as_undisturbed(tmp_path, 6)


@pytest.mark.long
@needs("ray")
@pytest.mark.skipif(shutil.which("uv") is None, reason="no uv here")
def test_ray_below_uv_run(tiny, tmp_path):
    """As the pages say it is started. Ray looks at the commands above it, and has ideas of its own
    where one of them is uv's."""
    uv_run = ("uv", "run", "--no-sync", "--project", str(ROOT))
    with sweep(tmp_path, "launcher=ray", *tiny, "seed=0,1", by=uv_run) as wait:
        code, out = wait(120)
    assert code == 0, out
    assert len(metrics(tmp_path)) == 2


@pytest.mark.long
@needs("ray")
@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        (
            "hydra.launcher.num_gpus=1000",
            "hydra.launcher.num_gpus: a job is to have 1000 GPU, and Ray finds ",
        ),
        (
            "+hydra.launcher.resources.tpu=1",
            "hydra.launcher.resources: a job is to have 1 tpu, and Ray finds 0 ",
        ),
    ],
)
def test_more_than_there_is(tiny, tmp_path, word, sentence):
    with sweep(tmp_path, "launcher=ray", word, *tiny, "seed=0,1") as wait:
        code, out = wait()
    assert code == 2
    assert sentence in out.splitlines()[-1]


# --- the command line


@pytest.mark.parametrize(("launcher", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_what_is_not_installed(main, tiny, monkeypatch, launcher, package):
    monkeypatch.setitem(
        sys.modules, package, None
    )  # how Python notes a module that is not to be had
    done = main("-m", f"launcher={launcher}", *tiny, "seed=0,1")
    assert done.code == 2
    assert done.err == (
        f"error: launcher={launcher} needs {package}, which is not installed: "
        f"uv sync --extra {launcher}\n"
    )
    assert not list(Path("runs").glob("*/config.yaml"))


@needs("submitit")
def test_no_slurm_here(main, tiny, monkeypatch):
    monkeypatch.setenv("PATH", "")
    done = main("-m", "launcher=slurm", *tiny, "seed=0,1")
    assert done.code == 2
    assert re.fullmatch(
        "error: launcher=slurm: this machine has no sbatch and srun. Try launcher=joblib.*\n",
        done.err,
    )


@pytest.mark.parametrize("launcher", ["joblib", "slurm", "ray"])
def test_a_launcher_is_for_sweeps(main, tiny, launcher):
    done = main(f"launcher={launcher}", *tiny)
    assert done.code == 2
    assert done.err.startswith(
        f"error: launcher={launcher} would have no effect: it starts what comes after -m"
    )
