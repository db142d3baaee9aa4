"""Draw the figures of a run folder: how the loss fell, and what the model does to a few images."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from quietframe.images import write_whole
from quietframe.noise import add_gaussian, to_uint8
from quietframe.quality import psnr_db
from quietframe_train.camera_noise import middle
from quietframe_train.clips import ClipNoise
from quietframe_train.data.images import ImageSet
from quietframe_train.evaluate import NOISE_SEED, noisy_images, open_trained, predict, split_outputs
from quietframe_train.recipe import Recipe

BLUE, ORANGE, RED, GRAY = "#1f6fb4", "#e07b1a", "#c62828", "#555555"
_COLUMNS = 12
_SMALL = 64  # side in pixels; larger images get larger cells, and fewer of them
_PHOTO_SIDE, _PHOTO_SIGMA_255, _PHOTO_COUNT = 192, 25.0, 5
_CLIP_FRAMES = 16
_METRIC_NAMES = {"psnr_db": "PSNR (dB)", "accuracy": "accuracy"}


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    write_whole(path, buffer.getvalue())


def loss_figure(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw loss and metric of training and validation by epoch; further phases have losses of another kind."""
    names = [name for name in _METRIC_NAMES if name in rows[0]]
    figure = Figure(figsize=(5.2 * (1 + len(names)), 3.6), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=11)
    epochs = range(1, len(rows) + 1)
    for axes, name in zip(figure.subplots(1, 1 + len(names), squeeze=False)[0], ["loss", *names], strict=True):
        for key, label, colour in ((name, "training", BLUE), (f"val_{name}", "validation", ORANGE)):
            drawn = [name != "loss" or row["phase"] == rows[0]["phase"] for row in rows]
            values = [row.get(key, np.nan) if shown else np.nan for row, shown in zip(rows, drawn, strict=True)]
            axes.plot(epochs, values, color=colour, label=label, marker="o" if len(rows) < 25 else None, markersize=3)
        axes.set(xlabel="epoch", ylabel=_METRIC_NAMES.get(name, name))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def denoised_figure(model: keras.Model, recipe: Recipe, test: ImageSet, classes: Sequence[str]) -> Figure:
    """Draw clean, noisy and denoised images; below those of a model that also classifies, what it took them for."""
    columns, cell = (_COLUMNS, 0.8) if test.images.shape[1] <= _SMALL else (_COLUMNS // 2, 1.6)
    few = test.chosen(slice(columns))
    rows: dict[str, NDArray[np.uint8]] = {"clean": few.images}
    taken: dict[str, NDArray[np.int64]] = {}
    for noise in recipe.measured_with:
        noisy = noisy_images(few, noise)
        denoised, scores = split_outputs(recipe, predict(model, noisy))
        after = f"{noise.key}\ndenoised"
        rows |= {noise.key: to_uint8(255 * noisy), after: to_uint8(255 * np.asarray(denoised))}
        if scores is not None:
            taken[after] = scores.argmax(axis=1)
    figure = Figure(figsize=(cell * columns + 1.3, cell * len(rows) + 0.4), dpi=110, layout="constrained")
    figure.suptitle(f"{recipe.name}: images of the test set", fontsize=11)
    padding = [None] * (columns - len(few))
    grid = _grid(figure, len(rows), columns, [image for images in rows.values() for image in (*images, *padding)])
    for cells, label in zip(grid, rows, strict=True):
        cells[0].set_ylabel(label.rpartition("\n")[2], rotation=0, ha="right", va="center", fontsize=9)
        for axes, found, true in zip(cells, taken.get(label, ()), few.labels, strict=False):
            axes.set_xlabel(classes[found], fontsize=9, labelpad=1, color=GRAY if found == true else RED)
    return figure


def classified_figure(model: keras.Model, recipe: Recipe, test: ImageSet, classes: Sequence[str]) -> Figure:
    """Draw three rows from the start of the test set, then the first mistakes in it, in red."""
    predicted = predict(model, test.scaled())[0].argmax(axis=1)
    mistakes = np.flatnonzero(predicted != test.labels)[: 2 * _COLUMNS]
    blocks = [("the first of the test set", np.arange(min(3 * _COLUMNS, len(test))))]
    if len(mistakes):
        blocks.append(("its first mistakes: class → taken for", mistakes))
    heights = [-(-len(indices) // _COLUMNS) for _, indices in blocks]
    figure = Figure(figsize=(0.85 * _COLUMNS, 1.12 * sum(heights) + 0.4 * len(blocks)), dpi=110, layout="constrained")
    parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, height, (title, indices) in zip(parts, heights, blocks, strict=True):
        part.suptitle(title, fontsize=10)
        grid = _grid(part, height, _COLUMNS, test.images[indices])
        for axes, found, true in zip(grid.ravel(), predicted[indices], test.labels[indices], strict=False):
            text = classes[found] if found == true else f"{classes[true]} → {classes[found]}"
            axes.set_title(text, fontsize=9, color=GRAY if found == true else RED, pad=2)
            axes.spines[:].set(visible=found != true, color=RED, linewidth=2)
    return figure


def photos_figure(model: keras.Model, recipe: Recipe, photos: Sequence[NDArray[np.uint8]]) -> Figure:
    """Draw the middles of photographs clean, noisy and denoised."""
    clean = [middle(photo, _PHOTO_SIDE) for photo in photos[:_PHOTO_COUNT]]
    rngs = [np.random.default_rng((NOISE_SEED, column)) for column in range(len(clean))]
    noisy = [add_gaussian(photo, _PHOTO_SIGMA_255, rng) for photo, rng in zip(clean, rngs, strict=True)]
    denoise = open_trained(model, recipe)
    denoised = [denoise(photo, sigma_255=_PHOTO_SIGMA_255) for photo in noisy]
    return _frames_figure(f"{recipe.name}: validation photographs", clean, noisy, denoised)


def clips_figure(model: keras.Model, recipe: Recipe, photos: Sequence[NDArray[np.uint8]]) -> Figure:
    """Draw the last frames of clips, still and moving ones by turns, clean, noisy and denoised."""
    clean, noisy, denoised = [], [], []
    denoise = open_trained(model, recipe)
    for column in range(_PHOTO_COUNT):
        rng = np.random.default_rng((NOISE_SEED, column))
        kind = replace(cast(ClipNoise, recipe.noise), still_share=float(column % 2 == 0), cut_share=0.0)
        scene = kind.scene(photos, _CLIP_FRAMES, rng)
        frames = [add_gaussian(frame, _PHOTO_SIGMA_255, rng) for frame in scene]
        clean.append(scene[-1])
        noisy.append(frames[-1])
        denoise.reset()
        denoised.append([denoise(frame) for frame in frames][-1])
    return _frames_figure(f"{recipe.name}: frame {_CLIP_FRAMES} of validation clips", clean, noisy, denoised)


def _frames_figure(
    title: str,
    clean: Sequence[NDArray[np.uint8]],
    noisy: Sequence[NDArray[np.uint8]],
    denoised: Sequence[NDArray[np.uint8]],
) -> Figure:
    figure = Figure(figsize=(2.1 * len(clean) + 0.6, 6.9), dpi=110, layout="constrained")
    figure.suptitle(f"{title}, noise of σ {_PHOTO_SIGMA_255:g} (of 255)", fontsize=11)
    grid = _grid(figure, 3, len(clean), [*clean, *noisy, *denoised])
    for cells, label, images in zip(grid, ("clean", "noisy", "denoised"), (clean, noisy, denoised), strict=True):
        cells[0].set_ylabel(label, fontsize=10)
        for axes, reference, image in zip(cells, clean, images, strict=True):
            if image is not reference:
                axes.set_title(f"{psnr_db(reference, image):.1f} dB", fontsize=9, color=GRAY, pad=2)
    return figure


def _grid(figure: Any, rows: int, columns: int, images: Iterable[NDArray[np.uint8] | None]) -> NDArray[Any]:
    """Fill the cells of a grid with images, row by row; return their axes."""
    grid: NDArray[Any] = figure.subplots(rows, columns, squeeze=False)
    for axes, image in zip_longest(grid.ravel(), images):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if image is not None:
            axes.imshow(image[:, :, ::-1], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    return grid
