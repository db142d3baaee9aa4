"""Memory that is freed and wanted again with every frame: `Denoiser` has the C library keep it."""

from __future__ import annotations

import numpy as np

_MOST = (32 << 20) - (64 << 10)  # a larger block leaves glibc's limit as it is: DEFAULT_MMAP_THRESHOLD_MAX


def keep_freed(size: int) -> None:
    """Have the C library keep about twice `size` bytes of freed memory, 64 MB at most, for what comes next.

    glibc gives the top of its heap back once it is larger than twice the largest block that was mapped and freed so far
    (mallopt(3), "dynamic mmap threshold"). Where frames come and go that is after every second one, and the kernel
    hands the same pages out again, cleared one by one. A block that is freed untouched lifts that limit. Other C
    libraries do nothing else than that.
    """
    np.empty(min(size, _MOST), np.uint8)
