"""Packs a training's weights, to start another from: `python -m quietframe_train.pack_weights RUN OUT.npz`."""

from __future__ import annotations

from pathlib import Path

import click
import keras

from quietframe.errors import QuietFrameError, SourceError
from quietframe_train.checkpoint import resume
from quietframe_train.fit import build
from quietframe_train.run_folder import SETTLING, STATE, load_run
from quietframe_train.weights import pack


def trained_model(folder: str | Path) -> keras.Model:
    """The model of a run folder; of a training that is not done, the moving average of its weights so far.

    Raises SourceError if there is no training in the folder, or not a whole epoch of it.
    """
    run = load_run(folder)
    if run.model_path.is_file():
        return keras.saving.load_model(run.model_path, compile=False)
    settling = run.folder / SETTLING
    phase = settling if (settling / STATE).is_file() else run.folder
    if not (phase / STATE).is_file():
        raise SourceError(f"{folder}: not a whole epoch of its training is done")
    model = build(run.recipe, 1_000_000)  # the steps set the learning rate alone, and nothing is trained
    resume(model, phase, 1_000_000)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    return model


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def main(run: Path, out: Path) -> None:
    """Pack the weights of the training in RUN, done or not, into OUT.npz, in half precision."""
    try:
        model = trained_model(run)
        pack(model, load_run(run).data, out)
    except QuietFrameError as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(f"{out}: {model.count_params():,} weights, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
