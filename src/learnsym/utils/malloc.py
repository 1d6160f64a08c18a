"""Memory of the process, on a CPU."""

import ctypes
import sys


def disable_malloc_trim() -> bool:
    """Let the process keep what it frees, instead of handing every large block back to the system;
    whether that was possible.

    glibc maps each block of more than 32 MB anew, and the system clears it page by page at first
    touch: in a training step that frees and takes the same blocks over and over, this costs a tenth
    of the time and more (benchmarks/partial_conv.py). Elsewhere (macOS, musl) nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim_threshold, mmap_max = -1, -4  # names of parameters in malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, -1))
