"""One run of several commands, started by torchrun or srun: the numbers of one process, one voice,
one hand that writes."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import SEVERAL_PROCESSES
from filelock import FileLock

from learnsym.errors import ConfigError
from learnsym.run import launch_env as cluster
from learnsym.run.distributed import check_processes
from learnsym.run.launch_env import LaunchEnv, launch_env, wait_for_rank_zero

ROOT = Path(__file__).parents[2]
WORDS = (*SEVERAL_PROCESSES, "train.epochs=2", "mode.response_images=0")
STARTERS = (
    "TORCHELASTIC_RUN_ID",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
)
ONE: list = []


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Whatever has started the tests."""
    for name in [*STARTERS, *(n for n in os.environ if n.startswith("SLURM_"))]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def of_one(main, tmp_path_factory):
    """Metrics and rows of one process, which has to be asked once."""
    if not ONE:
        folder = tmp_path_factory.mktemp("one")
        done = main(*WORDS, f"paths.out={folder}")
        assert done.code == 0, done.err
        ONE.extend(metrics(folder)[1])
    return ONE


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(folder, command, **environment):
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


def torchrun(folder, port, *words, node=0, nodes=1, each=1):
    """The command of one node."""
    how = [
        f"--nnodes={nodes}",
        f"--node-rank={node}",
        f"--nproc-per-node={each}",
        "--master-addr=127.0.0.1",
    ]
    return start(
        folder,
        [
            "-m",
            "torch.distributed.run",
            *how,
            f"--master-port={port}",
            str(ROOT / "main.py"),
            *words,
        ],
    )


def ended(processes, limit=240):
    """Exit codes, and all that was said on standard output and standard error."""
    try:
        said = [process.communicate(timeout=limit) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return (
        [p.returncode for p in processes],
        "".join(out for out, _ in said),
        "".join(err for _, err in said),
    )


def metrics(folder):
    (run,) = (p for p in Path(folder).iterdir() if p.is_dir())
    result = json.loads((run / "result.json").read_text())
    assert not (run / "error.txt").exists()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return result, [result["metrics"], *rows]


def same(numbers, expected):
    assert len(numbers) == len(expected)
    for found, right in zip(numbers, expected, strict=True):
        assert set(found) == set(right)
        for key in right:
            assert found[key] == pytest.approx(right[key], abs=1e-6, rel=1e-6), key


@pytest.mark.long
def test_two_processes_of_torchrun_give_the_metrics_of_one(of_one, tmp_path, port):
    codes, out, err = ended([torchrun(tmp_path, port, *WORDS, "trainer.devices=2", each=2)])
    assert codes == [0], err
    result, numbers = metrics(tmp_path / "runs")
    assert result["processes"] == 2
    same(numbers, of_one)
    assert out.count("result: ") == 1
    assert out.splitlines()[-1].startswith("result: ")
    assert out.count("epoch 2/2") == 1
    assert "Traceback" not in err
    assert "Warning" not in err


@pytest.mark.long
def test_two_nodes_and_the_same_command_again(of_one, tmp_path, port):
    """Two machines of one process each, which are this one; then the finished run is shown,
    once."""
    words = (*WORDS, "trainer.nodes=2")
    codes, out, err = ended(
        [torchrun(tmp_path, port, *words, node=node, nodes=2) for node in (0, 1)]
    )
    assert codes == [0, 0], err
    result, numbers = metrics(tmp_path / "runs")
    assert result["processes"] == 2
    same(numbers, of_one)
    assert out.count("result: ") == 1
    before = (next((tmp_path / "runs").iterdir()) / "result.json").stat().st_mtime_ns
    codes, out, err = ended([as_srun(tmp_path, port, rank, *words, nodes=2) for rank in (0, 1)])
    assert codes == [0, 0], err
    assert out.count("this run is finished; fresh=true starts over") == 1
    assert out.count("result: ") == 1
    assert (next((tmp_path / "runs").iterdir()) / "result.json").stat().st_mtime_ns == before


def of_srun(rank, port, processes=2, nodes=1):
    """The variables that srun gives a process."""
    return {
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "python",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": str(processes),
        "SLURM_STEP_NUM_NODES": str(nodes),
        "SLURM_NNODES": str(nodes),
        "SLURM_NTASKS": str(processes),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank % (processes // nodes)),
        "SLURM_NODEID": str(rank // (processes // nodes)),
        "SLURM_NODELIST": "localhost",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def as_srun(folder, port, rank, *words, nodes=1):
    """A process of two, as srun starts it."""
    return start(folder, [str(ROOT / "main.py"), *words], **of_srun(rank, port, nodes=nodes))


@pytest.mark.long
def test_two_processes_of_srun(of_one, tmp_path, port):
    """Its variables, without a Slurm. One of the processes comes late; then somebody else is at
    work on the run, which the first process finds out alone, after they have met: the other must
    not wait for ever."""
    words = (*WORDS, "trainer.devices=2")
    late = as_srun(tmp_path, port, 1, *words)
    time.sleep(1)
    codes, out, err = ended([as_srun(tmp_path, port, 0, *words), late])
    assert codes == [0, 0], err
    same(metrics(tmp_path / "runs")[1], of_one)
    assert out.count("result: ") == 1
    (run,) = (tmp_path / "runs").iterdir()
    with FileLock(run / ".lock"):
        codes, out, err = ended([as_srun(tmp_path, port, rank, *words) for rank in (0, 1)])
    assert codes == [1, 1]
    assert err.count("error: ") == 1, err
    assert "another process is at work on this run" in err
    assert "result: " not in out


def codes_of(err):
    """Exit codes of the processes, as torchrun lists them."""
    return sorted(line.split()[2] for line in err.splitlines() if "exitcode  :" in line)


@pytest.mark.long
def test_a_mistake_is_said_once_and_ends_all_alike(tmp_path, port):
    codes, out, err = ended([torchrun(tmp_path, port, *WORDS, each=2)])
    assert codes == [1], "torchrun's own"
    first, other = sorted(codes_of(err), reverse=True)
    assert first == "2"
    assert other in ("2", "-15"), "-15: torchrun has killed a process that was seconds behind"
    assert (
        err.count(
            "error: trainer.devices=1 trainer.nodes=1: torchrun has started 2 processes on 1 node"
        )
        == 1
    )
    assert err.count("error: ") == 1
    assert "Try trainer.devices=2 trainer.nodes=1." in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


# --- who is who, without processes


def environment(monkeypatch, values):
    for name, value in values.items():
        monkeypatch.setenv(name, value)


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}


def test_where_a_process_stands(monkeypatch):
    assert launch_env() == LaunchEnv()
    assert launch_env().is_rank_zero
    assert not launch_env().is_distributed
    with monkeypatch.context() as patch:
        environment(patch, TORCHRUN)
        assert launch_env() == LaunchEnv("torchrun", 3, 4, 2)
        assert launch_env().is_distributed
        assert not launch_env().is_rank_zero
    with monkeypatch.context() as patch:
        environment(patch, of_srun(1, 1, processes=6, nodes=3))
        assert launch_env() == LaunchEnv("srun", 1, 6, 3)
    with (
        monkeypatch.context() as patch
    ):  # a batch script that does not call srun: the allocation has tasks, this is none of them
        environment(
            patch,
            {
                "SLURM_JOB_ID": "1",
                "SLURM_NTASKS": "4",
                "SLURM_PROCID": "0",
                "SLURM_JOB_NAME": "train.sh",
            },
        )
        assert launch_env() == LaunchEnv()


def test_what_the_configuration_says_must_be_there(monkeypatch):
    check_processes(1, 1, False)
    check_processes(2, 1, False)  # starts another itself
    with pytest.raises(
        ConfigError, match=r"trainer\.nodes=2.*torchrun --nnodes=2.*Try trainer\.nodes=1"
    ):
        check_processes(1, 2, False)
    with monkeypatch.context() as patch:
        environment(patch, TORCHRUN)
        check_processes(2, 2, False)
        for devices, nodes in ((1, 1), (4, 1), (1, 4), (2, 1)):
            with pytest.raises(
                ConfigError,
                match=r"4 processes on 2 nodes\. Try trainer\.devices=2 trainer\.nodes=2",
            ):
                check_processes(devices, nodes, False)
        with pytest.raises(ConfigError, match="a sweep is started without it"):
            check_processes(2, 2, True)
    with monkeypatch.context() as patch:
        environment(patch, TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"})
        check_processes(1, 1, True)
        with pytest.raises(ConfigError, match="torchrun has started one process"):
            check_processes(2, 1, False)
    with monkeypatch.context() as patch:
        environment(patch, of_srun(0, 1, processes=3, nodes=2))
        with pytest.raises(ConfigError, match="3 processes on 2 nodes; expected as many on each"):
            check_processes(1, 2, False)


def test_nodes_do_not_change_the_name_of_a_run_of_one():
    """Runs of before there were nodes are found again."""
    from hydra import compose, initialize_config_dir
    from omegaconf import open_dict

    from learnsym.config.resolvers import register_resolvers
    from learnsym.run.run_id import config_hash

    register_resolvers()
    with initialize_config_dir(str(ROOT / "cfg"), version_base="1.3"):
        cfg = compose("config")
    now = config_hash(cfg)
    with open_dict(cfg):
        del cfg.trainer.nodes
    assert config_hash(cfg) == now
    cfg.trainer.devices = 2
    assert config_hash(cfg) != now


@pytest.mark.parametrize("starter", ["torchrun", "srun"])
def test_whether_the_first_process_has_said_it(monkeypatch, port, starter):
    """It is gone: silence. It goes while we wait: silence. It stays: only we have failed, and say
    so."""
    values = TORCHRUN if starter == "torchrun" else of_srun(1, port)
    environment(monkeypatch, values | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    monkeypatch.setattr(cluster, "SECONDS_FOR_RANK_ZERO", 1.0)
    monkeypatch.setattr(cluster.signal, "signal", lambda *_: None)
    assert wait_for_rank_zero(2) is False
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        assert wait_for_rank_zero(2) is True
        closing = threading.Timer(0.4, server.close)
        closing.start()
        assert wait_for_rank_zero(2) is False
        closing.join()


def test_a_sweep_is_not_for_torchrun(main, monkeypatch, tiny):
    environment(monkeypatch, TORCHRUN | {"RANK": "0"})

    def exit_(code):
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", exit_)
    done = main("-m", *tiny, "seed=0,1")
    assert done.code == 2
    assert (
        done.err.strip()
        == "error: -m: torchrun starts the processes of a single run; a sweep is started without it."  # noqa: E501
    )
