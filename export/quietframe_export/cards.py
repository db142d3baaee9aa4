"""Build the card of a trained model from its run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import keras

import quietframe
from quietframe.card import ModelCard, TensorSpec
from quietframe_train.macs import macs_per_pixel
from quietframe_train.run_folder import Run


def card_for_run(run: Run, model: keras.Model, source_sha256: str, *, labels: Sequence[str] = ()) -> ModelCard:
    """Build the card of a run's model, at precision fp32 and without metrics.

    The data say what the inputs are, the task which outputs there are; a model of both gives the image first.
    labels: of the scores, in their order.
    """
    recipe = run.recipe
    tensors = dict(recipe.data.card_fields(recipe, model))
    image = tensors["inputs"][0]
    outputs = []
    if "denoise" in recipe.task:
        outputs.append(replace(image, name="denoised"))
    if "classify" in recipe.task:
        outputs.append(TensorSpec("scores", "scores", "NC", len(labels), (0.0, 1.0)))
    outputs += tensors.pop("states", ())
    return ModelCard(
        name=recipe.name,
        task=recipe.task,
        recipe=recipe.name,
        precision="fp32",
        outputs=tuple(outputs),
        **tensors,
        noise=recipe.noise.describe(),
        data=run.data,
        parameters=model.count_params(),
        macs_per_pixel=macs_per_pixel(model),
        license=f"code Apache-2.0; weights: {run.data.terms}",
        labels=tuple(labels),
        source_sha256=source_sha256,
        created_with=versions(),
        trained={  # what a repetition needs beside the recipe
            "commit": run.versions.get("commit", "unknown"),
            "seed": str(run.seed),
            "epochs": str(run.metrics.get("epochs_run", run.epochs)),
            "hours": f"{run.metrics.get('training_seconds', 0) / 3600:.2f}",
            "processor": run.versions.get("processor", "unknown"),
            "data_sha256": run.data_sha256,
        },
        limits=recipe.limits,
    )


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, or of all files in a folder, as hexadecimal digits."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return hashlib.sha256(b"".join(each.read_bytes() for each in files)).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of the packages that write the files."""
    packages = ("keras", "tensorflow", "tf2onnx", "onnxruntime", "ai-edge-litert")
    return {"quietframe": quietframe.__version__} | {name: version(name) for name in packages}
