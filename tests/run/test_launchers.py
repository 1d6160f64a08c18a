"""Sweeps elsewhere: a job whose process is killed stops no other, is named at the end, and goes on with the same command, bit
by bit.

The launchers are the real ones: joblib, Ray on this machine, submitit's processes, and a Slurm of one machine (slurm_cluster.py).
"""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import slurm_cluster

ROOT = Path(__file__).parents[2]
LONG = 150
"""Epochs of a job that is killed while it is at work: many times what killing it takes."""


def needs(package):
    there = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(not there, reason=f"{package} is not installed (uv sync --all-extras)")


@contextmanager
def sweep(folder, *words, **environment):
    """main.py -m in the background; the value is a function that waits for it and gives its exit code and what it printed."""
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, str(ROOT / "main.py"), "-m", *words]
    printed = folder / "printed.txt"
    with printed.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=file, stderr=subprocess.STDOUT)

    def wait(limit=300):
        return process.wait(limit), printed.read_text()

    wait.process = process
    try:
        yield wait
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def run_at_work(folder, epochs, rows=3, seconds=300):
    """The directory of the run with so many epochs, once it has done some of them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for path in Path(folder).glob("runs/*/metrics.jsonl"):
            config = path.with_name("config.yaml").read_text()
            if f"epochs: {epochs}\n" in config and len(path.read_text().splitlines()) >= rows:
                return path.parent
        time.sleep(0.05)
    raise AssertionError("the job did not start")


def process_of(run):
    """The process that holds a run's lock."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # it has ended meanwhile
            if any(os.readlink(f"/proc/{process}/fd/{name}") == str(run / ".lock") for name in os.listdir(f"/proc/{process}/fd")):
                return int(process)
    raise AssertionError(f"nobody is at work on {run}")


def metrics(folder, out="runs"):
    """Of all finished runs, by their names."""
    return {p.parent.name: json.loads(p.read_text())["metrics"] for p in Path(folder, out).glob("*/result.json")}


def rows(folder, run, out="runs"):
    return Path(folder, out, run, "metrics.jsonl").read_text()


def undisturbed(main, tiny, *words):
    """The same sweep, one job after another in this process."""
    done = main("-m", *tiny, *words, "paths.out=undisturbed")
    assert done.code == 0, done.err


def assert_as_undisturbed(folder, count):
    """To the last bit: the metrics, and those of every epoch."""
    found = metrics(folder)
    assert len(found) == count
    assert found == metrics(folder, "undisturbed")
    for run in found:
        assert rows(folder, run) == rows(folder, run, "undisturbed")


def kill_one(folder, arguments, epochs, **environment):
    """Start the sweep, kill the process of its long job with SIGKILL, and see that this job alone is missing at the end."""
    with sweep(folder, *arguments, **environment) as wait:
        killed = run_at_work(folder, epochs)
        os.kill(process_of(killed), signal.SIGKILL)
        code, out = wait()
    assert code == 1, out
    assert not (killed / "result.json").exists()
    return out


def assert_named(out, count, epochs):
    assert f"1 of {count} jobs failed; the same command again does only these:" in out
    named, reason = out.split("does only these:\n")[1].splitlines()[:2]
    assert f"train.epochs={epochs}" in named.split()
    return reason


# --- joblib ---------------------------------------------------------------------------------------------------------------------


def test_a_killed_process_of_joblib_stops_no_other_job(main, tiny, tmp_path):
    """joblib ends all its processes then; the jobs of all of them go on, and the command succeeds."""
    words = f"train.epochs=2,3,{LONG},4"
    with sweep(tmp_path, "launcher=joblib", "hydra.launcher.n_jobs=2", *tiny, words) as wait:
        os.kill(process_of(run_at_work(tmp_path, LONG)), signal.SIGKILL)
        code, out = wait()
    assert code == 0, out
    assert "continuing after epoch" in out
    undisturbed(main, tiny, words)
    assert_as_undisturbed(tmp_path, 4)


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


# --- Slurm ----------------------------------------------------------------------------------------------------------------------

SHORT = f"train.epochs=2,3,4,5,{LONG},{LONG + 1}"


@pytest.fixture
def slurm(tmp_path_factory):
    if absent := slurm_cluster.missing():
        pytest.skip(f"no Slurm here: {', '.join(absent)} missing (Debian: apt-get install slurm-wlm munge)")
    # A short path: sockets have names of at most 107 characters.
    with slurm_cluster.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@needs("submitit")
def test_six_jobs_of_slurm_one_cancelled_one_preempted(slurm, main, tiny, tmp_path):
    """The cancelled one is named, and done by the same command again; the preempted one is queued again by itself."""
    arguments = ["launcher=slurm", "hydra.launcher.cpus_per_task=1", *tiny, SHORT]
    with sweep(tmp_path, *arguments, **slurm) as wait:
        cancelled = run_at_work(tmp_path, LONG)
        (numbers,) = [json.loads(p.read_text()) for p in tmp_path.glob("runs/sweeps/*/slurm/ids.json")]
        ids = {int(re.search(r"train.epochs=(\d+)", key)[1]): number for key, number in numbers.items()}
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
    """Its terminal is gone, the jobs are not: the same command waits for those that are still there."""
    arguments = ["launcher=slurm", "hydra.launcher.cpus_per_task=1", *tiny, f"train.epochs={LONG},{LONG + 1}"]
    with sweep(tmp_path, *arguments, **slurm) as wait:
        run_at_work(tmp_path, LONG)
    code, out = wait()
    assert code == 130, out
    assert "The jobs stay queued" in out
    with sweep(tmp_path, *arguments, **slurm) as wait:
        code, out = wait()
    assert code == 0, out
    assert "Slurm has 2 jobs, 0 of them new" in out
    assert not [p for p in tmp_path.glob("runs/sweeps/*/slurm/*/*.out") if "continuing" in p.read_text()]
    undisturbed(main, tiny, arguments[-1])
    assert_as_undisturbed(tmp_path, 2)


@needs("submitit")
def test_what_slurm_is_asked_for(slurm, tiny, tmp_path):
    asked = ["mem_gb=1.5", "timeout_min=7", "signal_delay_s=30", "cpus_per_task=1", "name=sweep", "partition=all"]
    with sweep(tmp_path, "launcher=slurm", *(f"hydra.launcher.{a}" for a in asked), *tiny, "seed=0,1", **slurm) as wait:
        assert wait()[0] == 0
    (script,) = tmp_path.glob("runs/sweeps/*/slurm/*/*submission.sh")
    lines = script.read_text().splitlines()
    for line in ("mem=1536MB", "time=7", "signal=USR2@30", "cpus-per-task=1", "job-name=sweep", "partition=all", "array=0-1%2"):
        assert f"#SBATCH --{line}" in lines
    assert "#SBATCH --requeue" in lines
    assert "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK" in lines


@needs("submitit")
def test_slurm_refuses(slurm, tiny, tmp_path):
    with sweep(tmp_path, "launcher=slurm", "hydra.launcher.partition=gpus", *tiny, "seed=0,1", **slurm) as wait:
        code, out = wait()
    assert code == 2
    assert out.splitlines()[-1] == "error: Slurm refuses the jobs: invalid partition specified: gpus."


@needs("submitit")
def test_two_processes_in_a_job_of_slurm(slurm, tiny, tmp_path):
    """They are the job's own: Slurm knows of one."""
    words = ("launcher=slurm", "hydra.launcher.cpus_per_task=2", *tiny, "trainer.accelerator=cpu", "trainer.devices=2")
    with sweep(tmp_path, *words, **slurm) as wait:
        code, out = wait()
    assert code == 0, out
    (result,) = tmp_path.glob("runs/*/result.json")
    assert json.loads(result.read_text())["processes"] == 2


# --- submitit without Slurm: the same code, as processes of this machine --------------------------------------------------------


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


@needs("submitit")
def test_a_process_of_submitit_whose_time_is_up_goes_on_by_itself(main, tiny, tmp_path):
    """With less than ten minutes, submitit takes its signal for the end of the time, which it forgives max_num_timeout times."""
    words = ("launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.timeout_min=9", *tiny, f"train.epochs={LONG}")
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

    given = {"partition": "gpu", "account": "a", "qos": "long", "constraint": "a100", "exclude": "n1", "gres": "gpu:1"}
    given |= {"gpus_per_node": 1, "mem_gb": 8.0}
    settings = {k: v for k, v in vars(SlurmConf()).items() if k != "_target_"} | given
    parameters = SlurmLauncher(**settings).parameters()
    AutoExecutor(tmp_path, cluster="local").update_parameters(**parameters)
    assert {k.removeprefix("slurm_") for k in parameters} == set(settings) - {"cluster", "max_num_timeout"}
    assert None not in parameters.values()
    with pytest.raises(NameError, match="Unknown argument 'nothing'"):
        AutoExecutor(tmp_path, cluster="local").update_parameters(**parameters, slurm_nothing=1)


@needs("submitit")
def test_the_scheduler_hands_out_gpus(main, tiny, monkeypatch):
    """Three GPUs that are not there: a job of Slurm takes the first that it sees, and waits for no other's."""
    import lightning_fabric

    asked, real = [], lightning_fabric.Fabric

    def fabric(accelerator, devices, **settings):
        asked.append(devices)
        return real(accelerator="cpu", devices=1, **settings)

    monkeypatch.setattr(lightning_fabric, "Fabric", fabric)
    monkeypatch.setattr("learnsym.run.visible_gpus", lambda: 3)
    done = main("-m", "launcher=slurm", "hydra.launcher.cluster=debug", *tiny, "seed=0,1")
    assert done.code == 0, done.err
    assert asked == [1, 1]


# --- Ray ------------------------------------------------------------------------------------------------------------------------


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


@needs("ray")
@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("hydra.launcher.num_gpus=1000", "hydra.launcher.num_gpus: a job is to have 1000 GPU, and Ray finds "),
        ("+hydra.launcher.resources.tpu=1", "hydra.launcher.resources: a job is to have 1 tpu, and Ray finds 0 "),
    ],
)
def test_more_than_there_is(tiny, tmp_path, word, sentence):
    with sweep(tmp_path, "launcher=ray", word, *tiny, "seed=0,1") as wait:
        code, out = wait()
    assert code == 2
    assert sentence in out.splitlines()[-1]


# --- the command line -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("launcher", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_what_is_not_installed(main, tiny, monkeypatch, launcher, package):
    monkeypatch.setitem(sys.modules, package, None)  # how Python notes a module that is not to be had
    done = main("-m", f"launcher={launcher}", *tiny, "seed=0,1")
    assert done.code == 2
    assert done.err == f"error: launcher={launcher} needs {package}, which is not installed: uv sync --extra {launcher}\n"
    assert not Path("runs").exists()


@needs("submitit")
def test_no_slurm_here(main, tiny, monkeypatch):
    monkeypatch.setenv("PATH", "")
    done = main("-m", "launcher=slurm", *tiny, "seed=0,1")
    assert done.code == 2
    assert re.fullmatch("error: launcher=slurm: this machine has no sbatch and srun; .*\n", done.err)


@pytest.mark.parametrize("launcher", ["joblib", "slurm", "ray"])
def test_a_launcher_is_for_sweeps(main, tiny, launcher):
    done = main(f"launcher={launcher}", *tiny)
    assert done.code == 2
    assert done.err.startswith(f"error: launcher={launcher} would have no effect: it starts what comes after -m")
