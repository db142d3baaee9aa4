"""Draw the steps from a photograph to a noisy frame in each format: `python docs/research/camera_noise.py OUT.jpg`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.assets import photo_bgr
from quietframe.noise.estimate import estimate_noise
from quietframe.noise.formats import FORMATS, Frame
from quietframe_train import sensor

SIDE, SCALE, COLUMNS = 96, 3, 4
SOFTNESS = 1.5
CAMERA = replace(
    sensor.random_sensor(np.random.default_rng(1)), shot=6e-3, read=1e-4, demosaic="malvar", hot_pixels=1e-3
)
PROCESSING = sensor.Processing(luma_radius=0.7, chroma_radius=2.5, chroma_share=0.7, gain=1.6, sharpening=(0.6, 1.0))


def panels(seed: int = 3) -> Iterator[tuple[str, Frame]]:
    """Yield the name and the frame of every step."""
    rng = np.random.default_rng(seed)
    small = round(SIDE / SOFTNESS)
    photo = photo_bgr()[20 : 20 + small, 190 : 190 + small]
    scene = cv2.resize(np.ascontiguousarray(photo), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    yield "scene", scene
    camera_light = sensor.to_sensor(scene, CAMERA)
    yield "light on the sensor", to_8bit(camera_light)
    raw = sensor.mosaic(camera_light)
    yield "raw mosaic", mosaic_colours(raw)
    noisy = sensor.add_noise(raw, CAMERA, np.random.default_rng(seed), rng)
    yield "shot, read noise, hot pixels", mosaic_colours(noisy)
    clean, frame = (sensor.from_sensor(sensor.demosaic(values, CAMERA), CAMERA) for values in (raw, noisy))
    yield "demosaiced, colours, tone", frame
    smooth = sensor.smooth_noise(clean, frame, PROCESSING)
    yield "the camera's denoising", smooth
    yield "its sharpening", sensor.sharpen(smooth, PROCESSING)
    yield "clean frame (target)", sensor.sharpen(clean, PROCESSING)
    for name, form in FORMATS.items():
        clip = sensor.photograph(scene, CAMERA, PROCESSING, rng, frames=form.frames)[1]
        yield name, form.deliver(clip)


def sheet() -> Frame:
    """Return all panels in rows, each with its name and the level that the estimator reads."""
    tiles = []
    for name, frame in panels():
        large = cv2.resize(frame, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST)
        tile = cv2.copyMakeBorder(large, 22, 4, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        level = f", level {estimate_noise(frame):.1f}" if name in FORMATS else ""
        cv2.putText(tile, name + level, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        tiles.append(tile)
    rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    return np.vstack(rows)


def to_8bit(light: NDArray[np.floating]) -> Frame:
    """Show linear light, brightened as eyes do."""
    return np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def mosaic_colours(raw: NDArray[np.float32]) -> Frame:
    """Show each pixel of an RGGB mosaic in its colour."""
    shown = np.zeros((*raw.shape, 3), np.float32)
    for channel, row, column in ((2, 0, 0), (1, 0, 1), (1, 1, 0), (0, 1, 1)):
        shown[row::2, column::2, channel] = raw[row::2, column::2]
    return to_8bit(shown)


if __name__ == "__main__":
    cv2.imwrite(sys.argv[1], sheet(), [cv2.IMWRITE_JPEG_QUALITY, 82])
