"""GPUs are handed out one each, without a GPU."""

import threading
import time

import pytest

from learnsym.run import distributed
from learnsym.run.distributed import exclusive_gpu


def test_each_has_its_own_and_gives_it_back(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with exclusive_gpu(3, tmp_path) as first, exclusive_gpu(3, tmp_path) as second:
        assert (first, second) == (0, 1)
    with exclusive_gpu(3, tmp_path) as third:
        assert third == 0


def test_who_finds_none_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "SECONDS_BETWEEN_LOOKS", 0.01)
    seen = []

    def late():
        with exclusive_gpu(2, tmp_path) as number:
            seen.append(number)

    with exclusive_gpu(2, tmp_path) as first:
        with exclusive_gpu(2, tmp_path) as second:
            thread = threading.Thread(target=late)
            thread.start()
            time.sleep(0.1)
            assert seen == []
        thread.join(10)
    assert (first, second, seen) == (0, 1, [1])


def test_the_same_gpus_by_other_numbers(tmp_path, monkeypatch):
    """CUDA_VISIBLE_DEVICES=2,3 and =3,4 share GPU 3, which is number 1 to one process and number 0
    to the other."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with exclusive_gpu(2, tmp_path), exclusive_gpu(2, tmp_path) as shared:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
        with exclusive_gpu(2, tmp_path) as other:
            assert (shared, other) == (1, 1)


def test_an_error_gives_it_back(tmp_path):
    with pytest.raises(RuntimeError, match="mine"), exclusive_gpu(2, tmp_path):
        raise RuntimeError("mine")
    with exclusive_gpu(2, tmp_path) as number:
        assert number == 0
