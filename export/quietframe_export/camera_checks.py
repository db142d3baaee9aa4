"""Check a camera denoiser on frames that show its artifacts: flat, slowly changing, clean and still ones.

The exporter runs these on each file as the runtime runs it, with the noise level estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from quietframe.card import ModelCard
from quietframe.engines import Engine
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe.tasks import Denoiser, open_denoiser
from quietframe_train.data.base import Sample

SIGMA_255 = 25.0
FLAT_LEVELS = (64, 128, 192)
_MIDDLE = 128
_FRAMES = 4
_SCENES, _STILL_FRAMES = 4, 16
_SIDE = 320
_GRADIENT_WH = (640, 160)
_GRADIENT_LEVELS = (64.0, 192.0)
FAINT_GROUP = "sigma 5"

_Denoise: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

_MAX_SHIFT_255 = 0.5
_MAX_RESIDUAL_255 = 2.0
_MAX_PATTERN_255 = 0.25
_MAX_BANDING_255 = 0.5  # 8 bits alone make 0.29 of a slope
_MIN_CLEAN_DB = 42.0
_MIN_FAINT_GAIN_DB = 1.5
_MIN_MEMORY_GAIN_DB = 2.0


@dataclass(frozen=True)
class Check:
    """A measured figure with its unit, and its limit: the greatest value allowed, or the least where `at_least`."""

    name: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """Return whether the value is within its limit; a NaN is not."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.2f}, {self.limit:g} {'needed' if self.at_least else 'allowed'}"


def is_camera(card: ModelCard) -> bool:
    """Return whether a model is one for camera frames: colour, any size, conditioned on the noise level."""
    spec = card.tensor("image", "outputs")
    return card.conditioning == "sigma" and card.spatial.kind == "any" and spec is not None and spec.channels == 3


def check_camera(model: str | Path | Engine, card: ModelCard, samples: Sequence[Sample]) -> tuple[Check, ...]:
    """Run a camera denoiser on flat, slowly changing, clean and still frames, from the held-out `samples`."""
    denoiser = open_denoiser(model, card=card)

    def denoise(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        denoiser.reset()
        return denoiser(frame)

    rng = np.random.default_rng(0)
    clean = [sample.clean for sample in samples if sample.group == FAINT_GROUP and sample.clean is not None]
    return (
        *_check_flat(denoise, card.spatial.multiple, rng),
        Check(f"gradient, sigma {SIGMA_255:g}: banding, levels", _banding_255(denoise, rng), _MAX_BANDING_255),
        *_check_photographs(denoise, samples),
        *(_check_memory(denoiser, clean[:_SCENES], rng) if card.has_state and clean else ()),
    )


def _check_flat(denoise: _Denoise, multiple: int, rng: np.random.Generator) -> Iterator[Check]:
    """Measure residual noise, bias and fixed patterns on flat gray frames with noise."""
    errors = []  # for each level (frames, side, side, 3)
    for level in FLAT_LEVELS:
        frame = np.full((_SIDE, _SIDE, 3), level, np.uint8)
        results = [denoise(add_gaussian(frame, SIGMA_255, rng)) for _ in range(_FRAMES)]
        errors.append(np.stack(results).astype(np.float32) - level)
    means = np.array([of_level.mean(axis=(0, 1, 2)) for of_level in errors])  # (levels, channels)
    residual = max(float(of_level.std(axis=(1, 2)).max()) for of_level in errors)
    pattern = max(_pattern_255(of_level, multiple) for of_level in errors)
    name = f"flat, sigma {SIGMA_255:g}"
    middle = FLAT_LEVELS.index(_MIDDLE)
    for where, some in (("middle gray", means[middle : middle + 1]), ("dark and bright", np.delete(means, middle, 0))):
        yield Check(f"{name}, {where}: shift of the mean, levels", float(np.abs(some).max()), _MAX_SHIFT_255)
        yield Check(f"{name}, {where}: colour shift, levels", float(np.ptp(some, axis=1).max()), _MAX_SHIFT_255)
    yield Check(f"{name}: residual deviation, levels", residual, _MAX_RESIDUAL_255)
    yield Check(f"{name}: fixed pattern, levels", pattern, _MAX_PATTERN_255)


def _pattern_255(errors: NDArray[np.float32], period: int) -> float:
    """Measure the deviation of the pattern that repeats every `period` pixels, the coarsest grid of such a model.

    errors: (frames, height, width, 3).
    """
    height, width = (size // period * period for size in errors.shape[1:3])
    whole = errors[:, :height, :width].mean(axis=0)
    folded = whole.reshape(height // period, period, width // period, period, -1).mean(axis=(0, 2))
    return float((folded - folded.mean(axis=(0, 1))).std(axis=(0, 1)).max())


def _banding_255(denoise: _Denoise, rng: np.random.Generator) -> float:
    """Measure the deviation of the mean error along a slow slope; steps in it are bands."""
    width, height = _GRADIENT_WH
    slope = np.linspace(*_GRADIENT_LEVELS, width, dtype=np.float32)
    frame = np.broadcast_to(np.rint(slope).astype(np.uint8)[None, :, None], (height, width, 3))
    results = [denoise(add_gaussian(frame, SIGMA_255, rng)) for _ in range(_FRAMES)]
    error = np.stack(results).mean(axis=(0, 1)) - slope[:, None]  # (width, 3)
    return float(error.std(axis=0).max())


def _check_photographs(denoise: _Denoise, samples: Sequence[Sample]) -> Iterator[Check]:
    faint = [sample for sample in samples if sample.group == FAINT_GROUP and sample.clean is not None]
    if not faint:
        return
    clean = [sample.clean for sample in faint if sample.clean is not None]
    changed = [psnr_db(frame, denoise(frame)) for frame in clean]
    gains = [
        psnr_db(reference, denoise(sample.frame)) - psnr_db(reference, sample.frame)
        for reference, sample in zip(clean, faint, strict=True)
    ]
    yield Check("clean frames: PSNR to what went in, dB", float(np.mean(changed)), _MIN_CLEAN_DB, at_least=True)
    yield Check(f"{FAINT_GROUP}: gain, dB", float(np.mean(gains)), _MIN_FAINT_GAIN_DB, at_least=True)


def _check_memory(denoiser: Denoiser, scenes: Sequence[NDArray[np.uint8]], rng: np.random.Generator) -> Iterator[Check]:
    """Measure what a video model gains on still scenes by what it remembers."""
    gains = []
    for scene in scenes:
        denoiser.reset()
        values = [psnr_db(scene, denoiser(add_gaussian(scene, SIGMA_255, rng))) for _ in range(_STILL_FRAMES)]
        gains.append(values[-1] - values[0])
    name = f"still, sigma {SIGMA_255:g}: gain of the {_STILL_FRAMES}th frame over the first, dB"
    yield Check(name, float(np.mean(gains)), _MIN_MEMORY_GAIN_DB, at_least=True)
