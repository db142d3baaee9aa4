"""A model in the process that measures it: described, opened and timed.

Only light modules are imported at the top, so that the imports that a model needs can be timed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from quietframe.card import Task as TaskName
    from quietframe.tasks import Classifier, Denoiser

_ENGINE_PACKAGES = {".tflite": "ai_edge_litert.interpreter", ".onnx": "onnxruntime"}


def describe(*, model: str) -> dict[str, Any]:
    """Return a model's metadata: its card's main fields and its engine."""
    from quietframe.tasks.base import open_model

    engine, card = open_model(model)
    spatial = card.spatial
    names = ("name", "precision", "task", "parameters", "macs_per_pixel", "conditioning")
    return {
        "engine": type(engine).__name__,
        "own_size_wh": spatial.size_hw[::-1] if spatial.fit == "resize" and spatial.size_hw else None,
        **{name: getattr(card, name) for name in names},
    }


class TimedModel:
    """A model under the stopwatch: imported, loaded, and its first frame run, each timed apart.

    Args:
        model: the file; None: a classical method.
        task: as its card has it.
        size_wh: of the frames.
        threads: of the engine.
        frames: a folder or video to take frames from; None: the bundled photograph with noise.
        video_fps: estimate the noise as in a video of so many frames a second; None: in every frame.
        method, setting: see `quietframe_bench.classical`.
        gray: of a model that is compared with classical methods: whether frames are gray. OpenCV then has as many
            threads as the engine. None: frames are as the model takes them.
    """

    def __init__(
        self,
        *,
        model: str | None,
        task: TaskName,
        size_wh: list[int],
        threads: int,
        frames: str | None = None,
        video_fps: float | None = None,
        method: str | None = None,
        setting: Mapping[str, float] | None = None,
        gray: bool | None = None,
    ) -> None:
        begin = perf_counter_ns()
        make: Callable[..., Any]
        if method:
            from quietframe_bench.classical import ClassicalDenoiser

            make = partial(ClassicalDenoiser, method, setting or {})
        else:
            make = partial(import_task(task, str(model)), str(model))
        imported = perf_counter_ns()
        subject: Any = make(threads=threads)
        loaded = perf_counter_ns()
        import cv2

        from quietframe.tasks import Denoiser
        from quietframe_bench.frames import feed_for, open_feed
        from quietframe_bench.timing import Stopwatch

        size = size_wh[0], size_wh[1]
        if gray is None:
            feed = feed_for(subject.card, frames, size)
        else:
            cv2.setNumThreads(threads)
            feed = open_feed(frames, size, gray=gray)
        before_mb = rss_mb()
        call = None
        if video_fps and isinstance(subject, Denoiser) and subject.estimates:
            call = as_video(subject, video_fps)
        self._watch = Stopwatch(subject, feed.frame, call)
        first_ns = self._watch.call()[-1]
        self.facts = {
            "import_ms": (imported - begin) / 1e6,
            "load_ms": (loaded - imported) / 1e6,
            "first_frame_ms": first_ns / 1e6,
            "rss_before_first_frame_mb": before_mb,
            "macs": None if method else frame_macs(subject, size_wh),
            "gray_frames": feed.gray,
        }

    def time(self, *, warmup: int, runs: int, min_secs: float) -> dict[str, Any]:
        """Time some frames: `warmup_ns` and `stages_ns`. See `Stopwatch.run`."""
        return self._watch.run(warmup=warmup, runs=runs, min_secs=min_secs)


def as_video(denoiser: Denoiser, fps: float) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return a denoiser as the real-time loop calls it: the noise level is followed through a video of that rate."""
    from quietframe.noise.tracker import NoiseTracker

    tracker = NoiseTracker(fps)
    return lambda frame: denoiser(frame, sigma_255=tracker(frame))


def memory() -> dict[str, float]:
    """Return the most memory that this process has held so far, and what it holds now, in MB."""
    return {"steady_rss_mb": rss_mb(), "peak_rss_mb": peak_rss_mb()}


def rss_mb() -> float:
    """Return the resident memory of this process in 10⁶ bytes."""
    return float(psutil.Process().memory_info().rss / 1e6)


def peak_rss_mb() -> float:
    """Return the peak of the resident memory of this process in 10⁶ bytes.

    On Linux from /proc, as psutil has no peak there; getrusage's outlives exec, so it would be the parent's.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def import_task(task: TaskName, model: str) -> type[Denoiser | Classifier]:
    """Return the class for a task. Imports all that loading needs, so that imports are not counted as load time."""
    from quietframe.tasks import Classifier, DenoiseClassifier, Denoiser

    with suppress(ImportError, KeyError):  # the load itself says what is missing
        importlib.import_module(_ENGINE_PACKAGES[Path(model).suffix.lower()])
    classes: Mapping[TaskName, type[Denoiser | Classifier]] = {
        "denoise": Denoiser,
        "classify": Classifier,
        "denoise+classify": DenoiseClassifier,
    }
    return classes[task]


def frame_macs(subject: Denoiser | Classifier, size_wh: list[int]) -> int:
    """Return multiply-accumulates for one frame: the card's figure times the pixels that the model works on."""
    placement = subject.placement(size_wh[1], size_wh[0])
    return round(subject.card.macs_per_pixel * placement.count * placement.part_hw[0] * placement.part_hw[1])
