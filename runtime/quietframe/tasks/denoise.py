"""Denoising: noisy frames in, clean frames of the same size out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, repeat
from numbers import Real
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.card import ModelCard, TensorSpec
from quietframe.engines import Engine
from quietframe.errors import ModelLoadError, UsageError
from quietframe.heap import keep_freed
from quietframe.images import check_frame
from quietframe.noise.estimate import estimate_noise
from quietframe.tasks.base import open_model, require_task
from quietframe.tasks.fit import TILE_PIXELS, Placement, is_resized, least_tile_pixels, place, shrink
from quietframe.tasks.tensors import decode_image, encode_image, encode_levels, level_tensor

Inputs = Mapping[str, NDArray[Any]]
Level = float | NDArray[np.float32]

_GRAY_TOLD = 1.4  # between 1 and the sqrt(3) by which noise that all colours share is stronger in brightness
_LUMA = np.array([[0.114, 0.587, 0.299]], np.float32)  # of BGR, as in JPEG
_BAND_PIXELS = 1 << 17  # blended at once: as floats they are small beside a large frame
_FRAMES_KEPT = 8  # of freed memory, half as many as `keep_freed` keeps: the frame, the result, what lies between


class Denoiser:
    """Denoises frames with a model file.

    A model that takes whole pictures of one size sees each frame resized to it; the result comes back at the frame's
    size, with no finer detail than the model's size holds (`sees_wh` tells).

    A model of any size sees a frame whole, or in tiles if it is larger than `tile_pixels`. They overlap so far that the
    result is the same, and memory no longer grows with the frame. Only a model whose card states its halo can do that.

    A gray frame goes through a colour model as three equal planes, and its noise is told to it as 1.4 times what it is:
    the model expects other noise in each colour, of which brightness would have less.

    Calling it is `finish(frame, map(engine.run, prepare(frame)))`: a tile is cut when its turn comes, and its result is
    put in place before the next one is cut.
    Threads may share one: the model runs for one of them at a time. The frame that is given is never changed.

    Args:
        model: a name from `quietframe models`, a path to a .tflite or .onnx file, or an engine.
        strength: below 1, the share of the result in a blend with the frame: so much of the noise is taken away, none
            of it at 0. Above 1, for models that are told the noise level, the factor on that level.
        sigma_255: the noise level in 8-bit levels, in place of an estimate for every frame.
        luma_strength, chroma_strength: the share of what is removed from the brightness, and from the colours, that is
            removed indeed, on top of `strength`; None: 1. Gray frames have brightness alone.
        threads: CPU threads; None: as many as there are physical cores.
        card: a card, or the JSON file of one, in place of the card in the file.
        tile_pixels: the most pixels that a model of any size sees at once; None: `fit.TILE_PIXELS`.

    Raises:
        ModelLoadError: the file cannot be used, or does not denoise.
        MissingExtraError: the engine for this file is not installed.
        UsageError: a strength, sigma_255, threads or tile_pixels out of range.
    """

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
    ) -> None:
        self.engine, self.card = open_model(model, threads=threads, card=card)
        require_task(self.card, "denoise")
        self._image_in = _tensor(self.card, "inputs")
        self._image_out = _tensor(self.card, "outputs")
        self._sigma = self.card.tensor("sigma", "inputs")
        self._check_level(strength, sigma_255)
        self.strength = strength
        self.sigma_255 = sigma_255
        self.luma_strength = _share("luma_strength", luma_strength)
        self.chroma_strength = _share("chroma_strength", chroma_strength)
        self._tile_pixels = _tile_pixels(self.card, tile_pixels)
        self._largest = 0

    def __call__(self, frame: NDArray[np.uint8], *, sigma_255: Level | None = None) -> NDArray[np.uint8]:
        """Denoise one frame.

        frame: (H, W, 3) uint8 BGR or (H, W) uint8 gray, any size. sigma_255: this frame's noise level in 8-bit
        levels, where the caller knows it; in place of the denoiser's own, or of an estimate. A model whose card states
        a map takes one level for each pixel, too: (H, W) float32, or (ceil(H / s), ceil(W / s)) at the map's stride s;
        where it also takes the map's mean, a frame in tiles has one mean for each tile.
        Returns the frame's shape and dtype. Raises FrameError if the array is not a frame, and UsageError for levels
        that the model does not take.
        """
        return self.finish(frame, map(self.engine.run, self.prepare(frame, sigma_255=sigma_255)))

    def level_255(self, frame: NDArray[np.uint8]) -> float | None:
        """The noise level that a frame has, in 8-bit levels: as stated, or else estimated; None if nobody asks."""
        if self._sigma is None:
            return None
        return estimate_noise(frame) if self.sigma_255 is None else self.sigma_255

    @property
    def is_told(self) -> bool:
        """Whether the model is told a noise level; else `strength` blends its result with the frame."""
        return self._sigma is not None

    @property
    def estimates(self) -> bool:
        """Whether the noise level is estimated: the model is told one, and none was stated."""
        return self._sigma is not None and self.sigma_255 is None

    @property
    def sees_wh(self) -> tuple[int, int] | None:
        """(width, height) that every frame is resized to and back; None if the model sees frames at their own size."""
        if not is_resized(self.card.spatial):
            return None
        height, width = self.card.spatial.size_hw or (1, 1)
        return width, height

    def fit(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame as the model sees it: resized where `sees_wh` says so, otherwise as it is.

        frame: (H, W, 3) or (H, W) uint8. Raises FrameError if the array is not a frame.
        """
        check_frame(frame)
        if self.sees_wh is None:
            return frame
        return next(self.placement(frame.shape[0], frame.shape[1]).cut(frame))

    def placement(self, height: int, width: int) -> Placement:
        """How frames of that size meet the model: whole, resized or in tiles."""
        return place(height, width, self.card.spatial, self._tile_pixels)

    def prepare(self, frame: NDArray[np.uint8], *, sigma_255: Level | None = None) -> Iterator[Inputs]:
        """What the engine is to run for a frame: the inputs of one or more runs, each made when asked for.

        Here the frame is checked, and its noise level estimated: once, however many runs there are.
        """
        check_frame(frame)
        if frame.nbytes > self._largest:
            self._largest = frame.nbytes
            keep_freed(_FRAMES_KEPT * frame.nbytes)
        if isinstance(sigma_255, np.ndarray) and sigma_255.ndim:
            sigma_255 = self._map(sigma_255, frame)
        level_255 = self.level_255(frame) if sigma_255 is None else sigma_255
        if level_255 is not None and frame.ndim == 2 and self._image_in.colour != "GRAY":
            level_255 = level_255 * _GRAY_TOLD
        sigma = self._in_range(level_255)
        placement = self.placement(frame.shape[0], frame.shape[1])
        info = self.engine.inputs[self._image_in.name]
        return (
            {self._image_in.name: encode_image(part, self._image_in, info), **level}
            for plane in self._planes(frame)
            for part, level in zip(placement.cut(plane), self._levels(sigma, placement), strict=False)
        )

    def finish(self, frame: NDArray[np.uint8], results: Iterable[Inputs]) -> NDArray[np.uint8]:
        """The denoised frame, from the frame and the engine's results for `prepare(frame)`, taken one by one."""
        placement = self.placement(frame.shape[0], frame.shape[1])
        parts = (self._decode(result, placement.part_hw) for result in results)
        clean = self._join(parts, placement, frame)
        of_all = min(self.strength, 1.0)
        return _blend(frame, clean, of_all * self.luma_strength, of_all * self.chroma_strength)

    def _planes(self, frame: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """The frame in the model's colours: a gray model takes a colour frame's channels one by one."""
        if self._image_in.colour != "GRAY":
            yield frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        elif frame.ndim == 2:
            yield frame
        else:
            yield from (cv2.extractChannel(frame, channel) for channel in range(3))

    def _decode(self, result: Inputs, part_hw: tuple[int, int]) -> NDArray[np.uint8]:
        name = self._image_out.name
        part = decode_image(result[name], self._image_out, self.engine.outputs[name])
        if part.shape[:2] != part_hw:
            raise ModelLoadError(
                f"{self.card.name}: the model made {part.shape[:2]} pixels of {part_hw}: a denoiser keeps the size"
            )
        return part

    def _join(
        self, parts: Iterator[NDArray[np.uint8]], placement: Placement, frame: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """Put the parts together and bring the result back to the frame's colours."""
        if self._image_in.colour == "GRAY" and frame.ndim == 3:
            return cv2.merge([placement.join(islice(parts, placement.count)) for _ in range(3)])
        clean = placement.join(parts)
        if clean.ndim == 3 and frame.ndim == 2:
            return cv2.cvtColor(clean, cv2.COLOR_BGR2GRAY)
        return clean

    def _map(self, levels_255: NDArray[Any], frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One level for each block of pixels, from one for each block or each pixel."""
        if self._sigma is None or self._sigma.layout == "N111":
            raise UsageError(
                f"{self.card.name} takes no map of noise levels: pass sigma_255 as a number, or leave it out"
            )
        stride, (height, width) = self._sigma.stride, frame.shape[:2]
        small_hw = -(-height // stride), -(-width // stride)
        is_map = levels_255.dtype.kind in "fiu" and levels_255.shape in ((height, width), small_hw)
        if not is_map or not np.isfinite(levels_255).all():
            raise UsageError(
                f"Expected sigma_255 to be a number, or finite levels of shape {(height, width)} or {small_hw}. "
                f"Received: {levels_255.dtype} of shape {levels_255.shape}"
            )
        levels_255 = levels_255.astype(np.float32, copy=False)
        return levels_255 if levels_255.shape == small_hw else shrink(levels_255, stride)

    def _in_range(self, level_255: Level | None) -> Level | None:
        """A level in the units of the card, as strong as stated, within the model's range; None if it takes none."""
        if self._sigma is None or level_255 is None:
            return None
        low, high = self._sigma.value_range
        sigma = level_255 * max(1.0, self.strength) / 255
        return np.clip(sigma, low, high) if isinstance(sigma, np.ndarray) else min(max(sigma, low), high)

    def _levels(self, sigma: Level | None, placement: Placement) -> Iterator[Inputs]:
        """What tells the model the noise level of each part of a frame, if it takes one."""
        if self._sigma is None or sigma is None:
            return repeat({})
        name, info = self._sigma.name, self.engine.inputs[self._sigma.name]
        if isinstance(sigma, np.ndarray):
            return ({name: encode_levels(part, self._sigma, info)} for part in placement.cut(sigma, self._sigma.stride))
        return repeat({name: level_tensor(sigma, self._sigma, info, placement.part_hw)})

    def _check_level(self, strength: float, sigma_255: float | None) -> None:
        for name, value in (("strength", strength), ("sigma_255", sigma_255)):
            if not isinstance(value, Real | None):
                raise UsageError(f"Expected {name} to be a number. Received: {value!r}")
        if self._sigma is None:
            if not 0 <= strength <= 1:
                raise UsageError(
                    f"Expected strength in [0, 1], as {self.card.name} is not told a noise level. Received: {strength}"
                )
            if sigma_255 is not None:
                raise UsageError(f"{self.card.name} is not told a noise level: leave sigma_255 (--sigma) out")
            return
        if not (math.isfinite(strength) and strength >= 0):
            raise UsageError(f"Expected strength of at least 0. Received: {strength}")
        greatest_255 = self._sigma.value_range[1] * 255
        if sigma_255 is not None and not 0 <= sigma_255 <= greatest_255 + 1e-6:
            raise UsageError(f"Expected sigma_255 in [0, {greatest_255:g}]. Received: {sigma_255}")


def _share(name: str, value: float | None) -> float:
    """A share of the removed noise, as stated or all of it."""
    if value is None:
        return 1.0
    if not isinstance(value, Real):
        raise UsageError(f"Expected {name} to be a number. Received: {value!r}")
    if not 0 <= value <= 1:
        raise UsageError(f"Expected {name} in [0, 1]. Received: {value}")
    return float(value)


def _blend(frame: NDArray[np.uint8], clean: NDArray[np.uint8], luma: float, chroma: float) -> NDArray[np.uint8]:
    """The frame, moved towards the clean one by a share of what they differ by in brightness, and in colour.

    Its parts are those of the difference, so that 1 and 1 give the clean frame, and 0 and 0 the frame.
    """
    if frame.ndim == 2 or luma == chroma:
        return clean if luma == 1 else cv2.addWeighted(clean, luma, frame, 1 - luma, 0)
    result = np.empty_like(clean)
    rows = max(1, _BAND_PIXELS // frame.shape[1])
    for top in range(0, len(frame), rows):
        band = np.ascontiguousarray(frame[top : top + rows])
        removed = cv2.subtract(clean[top : top + rows], band, dtype=cv2.CV_32F)
        bright = cv2.cvtColor(cv2.transform(removed, _LUMA), cv2.COLOR_GRAY2BGR)
        # Halves are common: a bit more than one rounds alike in equal channels, however each was computed.
        change = cv2.addWeighted(removed, chroma, bright, luma - chroma, 1e-3)
        cv2.add(band, change, dst=result[top : top + rows], dtype=cv2.CV_8U)
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
