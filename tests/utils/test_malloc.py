"""Memory that the process keeps; what it brings is a matter of benchmarks/partial_conv.py."""

import platform
import subprocess
import sys

import pytest


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_the_allocator_is_told():
    code = (
        "import torch; from learnsym.utils.malloc import disable_malloc_trim as keep; "
        "print(keep(), keep(), int(torch.ones(10**7).sum()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "10000000"]
