"""Try a model file of any size: which multiple of height and width it needs, and how far a pixel is seen."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe.card import ModelCard
from quietframe.engines import Engine
from quietframe.tasks import Denoiser

_MULTIPLES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
_FACTORS = (5, 7, 11, 17, 25, 35, 65)
"""Without the divisors 2 and 3, so that a frame's sides are multiples of no other of `_MULTIPLES` by chance."""
_LEAST_SIDE = 65
_HALO_SIDE = 128
_FRAMES = 4
"""For the halo: in 8 bits, a pixel that is far away changes the result of some frames and not of others."""


def multiple_and_halo(engine: Engine, card: ModelCard) -> tuple[int, int] | None:
    """Run a denoiser of any size on small frames of noise.

    The multiple is the least of those tried (2^N and 3 · 2^N) at which the result has the frame's size. The halo is the
    least distance beyond which no pixel changes the result of a block in the middle; 0: there is none.

    card: with `spatial.kind` "any". Returns None if the model runs at none of the multiples.
    """
    for multiple in _MULTIPLES:
        factor = next(factor for factor in _FACTORS if factor * multiple >= _LEAST_SIDE)
        denoise = _denoiser(engine, card, multiple)
        try:
            denoise(_noise(factor * multiple, denoise, seed=0))
        except Exception:  # noqa: BLE001  engines that are not the runtime's raise what they like
            continue
        return multiple, _halo(denoise, multiple)
    return None


def _denoiser(engine: Engine, card: ModelCard, multiple: int) -> Denoiser:
    card = replace(card, spatial=replace(card.spatial, multiple=multiple))
    return Denoiser(engine, card=card, sigma_255=25 if card.conditioning == "sigma" else None)


def _noise(side: int, denoise: Denoiser, *, seed: int) -> NDArray[np.uint8]:
    gray = all(spec.colour == "GRAY" for spec in denoise.card.inputs if spec.role == "image")
    return np.random.default_rng(seed).integers(0, 256, (side, side) if gray else (side, side, 3), np.uint8)


def _halo(denoise: Denoiser, multiple: int) -> int:
    side = multiple * math.ceil(_HALO_SIDE / multiple)
    begin = side // 2 // multiple * multiple
    frames = [_noise(side, denoise, seed=seed) for seed in range(_FRAMES)]
    spec = next(spec for spec in denoise.card.outputs if spec.role == "image")
    block = tuple(slice(begin, begin + multiple) if axis in "HW" else slice(None) for axis in spec.layout)

    def result(frame: NDArray[np.uint8]) -> NDArray[Any]:
        (inputs,) = denoise.prepare(frame)
        return denoise.engine.run(inputs)[spec.name][block]

    expected = [result(frame) for frame in frames]

    def suffices(halo: int) -> bool:
        near = slice(begin - halo, begin + multiple + halo)
        for frame, unchanged in zip(frames, expected, strict=True):
            changed = np.bitwise_not(frame)
            changed[near, near] = frame[near, near]
            if not np.array_equal(result(changed), unchanged):
                return False
        return True

    return bisect_left(range(begin), True, key=suffices) % begin
