"""Draw the moving image of the README: a noisy clip, the same denoised frame by frame, and as a video.

    python docs/research/moving_image.py OUT.webp

The camera stands still before the bundled photograph (NASA, public domain); a ball rolls by.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import quietframe as qf
from quietframe.assets import photo_bgr
from quietframe.demo import READ_255, SHOT_255
from quietframe.noise import add_shot_read

FRAMES, WARM_UP = 30, 12  # a video model has seen so many before the first one that is shown
TOP, LEFT, SIDE = 30, 90, 256


def scene(number: int) -> NDArray[np.uint8]:
    """A clean frame, (SIDE, SIDE, 3) uint8 BGR."""
    frame = photo_bgr()[TOP : TOP + SIDE, LEFT : LEFT + SIDE].copy()
    cv2.circle(frame, (12 * (number - WARM_UP) - 40, SIDE - 30), 18, (60, 120, 220), -1, cv2.LINE_AA)
    return frame


def labelled(frame: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Put a few words above a frame."""
    head = np.full((24, frame.shape[1], 3), 255, np.uint8)
    cv2.putText(head, text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    return cv2.vconcat([head, frame])


def main(path: str) -> None:
    """Draw it."""
    alone, video, rng = qf.Denoiser("camera-small"), qf.VideoDenoiser("video-small"), np.random.default_rng(0)
    shown = []
    for number in range(WARM_UP + FRAMES):
        noisy = add_shot_read(scene(number), SHOT_255, READ_255, rng)
        parts = {"noisy": noisy, "frame by frame: camera-small": alone(noisy), "as a video: video-small": video(noisy)}
        row = cv2.hconcat([labelled(frame, text) for text, frame in parts.items()])
        shown.append(Image.fromarray(cv2.cvtColor(row, cv2.COLOR_BGR2RGB)))
    shown[WARM_UP].save(
        path, save_all=True, append_images=shown[WARM_UP + 1 :], duration=66, loop=0, quality=70, method=6
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
