"""Classical denoisers: OpenCV's filters and CBM3D, each with its textbook setting and a small grid of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.engines import Engine, TensorInfo
from quietframe.errors import MissingExtraError, UsageError
from quietframe.noise import to_uint8

Frame: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) BGR or (H, W) gray, uint8."""

Setting: TypeAlias = Mapping[str, float]
"""Parameters of a method by the names that its library gives them."""

CBM3D = "CBM3D"
_NLM_SEARCH = 11  # a window of 21 takes four times as long, and was not better in any camera format
_NLM_H = 0.25, 1.2  # the smallest and the greatest `h` about a noise level, as shares of it


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The settings of a classical denoiser.

    Attributes:
        textbook: the setting of OpenCV's tutorials ("Smoothing Images", "Image Denoising"; OpenCV 4 and 5).
        grid: the settings that are tried to find the best one; empty: nothing to choose.
        colour_only: the parameters that mean nothing for gray frames.
    """

    textbook: Setting = field(default_factory=dict)
    grid: Sequence[Setting] = ()
    colour_only: frozenset[str] = frozenset()

    def settings(self, *, gray: bool, near_255: float | None = None) -> Sequence[Setting]:
        """Return the grid for colour or gray frames; of slow NLM that about a noise level, where one is given."""
        left_out = self.colour_only if gray else frozenset()
        reduced = [{name: value for name, value in one.items() if name not in left_out} for one in self.grid]
        grid = [one for index, one in enumerate(reduced) if one not in reduced[:index]]
        if near_255 is None or "h" not in self.textbook:
            return grid
        low, high = (share * near_255 for share in _NLM_H)
        return [one for one in grid if one["searchWindowSize"] == _NLM_SEARCH and low <= one["h"] <= high] or grid[:1]

    @property
    def grid_text(self) -> str:
        """The grid in words: each parameter with its values."""
        values = {name: sorted({one[name] for one in self.grid}) for one in self.grid for name in one}
        return "; ".join(f"{name} {', '.join(f'{value:g}' for value in tried)}" for name, tried in values.items())

    def in_words(self, setting: Setting) -> str:
        """Return a setting, without what is the same in every setting of the method."""
        varies = {name for one in self.grid for name, value in one.items() if value != self.textbook[name]}
        return ", ".join(f"{name} {v:g}" for name, v in setting.items() if name in varies or name not in self.textbook)


@dataclass(frozen=True)
class Method(Grid):
    """A classical denoiser of frames.

    Attributes:
        apply: (frame, setting, CPU threads) to the denoised frame, of the same shape and dtype.
    """

    apply: Callable[[Frame, Setting, int], Frame]


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
    sigma = setting["sigma"] / 255
    scaled = frame[..., ::-1] / 255 if frame.ndim == 3 else frame / 255
    run = bm3d.bm3d_rgb if frame.ndim == 3 else bm3d.bm3d
    clean = to_uint8(255 * np.asarray(run(scaled, sigma, profile)).reshape(frame.shape))
    return np.ascontiguousarray(clean[..., ::-1]) if frame.ndim == 3 else clean


METHODS: Mapping[str, Method] = {
    "bilateral": Method(
        _bilateral,
        textbook={"d": 9, "sigmaColor": 75, "sigmaSpace": 75},
        grid=[
            {"d": d, "sigmaColor": colour, "sigmaSpace": space}
            for d in (5, 7, 9)
            for colour in (15, 30, 45, 60, 90, 120, 180, 240)
            for space in (1.5, 3)
        ],
    ),
    "median": Method(_median, textbook={"ksize": 5}, grid=[{"ksize": side} for side in (3, 5, 7)]),
    "Gaussian": Method(
        _gaussian,
        textbook={"ksize": 5, "sigmaX": 0},
        grid=[{"ksize": 0, "sigmaX": sigma} for sigma in (0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5)],
    ),
    "NLM": Method(
        _nlm,
        textbook={"h": 10, "hColor": 10, "templateWindowSize": 7, "searchWindowSize": 21},
        grid=[
            {"h": h, "hColor": h * times, "templateWindowSize": 7, "searchWindowSize": search}
            for h in (3, 5, 7, 10, 14, 20, 28, 40)
            for times in (1, 2)
            for search in (11, 21)
        ],
        colour_only=frozenset({"hColor"}),
    ),
    CBM3D: Method(_cbm3d, textbook={}),
}
"""By name."""


class ClassicalDenoiser:
    """A method at one setting, called and timed as `quietframe.Denoiser` is: it is its own engine.

    method: a name in `METHODS`; UsageError if there is none of that name. threads: for OpenCV in this whole process.
    """

    inputs: Mapping[str, TensorInfo] = {}
    outputs: Mapping[str, TensorInfo] = {}
    card_json = None

    def __init__(self, method: str, setting: Setting, *, threads: int) -> None:
        if method not in METHODS:
            raise UsageError(f"Expected one of {', '.join(METHODS)}. Received: {method!r}")
        cv2.setNumThreads(threads)
        self._apply, self._setting, self._threads = METHODS[method].apply, setting, threads
        self.engine: Engine = self

    def __call__(self, frame: Frame) -> Frame:
        """Denoise one frame: (H, W, 3) BGR or (H, W) gray uint8 in, the same out."""
        return self.engine.run({"image": frame})["image"]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """See `quietframe.engines.Engine`."""
        return {"image": self._apply(inputs["image"], self._setting, self._threads)}
