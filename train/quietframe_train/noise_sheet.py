"""Draws the noise that camera models train on, step by step: `python -m quietframe_train.noise_sheet OUT.jpg`."""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quietframe.assets import photo_bgr
from quietframe.images import Image, write_image
from quietframe.noise import add_gaussian, to_uint8
from quietframe_train import sensor
from quietframe_train.camera_noise import compress, flat_frame, smoothed

Panel = tuple[str, NDArray[np.uint8]]

_TOP_LEFT, _SIDE = (30, 150), 160
_SHOT, _READ = 6e-3, 1e-4
_SIGMA_255, _QUALITY, _SHRINK = 25.0, 60, 1.5
_SMOOTHED = {"radius": 0.9, "colour_radius": 3.0, "colour_share": 0.6, "gain": 2.0}
_COLUMNS = 5


def noise_panels(seed: int = 0) -> list[Panel]:
    """Each step on a part of the bundled photograph: (title, (height, width, 3) uint8 BGR)."""
    rng = np.random.default_rng(seed)
    top, left = _TOP_LEFT
    clean = np.ascontiguousarray(photo_bgr()[top : top + _SIDE, left : left + _SIDE])
    camera = sensor.random_sensor(rng)
    light = sensor.to_linear(clean)
    seen = sensor.to_sensor(light, camera)
    raw = sensor.mosaic(seen)
    noisy_raw = sensor.add_shot_read(raw, _SHOT, _READ, rng)
    colours = sensor.demosaic(noisy_raw)
    frame = sensor.to_display(sensor.from_sensor(colours, camera))
    developed = sensor.to_display(sensor.from_sensor(sensor.demosaic(raw), camera))
    blotches = smoothed(developed, frame, **_SMOOTHED)
    smaller = sensor.shrink(frame, round(_SIDE / _SHRINK))
    gray = cv2.cvtColor(cv2.cvtColor(clean, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    noisy_gray = np.broadcast_to(add_gaussian(gray[:, :, :1], _SIGMA_255, rng), gray.shape)
    return [
        ("photograph", clean),
        (f"add_gaussian: σ {_SIGMA_255:g}, 8 bits", add_gaussian(clean, _SIGMA_255, rng)),
        ("of a gray camera", noisy_gray),
        ("flat_frame, σ 25", add_gaussian(flat_frame(_SIDE, _SIDE, rng), _SIGMA_255, rng)),
        ("to_linear: light", _seen(light)),
        ("to_sensor: the camera's colours", _seen(seen)),
        ("mosaic: a colour a pixel", _mosaic_colours(raw)),
        (f"add_shot_read: {_SHOT:g}·x + {_READ:g}", _mosaic_colours(noisy_raw)),
        ("demosaic", _seen(colours)),
        ("from_sensor, to_display", frame),
        (f"shrink: {_SHRINK:g} times", smaller),
        (f"compress: JPEG of quality {_QUALITY}", compress(frame, _QUALITY)),
        ("smoothed: a camera's denoising", blotches),
        ("smoothed, compress", compress(blotches, _QUALITY)),
        (f"no noise, compress: {_QUALITY}", compress(clean, _QUALITY)),
    ]


def noise_figure(panels: list[Panel]) -> Figure:
    """The panels in rows of five."""
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(2.6 * _COLUMNS, 2.85 * rows), dpi=90, layout="constrained")
    for axes, (title, image) in zip(figure.subplots(rows, _COLUMNS).ravel(), panels, strict=False):
        axes.imshow(image[:, :, ::-1], interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.axis("off")
    return figure


def _seen(light: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Linear values as they are, without gamma: dark."""
    return to_uint8(255 * light)


def _mosaic_colours(raw: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A mosaic with each pixel in the colour of its filter."""
    shown = np.zeros((*raw.shape, 3), np.float32)
    for top, left, channel in ((0, 0, 2), (0, 1, 1), (1, 0, 1), (1, 1, 0)):
        shown[top::2, left::2, channel] = raw[top::2, left::2]
    return _seen(shown)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
def main(out: Path) -> None:
    """Draw the sheet and write it to OUT, in the format of its suffix."""
    canvas = FigureCanvasAgg(noise_figure(noise_panels()))
    canvas.draw()
    write_image(out, Image(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, 2::-1])))


if __name__ == "__main__":
    main()
