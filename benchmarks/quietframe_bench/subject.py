"""A model in the process that measures it: described, opened and timed, stage by stage.

A model is called as a user calls it; its engine is wrapped so that it stamps when it starts and ends. What lies before
its first run is `pre`, all the rest is `post`: of a frame that goes in tiles also what lies between the runs, in which
a tile is put in place and the next is cut. Nothing else is timed: frames are made between the calls.

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

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from quietframe.card import Task as TaskName
    from quietframe.engines import Engine
    from quietframe.tasks import Classifier, Denoiser

STAGES = ("pre", "engine", "post", "total")
PERCENTILES = (50, 95, 99)
LIBRARIES = {
    ".tflite": "ai_edge_litert.interpreter",
    ".onnx": "onnxruntime",
    ".xml": "quietframe_bench.openvino_library",
}
"""What the engine for a file imports, by the file's suffix."""


def describe(*, model: str) -> dict[str, Any]:
    """Return a model's metadata, as rows hold it, and `own_size_wh`, the one size that it runs at, if it has one."""
    from quietframe.tasks.base import open_model
    from quietframe_bench.rows import FACTS

    engine, card = open_model(model)
    spatial = card.spatial
    return {
        "engine": type(engine).__name__,
        "own_size_wh": spatial.size_hw[::-1] if spatial.fit == "resize" and spatial.size_hw else None,
        **{name: getattr(card, name) for name in FACTS if name != "engine"},
    }


class StampedEngine:
    """An engine that writes down when each run begins and ends, in `stamps`, by `time.perf_counter_ns()`."""

    def __init__(self, engine: Engine) -> None:
        self._run = engine.run
        self.inputs, self.outputs, self.card_json = engine.inputs, engine.outputs, engine.card_json
        self.stamps: list[tuple[int, int]] = []

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run the engine. See `Engine.run`."""
        begin = perf_counter_ns()
        results = self._run(inputs)
        self.stamps.append((begin, perf_counter_ns()))
        return results


class Stopwatch:
    """Times calls of a task, stage by stage.

    A call's frame and result are held until the next call has its own, as a loop's variables are. Let go of at once,
    they left the top of the heap free: glibc gave it back after each call, and 420 page faults a frame of 640×480,
    0.35 ms, counted as the task's.

    Args:
        task: a denoiser or classifier, which is called with a frame; its `engine` stays wrapped.
        frame: gives the frame for a call by its number, outside the timed part.
        call: what is timed in place of the task itself, and calls it.
    """

    def __init__(
        self,
        task: Any,
        frame: Callable[[int], NDArray[np.uint8]],
        call: Callable[[NDArray[np.uint8]], Any] | None = None,
    ) -> None:
        self._engine = task.engine = StampedEngine(task.engine)
        self._call = call or task
        self._frame = frame
        self._calls = 0
        self._held: tuple[Any, ...] = ()

    def run(self, *, warmup: int, runs: int, min_secs: float) -> dict[str, Any]:
        """Time at least `runs` calls, for at least `min_secs` seconds, after `warmup` calls that are kept apart.

        Returns raw times in nanoseconds: `warmup_ns` of whole calls, and `stages_ns` of each timed call by stage.
        """
        warmup_ns = [self.call()[-1] for _ in range(warmup)]
        calls: list[tuple[int, ...]] = []
        started = perf_counter_ns()
        while len(calls) < runs or perf_counter_ns() - started < min_secs * 1e9:
            calls.append(self.call())
        return {
            "warmup_ns": warmup_ns,
            "stages_ns": dict(zip(STAGES, map(list, zip(*calls, strict=True)), strict=True)),
        }

    def call(self) -> tuple[int, int, int, int]:
        """Call the task with a fresh frame; nanoseconds of each of `STAGES`."""
        frame = self._frame(self._calls)
        self._calls += 1
        stamps = self._engine.stamps
        stamps.clear()
        start = perf_counter_ns()
        result = self._call(frame)
        end = perf_counter_ns()
        self._held = frame, result
        pre, engine = stamps[0][0] - start, sum(stop - begin for begin, stop in stamps)
        return pre, engine, end - start - pre - engine, end - start


class TimedModel:
    """A model under the stopwatch: imported, loaded, and its first frame run, each timed apart.

    Args:
        model: the file; None for a classical method.
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

        size = size_wh[0], size_wh[1]
        if gray is None:
            feed = feed_for(subject.card, frames, size)
        else:
            cv2.setNumThreads(threads)
            feed = open_feed(frames, size, gray=gray)
        call = None
        if video_fps and isinstance(subject, Denoiser) and subject.estimates:
            call = as_video(subject, video_fps)
        watch = Stopwatch(subject, feed.frame, call)
        self.time = watch.run
        self.facts = {
            "import_ms": (imported - begin) / 1e6,
            "load_ms": (loaded - imported) / 1e6,
            "first_frame_ms": watch.call()[-1] / 1e6,
            "macs": None if method else frame_macs(subject, size_wh),
            "gray_frames": feed.gray,
        }


def as_video(denoiser: Denoiser, fps: float) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return a denoiser as the real-time loop calls it: the noise level is followed through a video of that rate."""
    from quietframe.noise.tracker import NoiseTracker

    tracker = NoiseTracker(fps)
    return lambda frame: denoiser(frame, sigma_255=tracker(frame))


def memory() -> dict[str, float]:
    """Return the most memory that this process has held so far, and what it holds now, in MB."""
    import resource

    from quietframe.cpu import peak_rss_mb

    on_macos_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # Linux counts kilobytes, of parents too
    steady_mb = rss_mb()
    return {"steady_rss_mb": steady_mb, "peak_rss_mb": float(max(steady_mb, peak_rss_mb() or on_macos_mb))}


def rss_mb() -> float:
    """Return the resident memory of this process in 10⁶ bytes."""
    import psutil

    return float(psutil.Process().memory_info().rss / 1e6)


def import_task(task: TaskName, model: str) -> Callable[..., Denoiser | Classifier]:
    """Return what opens a model for a task. Imports all that loading needs, so that it is not counted as load time."""
    from quietframe.tasks import Classifier, DenoiseClassifier, open_denoiser

    with suppress(ImportError, KeyError):  # the load itself says what is missing
        importlib.import_module(LIBRARIES[Path(model).suffix.lower()])
    openers: Mapping[TaskName, Callable[..., Denoiser | Classifier]] = {
        "denoise": open_denoiser,
        "classify": Classifier,
        "denoise+classify": DenoiseClassifier,
    }
    return openers[task]


def frame_macs(subject: Denoiser | Classifier, size_wh: list[int]) -> int:
    """Return multiply-accumulates for one frame: the card's figure times the pixels that the model works on."""
    placement = subject.placement(size_wh[1], size_wh[0])
    return round(subject.card.macs_per_pixel * placement.count * placement.part_hw[0] * placement.part_hw[1])
