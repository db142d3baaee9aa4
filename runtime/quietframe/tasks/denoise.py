"""Denoising: noisy frames in, clean frames of the same size out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.camera import CameraProfile, read_profile
from quietframe.card import ModelCard, TensorSpec
from quietframe.engines import Engine
from quietframe.errors import ModelLoadError, UsageError
from quietframe.images import check_frame
from quietframe.noise.estimate import estimate_noise
from quietframe.tasks.base import Color, Inputs, ModelTask
from quietframe.tasks.fit import TILE_PIXELS, Placement, is_resized, least_tile_pixels, place, shrink
from quietframe.tasks.tensors import (
    CV_DEPTHS,
    encode_image,
    encode_levels,
    from_bgr,
    level_tensor,
    to_bgr,
)

Level = float | NDArray[np.float32]
Sample = TypeVar("Sample", np.uint8, np.uint16)

_LUMA = np.array([[0.114, 0.587, 0.299]], np.float32)  # of BGR, as in JPEG
_BAND_PIXELS = 1 << 17  # blended at once: as floats they are small beside a large frame
_MAX_LEVEL_255 = 255.0
_8_BIT = ("int8", "dynamic")  # precisions of files that compute in 8 bits, whatever they take


class Denoiser(ModelTask[NDArray[np.uint8]]):
    """Denoises frames with a model file.

    A model that takes whole images of one size sees each frame resized to it; the result comes back at the frame's
    size, with no finer detail than the model's size holds (see `sees_wh`).

    A model of any size sees a frame whole, or in tiles if it is larger than `tile_pixels`. They overlap so far that the
    result is the same, and memory no longer grows with the frame. Only a model whose card states its halo can do that.

    A gray frame goes through a color model as three equal planes. A color frame of three equal planes, as an infrared
    camera's is, stays gray to the last level.

    A file that computes in floats takes uint16 frames, of 16 bits a channel, too, and keeps them (`keeps_16bit`).

    The settings are attributes, too, and are validated whenever they are set. The frame that is given is never changed.
    For `with`, `close`, `batch`, threads and pickling see `ModelTask`.

    Args:
        model: a name from `quietframe models`, a path to a .tflite, .onnx or .xml file, or an engine.
        strength: below 1, the share of the result in a blend with the frame: so much of the noise is removed, none
            of it at 0. Above 1, for noise-conditioned models, the factor on the level that is passed to the model.
        sigma_255: the noise level in 8-bit levels, within the model's range; None: estimated for every frame.
        luma_strength, chroma_strength: the share, in [0, 1], of what is removed from the brightness, and from the
            colors, that is removed indeed, on top of `strength`; None: 1. Gray frames have brightness alone.
        threads: CPU threads; None: as many as there are physical cores.
        card: a card, or the JSON file of one, to override the card in the file.
        tile_pixels: the most pixels that a model of any size sees at once; None: `fit.TILE_PIXELS`.
        color: the channel order of color frames, `bgr` (OpenCV's) or `rgb`; results have the same.
        camera: a profile, or the JSON file of one, that `quietframe calibrate` made of the camera: its hot pixels are
            replaced, the offsets of its rows and columns taken off. Frames have the size that it was measured at.

    Raises:
        ModelLoadError: the file cannot be used, or does not denoise.
        MissingExtraError: the engine for this file is not installed.
        UsageError: a setting or threads out of range.
    """

    _TASKS = ("denoise",)
    _HAS_STATE: ClassVar[bool] = False
    _SETTINGS: ClassVar[tuple[str, ...]] = (
        "strength",
        "sigma_255",
        "luma_strength",
        "chroma_strength",
        "tile_pixels",
        "color",
        "camera",
    )
    strength: float
    sigma_255: float | None
    luma_strength: float
    chroma_strength: float
    tile_pixels: int | None
    camera: CameraProfile | None
    fused: float | None = None  # see VideoDenoiser

    def __init__(
        self,
        model: str | Path | Engine = "camera",
        *,
        strength: float = 1.0,
        sigma_255: float | None = None,
        luma_strength: float | None = None,
        chroma_strength: float | None = None,
        threads: int | None = None,
        card: ModelCard | str | Path | None = None,
        tile_pixels: int | None = None,
        color: Color = "bgr",
        camera: CameraProfile | str | Path | None = None,
    ) -> None:
        super().__init__(model, threads=threads, card=card, color=color)
        if self.card.has_state != self._HAS_STATE:
            how = "remembers the frames before: use VideoDenoiser" if self.card.has_state else "takes single frames"
            raise ModelLoadError(f"{self.card.name}: this model {how}")
        self._image_in = _tensor(self.card, "inputs")
        self._image_out = _tensor(self.card, "outputs")
        self._sigma = self.card.tensor("sigma", "inputs")
        self.strength = strength
        self.sigma_255 = sigma_255
        self.luma_strength = 1.0 if luma_strength is None else luma_strength
        self.chroma_strength = 1.0 if chroma_strength is None else chroma_strength
        self.tile_pixels = tile_pixels
        self.camera = camera  # type: ignore[assignment]  # `_validated` reads the file

    def __call__(self, frame: NDArray[Sample], *, sigma_255: Level | None = None) -> NDArray[Sample]:
        """Denoise one frame.

        frame: (H, W, 3) in the order of `color`, (H, W, 4) with an alpha that is kept, or (H, W) gray; any size; uint8,
        with `keeps_16bit` uint16 too.
        sigma_255: this frame's noise level in 8-bit levels, in [0, 255], to override the denoiser's own or the
        estimate; beyond the model's range it is clipped. A model whose card states a map takes one level for each
        pixel, too: (H, W) float32, or (ceil(H / s), ceil(W / s)) at the map's stride s; where it also takes the map's
        mean, a frame in tiles has one mean for each tile.
        Returns the frame's shape and dtype. Raises FrameError if the array is not a frame, and UsageError for levels
        that the model does not take.
        """
        bgr, alpha = self._checked(frame)
        sigma = self._level(bgr, sigma_255)
        placement = self.placement(bgr.shape[0], bgr.shape[1])
        planes = [self._run(number, plane, sigma, placement) for number, plane in enumerate(self._planes(bgr))]
        return self._finish(bgr, alpha, planes)

    def _batch(self, frames: Sequence[NDArray[Sample]]) -> list[NDArray[Sample]]:
        results = self._run_each(inputs for frame in frames for inputs in self.prepare(frame))
        return [self._joined(frame, results) for frame in frames]

    def _joined(self, frame: NDArray[Sample], results: Iterator[Inputs]) -> NDArray[Sample]:
        """What the next results make of a frame: those of what `prepare` gives for it."""
        bgr, alpha = self._checked(frame)
        placement = self.placement(bgr.shape[0], bgr.shape[1])
        planes = [
            placement.join(
                self._decode(result, placement.part_hw, bgr.dtype) for result in islice(results, placement.count)
            )
            for _ in self._planes(bgr)
        ]
        return self._finish(bgr, alpha, planes)

    def _finish(self, bgr: NDArray[Any], alpha: NDArray[Any] | None, planes: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The frame in the caller's form, of the planes that were denoised."""
        clean = planes[0] if len(planes) == 1 else cv2.merge(planes)
        if clean.ndim > bgr.ndim:
            clean = cv2.cvtColor(clean, cv2.COLOR_BGR2GRAY)
        elif _has_equal_planes(bgr):
            clean = cv2.cvtColor(cv2.cvtColor(clean, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        share = min(self.strength, 1.0)
        return from_bgr(_blend(bgr, clean, share * self.luma_strength, share * self.chroma_strength), alpha, self.color)

    def prepare(self, frame: NDArray[Any], *, sigma_255: Level | None = None) -> Iterator[Inputs]:
        """Prepare what the engine is to run for a frame: the inputs of one or more runs, each made when asked for.

        The frame is checked and its noise level estimated once, however many runs there are. Arguments and errors as of
        a call.
        """
        bgr, _ = self._checked(frame)
        sigma, placement = self._level(bgr, sigma_255), self.placement(bgr.shape[0], bgr.shape[1])
        return (inputs for plane in self._planes(bgr) for inputs in self._encode(plane, sigma, placement))

    def reset(self) -> None:
        """Forget the frames before. A model of single frames remembers none: see `VideoDenoiser`."""

    def level_255(self, frame: NDArray[Any]) -> float | None:
        """Return the noise level of a frame in 8-bit levels, as set or else estimated; None: not noise-conditioned.

        Raises FrameError if the array is not a frame.
        """
        return estimate_noise(self._checked(frame)[0]) if self.estimates else self.sigma_255

    @property
    def is_conditioned(self) -> bool:
        """Whether the model is noise-conditioned; else `strength` is at most 1."""
        return self._sigma is not None

    @property
    def estimates(self) -> bool:
        """Whether the noise level is estimated: the model is noise-conditioned, and `sigma_255` is None."""
        return self._sigma is not None and self.sigma_255 is None

    @property
    def keeps_16bit(self) -> bool:
        """Whether it takes uint16 frames and keeps their 16 bits: the file takes, gives and computes in floats."""
        tensors = self.engine.inputs[self._image_in.name], self.engine.outputs[self._image_out.name]
        return self.card.precision not in _8_BIT and not any(info.is_integer for info in tensors)

    @property
    def sees_wh(self) -> tuple[int, int] | None:
        """(width, height) that every frame is resized to and back; None if the model sees frames at their own size."""
        if not is_resized(self.card.spatial):
            return None
        height, width = self.card.spatial.size_hw or (1, 1)
        return width, height

    def fit(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame as the model sees it: resized where `sees_wh` says so, otherwise as it is.

        frame: (H, W, 3), (H, W, 4) or (H, W) uint8. Raises FrameError if the array is not a frame.
        """
        check_frame(frame, alpha=True)
        if self.sees_wh is None:
            return frame
        return next(self.placement(frame.shape[0], frame.shape[1]).cut(frame))

    def placement(self, height: int, width: int) -> Placement:
        """How frames of that size meet the model: whole, resized or in tiles."""
        return place(height, width, self.card.spatial, self.tile_pixels)

    def _checked(self, frame: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """The frame's colors, without the camera's defects, and alpha. Raises FrameError."""
        bgr, alpha = to_bgr(frame, self.color, deep=self.keeps_16bit)
        return self.camera.correct(bgr) if self.camera else bgr, alpha

    def _planes(self, frame: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """The frame in the model's colors: a gray model takes a color frame's channels one by one."""
        if self._image_in.colour != "GRAY":
            yield frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        elif frame.ndim == 2:
            yield frame
        else:
            yield from (cv2.extractChannel(frame, channel) for channel in range(3))

    def _run(self, number: int, plane: NDArray[Any], sigma: Level | None, placement: Placement) -> NDArray[Any]:
        """Denoise one plane; `number`: which one of the frame."""
        results = self._run_each(self._encode(plane, sigma, placement))
        return placement.join(self._decode(result, placement.part_hw, plane.dtype) for result in results)

    def _decode(self, result: Inputs, part_hw: tuple[int, int], dtype: Any) -> NDArray[Any]:
        name = self._image_out.name
        part = self._image_of(result[name], self._image_out, dtype)
        if part.shape[:2] != part_hw:
            raise ModelLoadError(
                f"{self.card.name}: the model made {part.shape[:2]} pixels of {part_hw}: a denoiser keeps the size"
            )
        return part

    def _encode(self, plane: NDArray[Any], sigma: Level | None, placement: Placement) -> Iterator[Inputs]:
        """The engine's inputs for each part of a plane, each made when asked for."""
        image, info = self._image_in, self.engine.inputs[self._image_in.name]
        for part, level in zip(placement.cut(plane), self._levels(sigma, placement), strict=False):
            yield {image.name: encode_image(part, image, info), **level}

    def _levels(self, sigma: Level | None, placement: Placement) -> Iterator[Inputs]:
        """The input that holds the noise level of each part of a frame, if the model takes one."""
        if self._sigma is None or sigma is None:
            return repeat({})
        name, info = self._sigma.name, self.engine.inputs[self._sigma.name]
        if isinstance(sigma, np.ndarray):
            return ({name: encode_levels(part, self._sigma, info)} for part in placement.cut(sigma, self._sigma.stride))
        return repeat({name: level_tensor(sigma, self._sigma, info, placement.part_hw)})

    def _level(self, frame: NDArray[Any], given_255: Level | None) -> Level | None:
        """The level to pass to the model, in the units of its card and within its range; None if it takes none.

        given_255: for this frame alone, a number or a map; None: the one that is set, or an estimate.
        """
        level_255: Level | None
        if isinstance(given_255, np.ndarray) and given_255.ndim:
            level_255 = self._map(given_255, frame)
        elif given_255 is not None:
            self._require_conditioned()
            given_255 = given_255.item() if isinstance(given_255, np.ndarray) else given_255
            level_255 = _number("sigma_255", given_255, 0, _MAX_LEVEL_255)
        else:
            level_255 = estimate_noise(frame) if self.estimates else self.sigma_255
        if self._sigma is None or level_255 is None:
            return None
        low, high = self._sigma.value_range
        sigma = level_255 * max(1.0, self.strength) / 255
        return np.clip(sigma, low, high) if isinstance(sigma, np.ndarray) else min(max(sigma, low), high)

    def _map(self, levels_255: NDArray[Any], frame: NDArray[Any]) -> NDArray[np.float32]:
        """One level for each block of pixels, from one for each block or each pixel."""
        if self._sigma is None or self._sigma.layout == "N111":
            raise UsageError(
                f"{self.card.name} takes no map of noise levels: pass sigma_255 as a number, or leave it out"
            )
        stride, (height, width) = self._sigma.stride, frame.shape[:2]
        small_hw = -(-height // stride), -(-width // stride)
        is_map = levels_255.dtype.kind in "fiu" and levels_255.shape in ((height, width), small_hw)
        if not is_map or not (levels_255.min() >= 0 and levels_255.max() <= _MAX_LEVEL_255):  # not so with a NaN
            raise UsageError(
                f"Expected sigma_255 to be a number, or levels in [0, {_MAX_LEVEL_255:g}] of shape "
                f"{(height, width)} or {small_hw}. Received: {levels_255.dtype} of shape {levels_255.shape}"
            )
        levels_255 = levels_255.astype(np.float32, copy=False)
        return levels_255 if levels_255.shape == small_hw else shrink(levels_255, stride)

    def _validated(self, name: str, value: Any) -> Any:
        match name:
            case "strength":
                return _number(name, value, 0, math.inf if self.is_conditioned else 1)
            case "luma_strength" | "chroma_strength":
                return _number(name, value, 0, 1)
            case "sigma_255" if value is not None:
                sigma = self._require_conditioned()
                return _number(name, value, 0, sigma.value_range[1] * 255 + 1e-6)
            case "tile_pixels":
                return _tile_pixels(self.card, value)
            case "camera" if value is not None and not isinstance(value, CameraProfile):
                if not isinstance(value, (str, Path)):
                    raise UsageError(f"Expected camera to be a CameraProfile or a path. Received: {value!r:.80}")
                return read_profile(value)
        return super()._validated(name, value)

    def _require_conditioned(self) -> TensorSpec:
        """The tensor that takes a noise level. Raises UsageError if there is none."""
        if self._sigma is None:
            raise UsageError(f"{self.card.name} is not noise-conditioned: leave sigma_255 (--sigma) out")
        return self._sigma


def _has_equal_planes(bgr: NDArray[Any]) -> bool:
    """Whether a color frame is gray. A few of its pixels show of nearly every other frame that it is not."""
    if bgr.ndim == 2:
        return False
    return all((part == part[:, :, :1]).all() for part in (bgr[::16, ::16], bgr))


def _number(name: str, value: Any, low: float, high: float) -> float:
    """The value of a setting as a finite number within limits. Raises UsageError."""
    if not isinstance(value, Real):
        raise UsageError(f"Expected {name} to be a number. Received: {value!r}")
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not (math.isfinite(number) and low <= number <= high):
        limits = f"in [{low:g}, {high:g}]" if math.isfinite(high) else f"of at least {low:g}"
        raise UsageError(f"Expected {name} {limits}. Received: {value!s:.80}")
    return number


def _blend(frame: NDArray[Any], clean: NDArray[Any], luma: float, chroma: float) -> NDArray[Any]:
    """The frame, moved towards the clean one by a share of what they differ by in brightness, and in colour.

    Its parts are those of the difference, so that 1 and 1 give the clean frame, and 0 and 0 the frame.
    """
    if frame.ndim == 2 or luma == chroma:
        return clean if luma == 1 else cv2.addWeighted(clean, luma, frame, 1 - luma, 0)
    result = np.empty_like(clean)
    rows = max(1, _BAND_PIXELS // frame.shape[1])
    for top in range(0, len(frame), rows):
        band = frame[top : top + rows]
        removed = cv2.subtract(clean[top : top + rows], band, dtype=cv2.CV_32F)
        bright = cv2.cvtColor(cv2.transform(removed, _LUMA), cv2.COLOR_GRAY2BGR)
        # Halves are common: a bit more than one rounds alike in equal channels, however each was computed.
        change = cv2.addWeighted(removed, chroma, bright, luma - chroma, 1e-3)
        cv2.add(band, change, dst=result[top : top + rows], dtype=CV_DEPTHS[result.dtype])
    return result


def _tile_pixels(card: ModelCard, stated: int | None) -> int | None:
    """The most pixels that the model sees at once, as stated or by default; None: every frame whole."""
    least = least_tile_pixels(card.spatial)
    if stated is None:
        return None if least is None else max(TILE_PIXELS, least)
    if card.spatial.kind == "fixed":
        raise UsageError(f"{card.name} takes frames of one size: leave tile_pixels out")
    if least is None:
        raise UsageError(f"{card.name}'s card does not say how far it sees (spatial.halo): leave tile_pixels out")
    if not isinstance(stated, int) or isinstance(stated, bool) or stated < least:
        raise UsageError(f"Expected tile_pixels to be a whole number of at least {least}. Received: {stated!r}")
    return stated


def _tensor(card: ModelCard, side: Any) -> TensorSpec:
    spec = card.tensor("image", side)
    assert spec is not None  # the card was checked when it was built
    return spec
