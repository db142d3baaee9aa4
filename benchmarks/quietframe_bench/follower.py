"""The measuring process's end of `quietframe_bench.video_quality`: a model follows a video frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quietframe import Denoiser, estimate_noise
from quietframe.images import read_image
from quietframe.noise import add_gaussian
from quietframe.quality import flicker_255, psnr_db


class Follower:
    """Denoises the frames of videos, and compares each with the clean one and with the frame before.

    Args:
        model: the file; None: judge the noisy frames themselves.
    """

    def __init__(self, model: str | None) -> None:
        self._denoise = None if model is None else Denoiser(model)
        self._before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None

    def follow(self, *, image: str, sigma_255: float, seed: Sequence[int], begins: bool) -> dict[str, float]:
        """Add noise to a clean frame, denoise it and compare.

        Args:
            image: the clean frame's file.
            sigma_255: the level of the white noise to add, in 8-bit levels.
            seed: of the noise.
            begins: a video begins with this frame.

        Returns `psnr_db`; `flicker_255`, but for a video's first frame; `estimated_sigma_255` without a model.
        Raises SourceError if the file cannot be read, FrameError if a frame is not as large as the one before.
        """
        before, self._before = None if begins else self._before, None
        clean = read_image(image).pixels
        noisy = add_gaussian(clean, sigma_255, np.random.default_rng(seed))
        now = clean, noisy if self._denoise is None else self._denoise(noisy)
        figures = {"psnr_db": psnr_db(*now)}
        if before is not None:
            figures["flicker_255"] = flicker_255(before, now)
        if self._denoise is None:
            figures["estimated_sigma_255"] = estimate_noise(noisy)
        self._before = now
        return figures
