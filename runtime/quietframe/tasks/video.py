"""Denoise the frames of a video in their order: what was seen before is remembered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import RLock
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.camera import CameraProfile
from quietframe.card import ModelCard, TensorSpec
from quietframe.engines import Engine
from quietframe.errors import UsageError
from quietframe.images import check_frame
from quietframe.tasks.base import Color, Inputs, open_model
from quietframe.tasks.denoise import Denoiser, Level
from quietframe.tasks.fit import Placement
from quietframe.tasks.motion import MotionEstimator, at_size, warp
from quietframe.tasks.tensors import dequantize, encode_image, encode_levels, quantize

MAX_CONFIDENCE = 23 / 24
"""Greatest confidence in the past: it weighs at most as much as 23 frames, and so forgets."""


class _Memory:
    """What is kept of one plane.

    Nothing of it changes before a frame is done: one that fails is not remembered.

    Attributes:
        clean: a copy of the last result.
        state: (H, W, 3) or (H, W) float32, the mean of what was seen, where the scene is now.
        confidence: (H / 2, W / 2) float32, rounded up, likewise; 0: there is nothing before.
        passed: of models that make their state themselves, the tensors for the next frame, part by part.
    """

    def __init__(self, plane: NDArray[np.uint8]) -> None:
        self.clean: NDArray[Any] = plane.copy()
        self.passed: list[dict[str, NDArray[Any]]] = []
        # Fresh memory of this size costs more than what is computed in it.
        self._kept, self._spare = plane.astype(np.float32), np.empty(plane.shape, np.float32)
        self._weight, self._seen = np.empty_like(self._kept), plane.copy()
        self._flow = np.empty((*plane.shape[:2], 2), np.float32)
        self._kept_confidence = np.zeros((-(-plane.shape[0] // 2), -(-plane.shape[1] // 2)), np.float32)
        self.state, self.confidence = self._kept, self._kept_confidence

    def move(self, flow: NDArray[np.float32] | None) -> None:
        """Move what was seen to where it is in the next frame, along a flow of `MotionEstimator`; None: it stays."""
        self.state, self.confidence = self._kept, self._kept_confidence
        if flow is not None:
            size_hw = self.state.shape[:2]
            whole = at_size(flow, size_hw, out=self._flow)
            self.state = warp(self._kept, whole, self._spare, scratch=whole)
            self.confidence = warp(self._kept_confidence, at_size(flow, size_hw, 2))

    def seen(self) -> NDArray[np.uint8]:
        """Return the state in 8 bits, for the model; overwritten by the next call."""
        return cv2.convertScaleAbs(self.state, dst=self._seen)

    def fuse(self, plane: NDArray[np.uint8], weight: NDArray[np.float32]) -> None:
        """Average a frame and the state. In 8 bits a mean of many frames would no longer move.

        weight: of the state, (H / 2, W / 2) float32, rounded up.
        """
        self._kept_confidence = next_confidence(self.confidence, weight)
        weights = cv2.merge([weight] * 3) if plane.ndim == 3 else weight
        each = cv2.resize(weights, plane.shape[1::-1], dst=self._weight, interpolation=cv2.INTER_NEAREST)
        free = self._spare if self.state is self._kept else self._kept
        difference = cv2.subtract(self.state, plane, dst=free, dtype=cv2.CV_32F)
        np.multiply(difference, each, out=difference)
        self._kept, self._spare = cv2.add(difference, plane, dst=free, dtype=cv2.CV_32F), self.state
        self.move(None)


class VideoDenoiser(Denoiser):
    """Denoises the frames of a video with a model that remembers: one `VideoDenoiser` for each video.

    Every call takes the next frame. A frame of another size or type begins anew, and so does one that shows something
    else than the frame before. A frame that was dropped does no harm.

    Arguments and errors as of `Denoiser`, and:

    Args:
        align: move what was seen before along with the scene, by optical flow; False: for a camera that stands still.

    Attributes:
        fused: the weight of the frames before in the last result, in [0, 1), the mean over the frame; None before the
            first one, and of a model that makes its state itself.
    """

    _HAS_STATE: ClassVar[bool] = True
    _SETTINGS: ClassVar[tuple[str, ...]] = (*Denoiser._SETTINGS, "align")
    align: bool

    def __init__(
        self,
        model: str | Path | Engine = "video",
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
        align: bool = True,
    ) -> None:
        super().__init__(
            model,
            strength=strength,
            sigma_255=sigma_255,
            luma_strength=luma_strength,
            chroma_strength=chroma_strength,
            threads=threads,
            card=card,
            tile_pixels=tile_pixels,
            color=color,
            camera=camera,
        )
        self.align = align
        self.fused: float | None = None
        self._memories: dict[int, _Memory] = {}
        self._motion = MotionEstimator()
        self._shape: tuple[int, ...] | None = None
        self._lock = RLock()

    @property
    def keeps_16bit(self) -> bool:
        """False: what is seen before is kept of 8-bit frames."""
        return False

    def reset(self) -> None:
        """Forget the frames before: the next one begins a video."""
        with self._lock:
            self._memories.clear()
            self.fused = None

    def _validated(self, name: str, value: Any) -> Any:
        if name == "align" and not isinstance(value, bool):
            raise UsageError(f"Expected align to be True or False. Received: {value!r}")
        return super()._validated(name, value)

    def __call__(self, frame: NDArray[Any], *, sigma_255: Level | None = None) -> NDArray[Any]:
        """Denoise the next frame. See `Denoiser`."""
        with self._lock:
            check_frame(frame, alpha=True)
            if frame.shape != self._shape:
                self.reset()
                self._shape = frame.shape
            return super().__call__(frame, sigma_255=sigma_255)

    def prepare(self, frame: NDArray[Any], *, sigma_255: Level | None = None) -> Iterator[Inputs]:
        """Prepare what the engine is to run for the next frame, which is not remembered. See `Denoiser`."""
        bgr, _ = self._checked(frame)
        sigma, placement = self._level(bgr, sigma_255), self.placement(bgr.shape[0], bgr.shape[1])
        for number, plane in enumerate(self._planes(bgr)):
            states = self._states(self._recalled(number, plane, sigma), placement)
            for inputs, state in zip(self._encode(plane, sigma, placement), states, strict=True):
                yield {**inputs, **state}

    def _run(self, number: int, plane: NDArray[Any], sigma: Level | None, placement: Placement) -> NDArray[Any]:
        memory = self._recalled(number, plane, sigma)
        parts, weights, passed = [], [], []
        states = self._states(memory, placement)
        for inputs, state in zip(self._encode(plane, sigma, placement), states, strict=True):
            result = self.engine.run({**inputs, **state})
            parts.append(self._decode(result, placement.part_hw, plane.dtype))
            weights += self._weights(result, placement)
            passed.append(self._passed(result))
        clean = placement.join(parts)
        np.copyto(memory.clean, clean)  # the caller may write to the result
        memory.passed = passed
        if weights:
            weight = placement.join(weights)[::2, ::2] * np.float32(1 / 255)
            memory.fuse(plane, weight)
            self.fused = float(cv2.mean(weight)[0])
        self._memories[number] = memory
        return clean

    def _recalled(self, number: int, plane: NDArray[Any], sigma: Level | None) -> _Memory:
        """What is known when a frame comes, moved to where the scene is now."""
        memory = self._memories.get(number)
        if memory is not None and memory.clean.shape == plane.shape:
            if not self.align or memory.passed[0]:
                memory.move(None)
                return memory
            level_255 = 0.0 if sigma is None else 255 * float(np.mean(sigma))
            motion = self._motion(plane, memory.clean, level_255)
            if not motion.is_cut:
                memory.move(motion.flow)
                return memory
        return _Memory(plane)

    def _states(self, memory: _Memory, placement: Placement) -> Sequence[Inputs]:
        """The model's further inputs for each part."""
        specs = [spec for spec in self.card.inputs if spec.role == "state"]
        confidence = self.card.tensor("confidence", "inputs")
        if confidence is None:
            return memory.passed or [{spec.name: self._start(spec, placement) for spec in specs}] * placement.count
        (state,) = specs
        infos = self.engine.inputs
        return [
            {
                state.name: encode_image(part, state, infos[state.name]),
                confidence.name: encode_levels(known, confidence, infos[confidence.name]),
            }
            for part, known in zip(placement.cut(memory.seen()), placement.cut(memory.confidence, 2), strict=True)
        ]

    def _start(self, spec: TensorSpec, placement: Placement) -> NDArray[Any]:
        height, width = (length // spec.stride for length in placement.part_hw)
        shape = (1, height, width, spec.channels) if spec.layout == "NHWC" else (1, spec.channels, height, width)
        return quantize(np.full(shape, spec.start, np.float32), self.engine.inputs[spec.name])

    def _weights(self, result: Inputs, placement: Placement) -> list[NDArray[np.uint8]]:
        """The weight of the state in the new one, at the size of a part, in 255ths; none where the model has none."""
        spec = self.card.tensor("weight", "outputs")
        if spec is None:
            return []
        weight = self._image_of(result[spec.name], spec)
        return [cv2.resize(weight, placement.part_hw[::-1], interpolation=cv2.INTER_NEAREST)]

    def _passed(self, result: Inputs) -> dict[str, NDArray[Any]]:
        """The states for the next frame, as the inputs hold them."""
        passed = {}
        for spec in self.card.outputs:
            if spec.role == "state" and spec.feeds is not None:
                given, taken = self.engine.outputs[spec.name], self.engine.inputs[spec.feeds]
                same = (
                    given.dtype == taken.dtype and given.scale == taken.scale and given.zero_point == taken.zero_point
                )
                values = result[spec.name]
                passed[spec.feeds] = values.copy() if same else quantize(dequantize(values, given), taken)
        return passed


def open_denoiser(model: str | Path | Engine, **options: Any) -> Denoiser:
    """Open a model as what it is, a `VideoDenoiser` if it remembers. Arguments and errors as of both."""
    engine, card = open_model(model, threads=options.get("threads"), card=options.get("card"))
    kind = VideoDenoiser if card.has_state else Denoiser
    return kind(engine, **{**options, "card": card})


def next_confidence(confidence: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Calculate the confidence in a state that a frame was fused into.

    confidence: in the state before, 1 / (1 + v) for noise of v times the variance of a frame's. weight: of that state
    in the new one, at most `confidence`. Any shape, float32 in [0, 1); the same returned.
    """
    v = (1 - weight) ** 2 + weight * weight * (1 - confidence) / np.maximum(confidence, np.float32(1e-3))
    return np.minimum(1 / (1 + v), np.float32(MAX_CONFIDENCE))
