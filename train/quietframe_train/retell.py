"""Has a trained camera model take each told noise level as another one:
`python -m quietframe_train.retell RUN OUT 0:0,2:1,8:12,75:75`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import QuietFrameError, UsageError
from quietframe.noise import MAX_SIGMA_255
from quietframe_train.pack_weights import trained_model
from quietframe_train.run_folder import load_run, write_recipe

_HEADS = ("level_gate", "level_scale", "level")
_FULL = 6.0  # of a first feature of a level, where its activation ends
_BENDS_255 = (0, 0.75, 1.4, 1.9, 2.5, 3.2, 4, 6, 8, 11, 14, 19, 25, 33, 41, 52, 75)
_STEP_255 = 0.05
_NEAR_255 = 10.0  # levels so low count twice as much as twice that
_RIDGE = 1e-3  # on the weights, so that no two large ones cancel: 8 bits would not


def retell(model: keras.Model, rows: Sequence[tuple[float, float]]) -> float:
    """Change the layers that take in the level, so that the model does at one level what it did at another.

    The rest of the network stays as it is. An estimate that reads too little of some kind of noise can so be given its
    due, and a model that takes too much away at some levels held back, without a training.

    Each of the first features of a level rises over a stretch of its own and is full from there on, so that 8 bits hold
    all of them equally well. As training leaves them, growing to the last level, a step of the first was half a level.

    model: of `camera_unet` or `camera_nano`; changed. rows: (told, taken as) in 8-bit levels, told ones growing from 0
    to `MAX_SIGMA_255`; between rows levels change evenly. Returns how far the factor of what is taken away is from what
    it would be, at most, as a share of its greatest value.

    Raises UsageError where the rows are not such, or the model takes in no level so.
    """
    told, taken = (np.array(column, float) for column in zip(*rows, strict=True))
    if told[0] != 0 or told[-1] != MAX_SIGMA_255 or not (np.diff(told) > 0).all():
        raise UsageError(f"told levels must grow from 0 to {MAX_SIGMA_255:g}: {told.tolist()}")
    if not ((taken >= 0) & (taken <= MAX_SIGMA_255)).all():
        raise UsageError(f"levels to take them as must be 0 to {MAX_SIGMA_255:g}: {taken.tolist()}")
    layers = {layer.name: layer for layer in model.layers}
    if not {"level_hidden", *_HEADS} <= layers.keys():
        raise UsageError(f"{model.name} takes in no noise level as the camera models do")
    units = layers["level_hidden"].filters
    levels = np.arange(0, MAX_SIGMA_255 + _STEP_255, _STEP_255)
    wanted = _heads(layers, np.interp(levels, told, taken))
    bends = np.interp(np.linspace(0, 1, units + 1), np.linspace(0, 1, len(_BENDS_255)), _BENDS_255)
    kernel = _FULL * 255 / np.diff(bends)
    bias = -kernel * bends[:-1] / 255
    features = np.append(np.clip(levels[:, None] / 255 * kernel + bias, 0, _FULL), np.ones((len(levels), 1)), axis=1)
    weight = 1 / (1 + levels[:, None] / _NEAR_255)
    rows_of_all = np.concatenate([features * weight, _RIDGE * np.eye(units + 1)])
    layers["level_hidden"].set_weights([kernel.reshape(1, 1, 1, units), bias])
    for name, values in wanted.items():
        goal = np.concatenate([values * weight, np.zeros((units + 1, values.shape[1]))])
        solved = np.linalg.lstsq(rows_of_all, goal, rcond=None)[0]
        layers[name].set_weights([solved[:units].reshape(1, 1, units, -1), solved[units]])
    missed = np.abs(_heads(layers, levels)["level_scale"] - wanted["level_scale"])
    return float(missed.max() / wanted["level_scale"].max())


def _heads(layers: dict[str, Any], levels_255: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """What the level's layers give for levels, before their activation: (levels, channels) each."""
    kernel, bias = layers["level_hidden"].get_weights()
    hidden = np.clip(levels_255[:, None] / 255 * kernel.reshape(1, -1) + bias, 0, _FULL)
    pairs = {name: layers[name].get_weights() for name in _HEADS}
    return {name: hidden @ kernel.reshape(len(kernel[0, 0]), -1) + bias for name, (kernel, bias) in pairs.items()}


def _read_rows(_ctx: click.Context, _param: click.Parameter, text: str) -> list[tuple[float, float]]:
    try:
        rows = [tuple(float(level) for level in row.split(":")) for row in text.split(",")]
        return [(told, taken) for told, taken in rows]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not of the form 0:0,2:1,8:12,75:75") from None


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("rows", callback=_read_rows)
def main(run: Path, out: Path, rows: list[tuple[float, float]]) -> None:
    """Write the model of the training in RUN into the new folder OUT, taking told levels as ROWS say."""
    try:
        if out.exists():
            raise UsageError(f"{out} exists: name a new folder")
        model, start = trained_model(run), load_run(run)
        missed = retell(model, rows)
    except QuietFrameError as exc:
        raise click.ClickException(str(exc)) from exc
    out.mkdir(parents=True)
    retold = replace(start, folder=out, started_from=f"{run.name}, retold {','.join(f'{a:g}:{b:g}' for a, b in rows)}")
    model.save(retold.model_path)
    write_recipe(retold)
    click.echo(f"{out}: the factor of what is taken away is within {missed:.1%}")


if __name__ == "__main__":
    main()
