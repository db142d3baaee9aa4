"""Train the noise estimator that comes with the runtime: `python -m quietframe_train.estimator PHOTOS`.

It learns on photographs with the noise and the formats that camera models train on, at levels that are known, and on
drawings and pages, which have none.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from quietframe.images import write_whole
from quietframe.noise import MAX_SIGMA_255
from quietframe.noise.estimate import READINGS, WEIGHTS, read_noise, to_answer, to_features
from quietframe.noise.formats import jpeg
from quietframe_train.camera_noise import CameraNoise, as_gray
from quietframe_train.data.photos import PhotoData, load_photos

_NOISE = CameraNoise(level_power=1.0, sensor_share=0.4, clean_share=0.0, gray_share=0.25, flat_share=0.03)
_EXAMPLES = 48_000
_SIDES = (160, 320)
_CLEAN_SHARE = 0.05
_DRAWN_SHARE = 0.04
_MIN_SIGMA_255 = 0.5
_HIDDEN = (32, 32)
_EPOCHS = 60
_BATCH = 64


def train_estimator(photos: str | Path, out: str | Path, *, examples: int = _EXAMPLES, seed: int = 0) -> float:
    """Train the estimator on photographs without visible noise and write its weights, an .npz file.

    examples: frames to learn from; a tenth of them only validates. seed: of the frames, their noise and the weights.
    Returns the median share by which it errs on the validation frames with a level above 2.
    Raises SourceError if there are no photographs.
    """
    found = load_photos(photos, validation_list=PhotoData.validation_list, validation_share=0.1)
    rng = np.random.default_rng(seed)
    readings, levels = _draw(found.training, examples - examples // 10, rng)
    held_readings, held_levels = _draw(found.validation, examples // 10, rng)
    keras.utils.set_random_seed(seed)
    features = to_features(readings)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    layers = [keras.layers.Dense(width, activation="relu") for width in _HIDDEN]
    model = keras.Sequential([keras.Input((READINGS,)), *layers, keras.layers.Dense(1)])
    steps = _EPOCHS * math.ceil(len(features) / _BATCH)
    model.compile(keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(3e-3, steps)), "mae")
    model.fit((features - mean) / deviation, to_answer(levels), batch_size=_BATCH, epochs=_EPOCHS, verbose=0)
    answers = model.predict((to_features(held_readings) - mean) / deviation, verbose=0)[:, 0]
    _write_weights(Path(out), model, mean, deviation)
    loud = held_levels > 2
    return float(np.median(np.abs(np.exp(answers - to_answer(held_levels)) - 1)[loud]))


def _draw(
    photos: Sequence[NDArray[np.uint8]], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw readings of noisy frames, (count, READINGS), and their levels, (count,)."""
    readings, levels = np.empty((count, READINGS), np.float32), np.empty(count, np.float32)
    for index in range(count):
        if rng.random() < _DRAWN_SHARE:
            readings[index], levels[index] = read_noise(draw_scene(int(rng.integers(*_SIDES)), rng)), 0.0
            continue
        # Levels up to a random greatest one: low ones are as hard as high ones, and come as often.
        max_sigma = math.exp(rng.uniform(math.log(_MIN_SIGMA_255), math.log(1.1 * MAX_SIGMA_255)))
        clean_share = float(rng.random() < _CLEAN_SHARE)
        noise = replace(_NOISE, max_sigma_255=max_sigma, clean_share=clean_share)
        photo = photos[int(rng.integers(len(photos)))]
        side = min(int(rng.integers(*_SIDES)), *(int(size * 0.6) for size in photo.shape[:2]))
        frame = noise.frame(photo, side, rng)
        readings[index], levels[index] = read_noise(frame.noisy), frame.sigma_255
    return readings, levels


def draw_scene(side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a scene or a page of text, (side, side, 3), as it is or compressed: edges and even areas, and no noise."""
    paper, ink = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
    plain = rng.random()
    frame = np.full((side, side, 3), 0 if plain < 1 / 3 else 255 if plain < 2 / 3 else paper, np.uint8)
    gray = rng.random() < 0.3
    thickness, scale = int(rng.integers(1, 4)), rng.uniform(0.3, 1.0)
    if rng.random() < 0.4:
        for row in range(int(rng.integers(0, 60)), side, int(rng.uniform(30, 60) * scale)):
            words = "".join(chr(letter) for letter in rng.integers(33, 123, 80))
            place = (int(rng.integers(-20, 40)), row)
            cv2.putText(frame, words, place, cv2.FONT_HERSHEY_SIMPLEX, scale, ink.tolist(), thickness, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 40))):
        colour = rng.integers(0, 256, 3).tolist()
        corners = rng.integers(-side // 4, side * 5 // 4, (int(rng.integers(3, 6)), 2), dtype=np.int32)
        if rng.random() < 0.6:
            cv2.fillPoly(frame, [corners], colour, cv2.LINE_AA)
        cv2.polylines(frame, [corners], True, ink.tolist(), thickness, cv2.LINE_AA)
    frame = as_gray(frame) if gray else frame
    return jpeg(frame, int(rng.integers(70, 98))) if rng.random() < 0.5 else frame


def _write_weights(path: Path, model: keras.Model, mean: NDArray[np.float32], deviation: NDArray[np.float32]) -> None:
    """Write the layers' weights, what the features are normalized with folded into the first."""
    arrays: dict[str, Any] = {}
    for index, layer in enumerate(model.layers):
        matrix, bias = (np.asarray(values, np.float32) for values in layer.get_weights())
        if index == 0:
            matrix = matrix / deviation[:, None]
            bias = bias - mean @ matrix
        arrays |= {f"matrix{index}": matrix, f"bias{index}": bias}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(path, buffer.getvalue())


@click.command()
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=WEIGHTS, help="The .npz file to write.")
@click.option("--examples", type=click.IntRange(min=100), default=_EXAMPLES, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def main(photos: Path, out: Path, examples: int, seed: int) -> None:
    """Train on PHOTOS and write the weights."""
    error = train_estimator(photos, out, examples=examples, seed=seed)
    click.echo(f"median error {error:.1%}; wrote {out}")


if __name__ == "__main__":
    main()
