"""Settings of the C library's memory allocator."""

import ctypes


def disable_malloc_trim() -> bool:
    """Keep freed memory in the process; return whether that was possible.

    glibc maps each block of more than 32 MB anew, and the system clears it page by page: costly in
    a training step that allocates the same blocks over and over (benchmarks/partial_conv.py).
    """
    trim_threshold, mmap_max = -1, -4  # names of parameters in malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, -1))
