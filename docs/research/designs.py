"""Draw what the write-ups of the published designs show of a training, for one run of `quietframe train` or several.

    python docs/research/designs.py runs/color-autoencoder-10-epochs runs/color-autoencoder -o designs/

Writes into the folder, for each run: NAME.txt, with the layers, the hyperparameters and the loss in training,
validation and test; NAME-architecture.png; NAME-grid-20.png and NAME-grid-27.png, test images noisy and denoised. For
all of them, which must have the same data: images.png, one test image of each class, or the first ones, with the RMSE
of each image and run, side by side.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

import quietframe_train.layers  # noqa: F401  registers our layers
from quietframe.noise import to_uint8
from quietframe.serde import to_record
from quietframe_train import Run, load_run
from quietframe_train.data.images import ImageSet
from quietframe_train.evaluate import noisy_images, predict
from quietframe_train.figures import save_figure

GRIDS = {20: (4, 5), 27: (3, 9)}
FIRST = 5
"""Images of a set without classes."""
LOSSES = {"binary_crossentropy": "bce", "mse": "mse"}


def main() -> None:
    """Read the command line and write everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    columns = {}
    for folder in arguments.runs:
        run, name = load_run(folder), folder.resolve().name
        model = keras.models.load_model(run.model_path, compile=False)
        test = run.recipe.data.load(run.data_path, run.recipe, seed=run.seed, limit=run.limit).test
        (arguments.out / f"{name}.txt").write_text("\n".join(describe(run, model)) + "\n")
        save_figure(architecture(model, name), arguments.out / f"{name}-architecture.png")
        for count, shape in GRIDS.items():
            few = test.chosen(slice(count))
            save_figure(grids(*denoise(run, model, few), shape, name), arguments.out / f"{name}-grid-{count}.png")
        chosen = test.chosen(one_of_each(test))
        columns[name] = (chosen, *denoise(run, model, chosen))
    save_figure(side_by_side(columns), arguments.out / "images.png")


def describe(run: Run, model: keras.Model) -> Iterator[str]:
    """List the layers, the hyperparameters and the losses."""
    lines: list[str] = []
    model.summary(print_fn=lines.append, line_length=100, expand_nested=True)
    yield from lines
    yield "\nHyperparameters"
    recipe = to_record(run.recipe)
    for key in ("noise", "phases", "dtype_policy"):
        yield f"{key}: {json.dumps(recipe[key], ensure_ascii=False)}"
    yield f"training images: {run.metrics['training_images']}, validation: {run.metrics['validation_images']}"
    yield f"seed: {run.seed}"
    with (run.folder / "history.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    loss = run.recipe.phases[-1].loss
    yield f"\nLoss ({loss}) after {run.metrics['epochs_run']} epochs"
    yield f"training    {float(last['loss']):.4f}"
    yield f"validation  {float(last['val_loss']):.4f}"
    for metric in run.measured:
        if metric.measure == LOSSES.get(loss):
            yield f"test        {metric.value:.4f}  ({metric.noise})"


def one_of_each(test: ImageSet) -> list[int]:
    """Find the first image of each class; of a set of one class, the first images."""
    _, first = np.unique(test.labels, return_index=True)
    return [int(index) for index in first] if len(first) > FIRST else list(range(min(FIRST, len(test))))


def denoise(run: Run, model: keras.Model, images: ImageSet) -> tuple[Any, Any]:
    """Return noisy and denoised images in [0, 1], under the noise of the training."""
    noisy = noisy_images(images, run.recipe.measured_with[0])
    return noisy, predict(model, noisy)[0]


def architecture(model: keras.Model, title: str) -> Figure:
    """Draw the layers from top to bottom: kind and name, output, parameters."""
    layers = list(flat(model))
    figure = Figure(figsize=(5.6, 0.42 * len(layers) + 0.3), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(len(layers) - 0.4, -1))
    axes.axis("off")
    axes.text(0.5, -0.6, title, ha="center", va="center", fontsize=11)
    box = {"boxstyle": "round,pad=0.3", "facecolor": "#eef3f8", "edgecolor": "#1f6fb4"}
    for row, layer in enumerate(layers):
        shape = " × ".join(str(size) for size in layer.output.shape[1:])
        text = f"{type(layer).__name__}: {shape}"
        if layer.count_params():
            text += f", {layer.count_params():,} parameters"
        axes.text(0.5, row, text, ha="center", va="center", fontsize=8, bbox=box)
        if row:
            arrow = {"arrowstyle": "->", "color": "#555555"}
            axes.annotate("", (0.5, row - 0.28), (0.5, row - 0.72), arrowprops=arrow)
    return figure


def flat(model: keras.Model) -> Iterator[Any]:
    """List the layers, those of models within it in their place."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from (inner for inner in flat(layer) if not isinstance(inner, keras.layers.InputLayer))
        else:
            yield layer


def grids(noisy: Any, denoised: Any, shape: tuple[int, int], title: str) -> Figure:
    """Draw the same images noisy on the left and denoised on the right."""
    columns = shape[1]
    rows = min(shape[0], -(-len(noisy) // columns))
    figure = Figure(figsize=(2 * columns + 0.4, rows + 0.6), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=11)
    for part, images, name in zip(figure.subfigures(1, 2), (noisy, denoised), ("noisy", "denoised"), strict=True):
        part.suptitle(name, fontsize=9)
        cells = part.subplots(rows, columns, squeeze=False).ravel()
        for cell in cells:
            cell.axis("off")
        for cell, image in zip(cells, images, strict=False):
            show(cell, image)
    return figure


def side_by_side(columns: dict[str, tuple[ImageSet, Any, Any]]) -> Figure:
    """Draw clean, noisy and each run's images, with their root mean square errors on [0, 1]."""
    images, noisy, _ = next(iter(columns.values()))
    clean = images.scaled()
    rows = {"clean": clean, "noisy": noisy} | {name: denoised for name, (_, _, denoised) in columns.items()}
    side = 1.0 if len(images) > FIRST else 1.7
    figure = Figure(figsize=(side * len(images) + 1.6, (side + 0.2) * len(rows)), dpi=110, layout="constrained")
    for cells, (name, row) in zip(figure.subplots(len(rows), len(images), squeeze=False), rows.items(), strict=True):
        for cell, image, reference in zip(cells, row, clean, strict=True):
            show(cell, image)
            cell.set(xticks=[], yticks=[])
            cell.spines[:].set_visible(False)
            if row is not clean:
                cell.set_xlabel(f"{np.sqrt(np.mean((np.clip(image, 0, 1) - reference) ** 2)):.4f}", fontsize=8)
        cells[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle("RMSE below each image", fontsize=10)
    return figure


def show(axes: Any, image: Sequence[Any]) -> None:
    """Show an image in [0, 1], gray or BGR."""
    axes.imshow(to_uint8(255 * np.asarray(image))[:, :, ::-1], cmap="gray", vmin=0, vmax=255, interpolation="nearest")


if __name__ == "__main__":
    main()
