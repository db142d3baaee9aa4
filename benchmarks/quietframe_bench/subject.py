"""A model in the process that measures it: described, opened and timed.

Only light modules are imported at the top, so that the imports that a model needs can be timed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from quietframe.card import Task as TaskName
    from quietframe.tasks import Classifier, Denoiser

_ENGINE_PACKAGES = {".tflite": "ai_edge_litert.interpreter", ".onnx": "onnxruntime"}


def describe(*, model: str) -> dict[str, Any]:
    """Return a model's metadata: its card's main fields and its engine."""
    from quietframe.tasks.base import open_model

    engine, card = open_model(model)
    spatial = card.spatial
    return {
        "engine": type(engine).__name__,
        "name": card.name,
        "precision": card.precision,
        "task": card.task,
        "own_size_wh": spatial.size_hw[::-1] if spatial.fit == "resize" and spatial.size_hw else None,
        "parameters": card.parameters,
        "macs_per_pixel": card.macs_per_pixel,
        "conditioning": card.conditioning,
    }


class TimedModel:
    """A model under the stopwatch: imported, loaded, and its first frame run, each timed apart.

    Args:
        model: the file.
        task: as its card has it.
        size_wh: of the frames.
        threads: of the engine.
        frames: a folder or video to take frames from; None: the bundled photograph with noise.
        video_fps: estimate the noise as in a video of so many frames a second; None: in every frame.
    """

    def __init__(
        self,
        *,
        model: str,
        task: TaskName,
        size_wh: list[int],
        threads: int,
        frames: str | None = None,
        video_fps: float | None = None,
    ) -> None:
        begin = perf_counter_ns()
        task_class = import_task(task, model)
        imported = perf_counter_ns()
        subject = task_class(model, threads=threads)
        loaded = perf_counter_ns()
        from quietframe.tasks import Denoiser
        from quietframe_bench.frames import feed_for
        from quietframe_bench.timing import AsVideo, Stopwatch

        feed = feed_for(subject.card, frames, (size_wh[0], size_wh[1]))
        before_mb = rss_mb()
        if video_fps and isinstance(subject, Denoiser) and subject.estimates:
            self._watch = Stopwatch(AsVideo(subject, video_fps), feed.frame)
        else:
            self._watch = Stopwatch(subject, feed.frame)
        first_ns = self._watch.call()[-1]
        self.facts = {
            "import_ms": (imported - begin) / 1e6,
            "load_ms": (loaded - imported) / 1e6,
            "first_frame_ms": first_ns / 1e6,
            "rss_before_first_frame_mb": before_mb,
            "macs": frame_macs(subject, size_wh),
            "gray_frames": feed.gray,
        }

    def time(self, *, warmup: int, runs: int, min_secs: float) -> dict[str, Any]:
        """Time some frames. See `Stopwatch.run`."""
        samples = self._watch.run(warmup=warmup, runs=runs, min_secs=min_secs)
        return {"warmup_ns": samples.warmup_ns, "stages_ns": samples.stages_ns}


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
    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):  # Windows
        return float(info.peak_wset / 1e6)
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
