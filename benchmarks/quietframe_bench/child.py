"""The process in which one model is measured: requests come as JSON lines, answers go back as JSON lines.

A process of its own gives each model its own load time, first frame and peak memory, and a model that crashes
takes nothing but its own row along. `quietframe_bench.process` is the other end.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from quietframe.errors import QuietFrameError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from quietframe.card import Task as TaskName
    from quietframe.tasks import Classifier, Denoiser
    from quietframe_bench.classical import ClassicalDenoiser
    from quietframe_bench.follower import Follower
    from quietframe_bench.operators.profile import Profile
    from quietframe_bench.timing import Stopwatch

_ENGINE_PACKAGES = {".tflite": "ai_edge_litert.interpreter", ".onnx": "onnxruntime"}
_PICTURE_WH = 384, 288
_STATUS = Path("/proc/self/status")


class _Worker:
    """Holds the model of this process. Each public method answers one kind of request."""

    def __init__(self) -> None:
        self._contender: dict[str, Any] | None = None
        self._denoiser: Denoiser | ClassicalDenoiser | None = None
        self._watch: Stopwatch | None = None
        self._follower: Follower | None = None
        self._classifier: Classifier | None = None
        self._profile: Profile | None = None

    def describe(self, *, model: str) -> dict[str, Any]:
        """What the model says of itself."""
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

    def open(
        self,
        *,
        model: str,
        task: TaskName,
        size_wh: list[int],
        threads: int,
        frames: str | None,
        video_fps: float | None = None,
    ) -> dict[str, Any]:
        """Import, load, and run the first frame, each timed apart."""
        begin = perf_counter_ns()
        kind = import_kind(task, model)
        imported = perf_counter_ns()
        subject = kind(model, threads=threads)
        loaded = perf_counter_ns()
        from quietframe.tasks import Denoiser
        from quietframe_bench.frames import feed_for
        from quietframe_bench.timing import AsVideo, Stopwatch

        feed = feed_for(subject.card, frames, (size_wh[0], size_wh[1]))
        before = rss_mb("VmRSS")
        if video_fps and isinstance(subject, Denoiser) and subject.estimates:
            self._watch = Stopwatch(AsVideo(subject, video_fps), feed.frame)
        else:
            self._watch = Stopwatch(subject, feed.frame)
        first = self._watch.call()[-1]
        return {
            "import_ms": (imported - begin) / 1e6,
            "load_ms": (loaded - imported) / 1e6,
            "first_frame_ms": first / 1e6,
            "rss_before_first_frame_mb": before,
            "macs": _macs(subject, size_wh),
            "gray_frames": feed.gray,
        }

    def block(self, *, warmup: int, runs: int, min_secs: float) -> dict[str, Any]:
        """Time some frames. See `Stopwatch.run`."""
        if self._watch is None:
            raise UsageError("no model is open")
        samples = self._watch.run(warmup=warmup, runs=runs, min_secs=min_secs)
        return {"warmup_ns": samples.warmup_ns, "stages_ns": samples.stages_ns}

    def memory(self) -> dict[str, Any]:
        """The most memory that this process has held so far, and what it holds now."""
        return {"steady_rss_mb": rss_mb("VmRSS"), "peak_rss_mb": rss_mb("VmHWM")}

    def profile(self, *, model: str, task: TaskName, size_wh: list[int], threads: int) -> dict[str, Any]:
        """Put the model under its engine's profiler, with what its engine is given for a frame of that size."""
        from quietframe_bench.operators.profile import open_for_frame

        self._profile, facts = open_for_frame(import_kind(task, model), Path(model), (size_wh[0], size_wh[1]), threads)
        return facts

    def profile_block(self, *, warmup: int, runs: int) -> dict[str, Any]:
        """Run the model under the profiler. See `Profile.run`."""
        if self._profile is None:
            raise UsageError("no model is under a profiler")
        self._profile.run(warmup=warmup, runs=runs)
        return {}

    def profile_result(self) -> dict[str, Any]:
        """What the profiler found. See `Profile.result`."""
        if self._profile is None:
            raise UsageError("no model is under a profiler")
        profiled, self._profile = self._profile.result(), None
        return profiled.as_record()

    def copy_at_size(self, *, model: str, shapes: dict[str, list[int]], target: str) -> dict[str, Any]:
        """Write the model with these shapes of inputs. See `operators.litert_file`."""
        from quietframe_bench.operators.litert_file import copy_at_size

        Path(target).write_bytes(copy_at_size(Path(model).read_bytes(), shapes))
        return {}

    def trials(self, *, suffix: str, precision: str, threads: int, secs: float) -> dict[str, Any]:
        """How fast an engine multiplies. See `run_trials`."""
        from quietframe_bench.roof.trial_runs import run_trials

        return {"trials": run_trials(suffix, precision, threads, secs)}

    def copies(self, *, threads: int, secs: float) -> dict[str, Any]:
        """How fast memory is. See `copy_memory`."""
        from quietframe_bench.roof.trial_runs import copy_memory

        return {"levels": copy_memory(threads, secs)}

    def enter(self, *, contender: dict[str, Any], size_wh: list[int], threads: int, gray: bool) -> dict[str, Any]:
        """Make a contender of a comparison ready to be timed, and run its first frame."""
        import cv2

        from quietframe import Denoiser
        from quietframe_bench.contenders import make_denoiser
        from quietframe_bench.frames import open_feed
        from quietframe_bench.timing import Stopwatch

        cv2.setNumThreads(threads)
        subject = make_denoiser(**contender, threads=threads)
        self._watch = Stopwatch(subject, open_feed(None, (size_wh[0], size_wh[1]), gray=gray).frame)
        first = self._watch.call()[-1]
        macs = _macs(subject, size_wh) if isinstance(subject, Denoiser) else None
        return {"first_frame_ms": first / 1e6, "macs": macs}

    def judge(
        self,
        *,
        contender: dict[str, Any] | None,
        told_255: float | None,
        clean: str,
        measures: list[str],
        noise: dict[str, Any] | None = None,
        noisy: str | None = None,
    ) -> dict[str, Any]:
        """Compare with the clean picture what a contender makes of the noisy one: a file, or the clean one and noise.

        Without a contender, compare the noisy picture itself, and tell the level that is found in it.
        """
        from quietframe.noise.estimate import estimate_noise
        from quietframe.quality import psnr_db, ssim

        reference = _read(clean)
        frame = _add_noise(clean, noise["sigma_255"], *noise["seed"]) if noise else _read(noisy or clean)
        result = frame if contender is None else self._denoise(contender, frame, told_255)
        compute = {"psnr_db": psnr_db, "ssim": ssim}
        figures = {measure: compute[measure](reference, result) for measure in measures}
        return figures if contender else figures | {"estimated_sigma_255": estimate_noise(frame)}

    def classifier(self, *, model: str) -> dict[str, Any]:
        """Load a classifier; its name, labels and engine."""
        from quietframe import Classifier

        self._classifier = Classifier(model)
        card = self._classifier.card
        engine = type(self._classifier.engine).__name__
        return {"name": card.name, "precision": card.precision, "engine": engine, "labels": list(card.labels)}

    def classify(self, *, picture: str) -> dict[str, Any]:
        """What the classifier says of a picture, and how long that takes; reading the file is not timed."""
        if self._classifier is None:
            raise UsageError("no classifier is loaded")
        pixels = _read(picture)
        begin = perf_counter_ns()
        label = self._classifier(pixels).label
        return {"label": label, "total_ns": perf_counter_ns() - begin}

    def picture(self, *, model: str | None, sigma_255: float) -> dict[str, Any]:
        """What a denoiser makes of a part of the bundled photograph with noise; without a model, the noisy part."""
        import cv2
        import numpy as np

        from quietframe import Denoiser
        from quietframe.assets import photo_bgr
        from quietframe.noise import add_gaussian
        from quietframe.quality import psnr_db

        photo = photo_bgr()
        top, left = (photo.shape[0] - _PICTURE_WH[1]) // 2, (photo.shape[1] - _PICTURE_WH[0]) // 2
        clean = photo[top : top + _PICTURE_WH[1], left : left + _PICTURE_WH[0]]
        shown = add_gaussian(clean, sigma_255, np.random.default_rng(0)) if sigma_255 else clean
        shown = Denoiser(model)(shown) if model else shown
        encoded = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        psnr = psnr_db(clean, shown) if sigma_255 else None
        return {"jpeg_base64": base64.b64encode(encoded.tobytes()).decode(), "psnr_db": psnr, "sigma_255": sigma_255}

    def live(self, *, model: str, size_wh: list[int], **settings: Any) -> dict[str, Any]:
        """Run the real-time loop behind a source of that rate for so long. See `run_live`."""
        from quietframe_bench.live_loop import run_live

        return run_live(model, (size_wh[0], size_wh[1]), **settings)

    def follow(self, *, model: str | None, **frame: Any) -> dict[str, float]:
        """The next frame of a video. See `Follower.follow`."""
        if self._follower is None:
            from quietframe_bench.follower import Follower

            self._follower = Follower(model)
        return self._follower.follow(**frame)

    def _denoise(
        self, contender: dict[str, Any], frame: NDArray[np.uint8], told_255: float | None
    ) -> NDArray[np.uint8]:
        from quietframe import Denoiser
        from quietframe_bench.contenders import make_denoiser

        if self._contender != contender:
            self._contender, self._denoiser = contender, make_denoiser(**contender)
        if isinstance(self._denoiser, Denoiser):
            return self._denoiser(frame, sigma_255=told_255)
        assert self._denoiser is not None
        return self._denoiser(frame)


@lru_cache(maxsize=8)
def _read(path: str) -> NDArray[np.uint8]:
    """A picture's pixels. Nobody changes them: many settings are judged on one picture."""
    from quietframe.images import read_image

    return read_image(path).pixels


@lru_cache(maxsize=8)
def _add_noise(path: str, sigma_255: float, *seed: int) -> NDArray[np.uint8]:
    import numpy as np

    from quietframe.noise import add_gaussian

    return add_gaussian(_read(path), sigma_255, np.random.default_rng(list(seed)))


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what an engine prints must not come between the answers
    worker = _Worker()
    jobs: Mapping[str, Callable[..., dict[str, Any]]] = {
        "describe": worker.describe,
        "open": worker.open,
        "enter": worker.enter,
        "block": worker.block,
        "profile": worker.profile,
        "profile_block": worker.profile_block,
        "profile_result": worker.profile_result,
        "copy_at_size": worker.copy_at_size,
        "trials": worker.trials,
        "copies": worker.copies,
        "memory": worker.memory,
        "judge": worker.judge,
        "follow": worker.follow,
        "live": worker.live,
        "picture": worker.picture,
        "classifier": worker.classifier,
        "classify": worker.classify,
    }
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = jobs[request.pop("job")](**request)
        except QuietFrameError as exc:
            answer = {"error": str(exc)}
        except Exception as exc:  # noqa: BLE001  engines raise what they like: it all goes into the failed row
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def import_kind(task: TaskName, model: str) -> type[Denoiser | Classifier]:
    """The class for a task. Imports all that loading needs, so that imports are not counted as load time."""
    from quietframe.tasks import Classifier, DenoiseClassifier, Denoiser

    with suppress(ImportError, KeyError):  # the load itself will say what is missing
        importlib.import_module(_ENGINE_PACKAGES[Path(model).suffix.lower()])
    kinds: Mapping[TaskName, type[Denoiser | Classifier]] = {
        "denoise": Denoiser,
        "classify": Classifier,
        "denoise+classify": DenoiseClassifier,
    }
    return kinds[task]


def _macs(subject: Denoiser | Classifier, size_wh: list[int]) -> int:
    """Multiply-accumulates for one frame: the card's figure times the pixels that the model works on."""
    placement = subject.placement(size_wh[1], size_wh[0])
    return round(subject.card.macs_per_pixel * placement.count * placement.part_hw[0] * placement.part_hw[1])


def rss_mb(field: str) -> float:
    """`VmRSS` or `VmHWM` (its peak) of this process.

    Not getrusage where it can be helped: its peak outlives exec, so it would be the parent's.
    """
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    kib = next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    return kib * 1024 / 1e6


if __name__ == "__main__":
    main()
