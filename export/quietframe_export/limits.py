"""Hold files to a size and to a time, besides what they lose."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2

from quietframe.card import ModelCard
from quietframe.cpu import physical_cores
from quietframe.errors import UsageError
from quietframe.tasks import Classifier, open_denoiser
from quietframe.tasks.base import batch_size
from quietframe_export.formats import Target
from quietframe_train.data.base import Sample

SIZE_WH = (640, 480)
"""The frames that a model of any size is timed with."""

_WARMUP, _RUNS, _MIN_S = 3, 15, 1.0
_UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "KIB": 2**10, "MIB": 2**20}


@dataclass(frozen=True)
class Limits:
    """What a file may be and take at most.

    Attributes:
        size_bytes: of all that belongs to the file; None: any.
        ms: median time of a call of the runtime on this machine, in milliseconds; None: any, and it is not measured.
    """

    size_bytes: int | None = None
    ms: float | None = None


@dataclass(frozen=True)
class Latency:
    """The time of a call of the runtime, noise estimate included: the median of some runs.

    Attributes:
        images: how many images a call took: as many as the file takes at once.
    """

    ms: float
    size_wh: tuple[int, int]
    images: int
    threads: int
    runs: int

    def __str__(self) -> str:
        images = f"{self.images} images of " if self.images > 1 else ""
        width, height = self.size_wh
        return f"{self.ms:.3g} ms for {images}{width}x{height} (median of {self.runs} runs, {self.threads} threads)"


def measure_latency(path: Path, card: ModelCard, sample: Sample) -> Latency:
    """Time a file as the runtime runs it, with as many threads as there are cores, on a frame resized to its size."""
    height, width = card.spatial.size_hw or SIZE_WH[::-1]
    task = open_denoiser(path, card=card) if "denoise" in card.task else Classifier(path, card=card)
    images = batch_size(task.engine, card)
    frames = [cv2.resize(sample.frame, (width, height))] * images
    times: list[float] = []
    for _ in range(_WARMUP):
        task.batch(frames)
    begin = time.perf_counter()
    while len(times) < _RUNS or time.perf_counter() - begin < _MIN_S:
        start = time.perf_counter()
        task.batch(frames)
        times.append(time.perf_counter() - start)
    return Latency(1000 * median(times), (width, height), images, physical_cores(), len(times))


class Exceeded(NamedTuple):
    """Which limit a file exceeds, and what to try next; both empty if none."""

    reason: str = ""
    try_next: str = ""


def check_limits(limits: Limits, target: Target, size_bytes: int, latency: Latency | None) -> Exceeded:
    """Say which limit a file exceeds."""
    if limits.size_bytes is not None and size_bytes > limits.size_bytes:
        reason = f"has {size_bytes:,} bytes, more than the {limits.size_bytes:,} allowed; not kept"
        return Exceeded(reason, _advice(target, of_size=True))
    if limits.ms is not None and latency is not None and latency.ms > limits.ms:
        reason = f"takes {latency}, more than the {limits.ms:g} ms allowed; not kept"
        return Exceeded(reason, _advice(target, of_size=False))
    return Exceeded()


def _advice(target: Target, *, of_size: bool) -> str:
    """Say what to try with a file that is too large, or too slow."""
    others = [] if target.precision == "int8" else [f"--to {target.format.name}-int8"]
    if not of_size:
        others.append("a smaller --size")
    return f"try {', or '.join([*others, 'a smaller model'])}"


def parse_bytes(text: str) -> int:
    """Read a size such as `200KiB`, `1.5MB` or `4096`. Raises UsageError if it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KM]?I?B|)", text.strip().upper())
    if found is None or float(found[1]) == 0:
        raise UsageError(f"Expected a size such as 200KiB, 1.5MB or 4096 (bytes). Received: {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])
