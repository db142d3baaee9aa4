"""Classical denoisers: OpenCV's filters, CBM3D, and filters of FFmpeg for whole clips, each with a small grid."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.engines import Engine, TensorInfo
from quietframe.errors import MissingExtraError, QuietFrameError, UsageError
from quietframe.noise import to_uint8

Frame: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) BGR or (H, W) gray, uint8."""

Setting: TypeAlias = Mapping[str, float]
"""Parameters of a method by the names that its library gives them."""

CBM3D = "CBM3D"
_NLM_SEARCH = 11  # a window of 21 takes four times as long, and was not better in any camera format
_NLM_H = 0.25, 1.2  # the smallest and the greatest `h` about a noise level, as shares of it
_NLM_REACH = 2  # frames to each side that multi-frame NLM looks at
_FFMPEG = "ffmpeg"


@dataclass(frozen=True, kw_only=True)
class Method:
    """A classical denoiser and its settings.

    Attributes:
        frame: (frame, setting, CPU threads) to the denoised frame, of the same shape and dtype.
        clip: in place of that (frames, setting, CPU threads) to as many frames in their order, BGR in and out.
        textbook: the setting of OpenCV's tutorials ("Smoothing Images", "Image Denoising"; OpenCV 4 and 5).
        grid: the settings that are tried to find the best one; empty: nothing to choose.
        colour_only: the parameters that mean nothing for gray frames.
        per_level: parameters that the grid states for a noise level of 1, with the least and the greatest value.
        filter: the filter of FFmpeg that it is, if it is one.
    """

    frame: Callable[[Frame, Setting, int], Frame] | None = None
    clip: Callable[[Sequence[Frame], Setting, int], Iterator[Frame]] | None = None
    textbook: Setting = field(default_factory=dict)
    grid: Sequence[Setting] = ()
    colour_only: frozenset[str] = frozenset()
    per_level: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    filter: str | None = None

    def settings(self, *, gray: bool, near_255: float | None = None) -> Sequence[Setting]:
        """Return the grid for colour or gray frames and a noise level, where one is given; of slow NLM what is near."""
        left_out = self.colour_only if gray else frozenset()
        grid: list[Setting] = []
        for one in self.grid:
            setting = {name: self._at(name, one[name], near_255 or 1.0) for name in one if name not in left_out}
            if setting not in grid:
                grid.append(setting)
        if near_255 is None or "h" not in self.textbook:
            return grid
        low, high = (share * near_255 for share in _NLM_H)
        return [one for one in grid if one["searchWindowSize"] == _NLM_SEARCH and low <= one["h"] <= high] or grid[:1]

    def _at(self, name: str, value: float, level_255: float) -> float:
        if name not in self.per_level:
            return value
        low, high = self.per_level[name]
        return round(min(max(value * level_255, low), high), 4)

    @property
    def grid_text(self) -> str:
        """The grid in words: each parameter with its values."""
        values = {name: sorted({one[name] for one in self.grid}) for one in self.grid for name in one}
        return "; ".join(
            f"{name} {', '.join(f'{value:g}' for value in tried)}{' × the level' * (name in self.per_level)}"
            for name, tried in values.items()
        )

    def in_words(self, setting: Setting) -> str:
        """Return a setting, without what is the same in every setting of the method."""
        varies = {name for one in self.grid for name, value in one.items() if value != self.textbook[name]}
        return ", ".join(f"{name} {v:g}" for name, v in setting.items() if name in varies or name not in self.textbook)


def _bilateral(frame: Frame, setting: Setting, _threads: int) -> Frame:
    return cv2.bilateralFilter(frame, int(setting["d"]), setting["sigmaColor"], setting["sigmaSpace"])


def _median(frame: Frame, setting: Setting, _threads: int) -> Frame:
    return cv2.medianBlur(frame, int(setting["ksize"]))


def _gaussian(frame: Frame, setting: Setting, _threads: int) -> Frame:
    side = int(setting["ksize"])
    return cv2.GaussianBlur(frame, (side, side), setting["sigmaX"])


def _nlm(frame: Frame, setting: Setting, _threads: int) -> Frame:
    windows = int(setting["templateWindowSize"]), int(setting["searchWindowSize"])
    if frame.ndim == 2:
        return cv2.fastNlMeansDenoising(frame, None, setting["h"], *windows)
    return cv2.fastNlMeansDenoisingColored(frame, None, setting["h"], setting["hColor"], *windows)


def _cbm3d(frame: Frame, setting: Setting, threads: int) -> Frame:
    try:
        import bm3d
    except ImportError as exc:
        raise MissingExtraError("bm3d", "baselines") from exc
    profile = bm3d.BM3DProfile()
    profile.num_threads = threads
    scaled = frame[..., ::-1] / 255 if frame.ndim == 3 else frame / 255
    run = bm3d.bm3d_rgb if frame.ndim == 3 else bm3d.bm3d
    clean = to_uint8(255 * np.asarray(run(scaled, setting["sigma"] / 255, profile)).reshape(frame.shape))
    return np.ascontiguousarray(clean[..., ::-1]) if frame.ndim == 3 else clean


def _nlm_multi(frames: Sequence[Frame], setting: Setting, _threads: int) -> Iterator[Frame]:
    """Look at two frames before and after; fewer at the ends, as many to each side."""
    for index in range(len(frames)):
        reach = min(_NLM_REACH, index, len(frames) - 1 - index)
        near, h = frames[index - reach : index + reach + 1], setting["h"]
        yield cv2.fastNlMeansDenoisingColoredMulti(near, reach, len(near), None, h, h, 7, _NLM_SEARCH)


def _ffmpeg(name: str, template: str, frames: Sequence[Frame], setting: Setting, threads: int) -> Iterator[Frame]:
    """Send frames through a filter as full-range YCbCr, in which all of them did better than in RGB."""
    height, width = frames[0].shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv444p"]
    given = [*raw, "-s", f"{width}x{height}", "-i", "-"]
    taken = ["-vf", f"{name}={template.format(**setting)}", "-filter_threads", str(threads), *raw, "-"]
    planes = [cv2.cvtColor(frame, cv2.COLOR_BGR2YCrCb)[..., [0, 2, 1]].transpose(2, 0, 1) for frame in frames]
    command, sent = [_FFMPEG, "-v", "error", *given, *taken], np.stack(planes).tobytes()
    done = subprocess.run(command, input=sent, capture_output=True, check=False)
    results = np.frombuffer(done.stdout, np.uint8)
    if done.returncode or results.size != len(frames) * frames[0].size:
        raise QuietFrameError(f"ffmpeg, {name}: {done.stderr.decode(errors='replace').strip() or 'frames are missing'}")
    for found in results.reshape(len(frames), 3, height, width):
        yield cv2.cvtColor(np.ascontiguousarray(found[[0, 2, 1]].transpose(1, 2, 0)), cv2.COLOR_YCrCb2BGR)


def _filter(name: str, template: str, grid: Sequence[Setting], per_level: Mapping[str, tuple[float, float]]) -> Method:
    return Method(clip=partial(_ffmpeg, name, template), grid=grid, per_level=per_level, filter=name)


FRAME_METHODS: Mapping[str, Method] = {
    "bilateral": Method(
        frame=_bilateral,
        textbook={"d": 9, "sigmaColor": 75, "sigmaSpace": 75},
        grid=[
            {"d": d, "sigmaColor": colour, "sigmaSpace": space}
            for d in (5, 7, 9)
            for colour in (15, 30, 45, 60, 90, 120, 180, 240)
            for space in (1.5, 3)
        ],
    ),
    "median": Method(frame=_median, textbook={"ksize": 5}, grid=[{"ksize": side} for side in (3, 5, 7)]),
    "Gaussian": Method(
        frame=_gaussian,
        textbook={"ksize": 5, "sigmaX": 0},
        grid=[{"ksize": 0, "sigmaX": sigma} for sigma in (0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5)],
    ),
    "NLM": Method(
        frame=_nlm,
        textbook={"h": 10, "hColor": 10, "templateWindowSize": 7, "searchWindowSize": 21},
        grid=[
            {"h": h, "hColor": h * times, "templateWindowSize": 7, "searchWindowSize": search}
            for h in (3, 5, 7, 10, 14, 20, 28, 40)
            for times in (1, 2)
            for search in (11, 21)
        ],
        colour_only=frozenset({"hColor"}),
    ),
    CBM3D: Method(frame=_cbm3d),
}
"""Methods for single frames, by name."""

CLIP_METHODS: Mapping[str, Method] = {
    "NLM multi": Method(clip=_nlm_multi, grid=[{"h": share} for share in (0.35, 0.5, 0.7)], per_level={"h": (1, 100)}),
    "hqdn3d": _filter(
        "hqdn3d",
        "luma_spatial={spatial}:luma_tmp={temporal}",
        [{"spatial": spatial, "temporal": temporal} for spatial in (0.2, 0.4, 0.8) for temporal in (0.3, 0.6, 1.2)],
        {"spatial": (0, 255), "temporal": (0, 255)},
    ),
    "nlmeans": _filter("nlmeans", "s={s}:p=7:r=9", [{"s": share} for share in (0.2, 0.3, 0.45, 0.65)], {"s": (1, 30)}),
    "atadenoise": _filter(
        "atadenoise",
        "0a={a}:1a={a}:2a={a}:0b={b}:1b={b}:2b={b}:s={s}",
        [{"a": a, "b": 2 * a, "s": s} for a in (0.002, 0.004, 0.008, 0.012) for s in (5, 9)],
        {"a": (0, 0.3), "b": (0, 5)},
    ),
    "fftdnoiz": _filter(
        "fftdnoiz",
        "sigma={sigma}:prev={near}:next={near}",
        [{"sigma": share, "near": near} for share in (1, 1.5, 2, 3) for near in (0, 1)],
        {"sigma": (0, 100)},
    ),
}
"""Methods for whole clips, by name. `NLM multi`, and `atadenoise` and `fftdnoiz` at some settings, need frames that are
still to come."""

METHODS: Mapping[str, Method] = {**FRAME_METHODS, **CLIP_METHODS}


def missing_filters() -> list[str]:
    """Return the names of methods that the program `ffmpeg` would run, and does not have; all where there is none."""
    program = shutil.which(_FFMPEG)
    command = [program, "-v", "error", "-filters"] if program else ["true"]
    listed = subprocess.run(command, capture_output=True, check=False, text=True).stdout.split()
    return [name for name, method in METHODS.items() if method.filter not in {None, *listed}]


class ClassicalDenoiser:
    """A method at one setting. One of single frames is called and timed as a `Denoiser` is: it is its own engine.

    method: a name in `METHODS`; UsageError if there is none of that name. threads: for OpenCV in this whole process.
    """

    inputs: Mapping[str, TensorInfo] = {}
    outputs: Mapping[str, TensorInfo] = {}
    card_json = None

    def __init__(self, method: str, setting: Setting, *, threads: int) -> None:
        if method not in METHODS:
            raise UsageError(f"Expected one of {', '.join(METHODS)}. Received: {method!r}")
        cv2.setNumThreads(threads)
        self._method, self._setting, self._threads = METHODS[method], setting, threads
        self.engine: Engine = self

    def __call__(self, frame: Frame) -> Frame:
        """Denoise one frame: (H, W, 3) BGR or (H, W) gray uint8 in, the same out."""
        return self.engine.run({"image": frame})["image"]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """See `quietframe.engines.Engine`."""
        assert self._method.frame is not None
        return {"image": self._method.frame(inputs["image"], self._setting, self._threads)}

    def denoise(self, frames: Sequence[Frame]) -> Iterator[Frame]:
        """Denoise the frames of a clip, all of one shape; methods for whole clips see gray as three equal planes."""
        if self._method.clip is None:
            yield from map(self, frames)
            return
        gray = frames[0].ndim == 2
        colour = [cv2.merge([frame] * 3) for frame in frames] if gray else frames
        for result in self._method.clip(colour, self._setting, self._threads):
            yield cv2.cvtColor(result, cv2.COLOR_BGR2GRAY) if gray else result
