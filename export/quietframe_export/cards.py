"""The card of a trained model, from its run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import keras

import quietframe
from quietframe.card import Colour, ModelCard, Spatial, TensorSpec
from quietframe.noise import MAX_SIGMA_255
from quietframe_train.macs import macs_per_pixel
from quietframe_train.models import GEOMETRIES
from quietframe_train.run_folder import Run

_UNIT = (0.0, 1.0)


def card_for_run(run: Run, model: keras.Model, source_sha256: str, *, labels: Sequence[str] = ()) -> ModelCard:
    """The card of a training's model, at precision fp32 and without metrics.

    The tensors follow from the recipe: photographs give any-size BGR models that are told the noise level, digits
    and whole pictures give models of one size, gray or BGR as their input has channels. The task says which outputs
    there are; a model of both gives the picture first.

    labels: of the scores, in their order.
    """
    recipe = run.recipe
    camera = recipe.kind == "photos"
    channels = model.inputs[0].shape[-1]
    colour: Colour = "GRAY" if channels == 1 else "BGR"
    inputs = [TensorSpec("image", "image", "NHWC", channels, _UNIT, colour)]
    if camera:
        inputs.append(TensorSpec("sigma", "sigma", "N111", 1, (0.0, MAX_SIGMA_255 / 255)))
        multiple, halo = GEOMETRIES[recipe.model.builder](**recipe.model.options)
        spatial = Spatial("any", multiple=multiple, halo=halo)
    else:
        height, width = model.inputs[0].shape[1:3]
        spatial = Spatial("fixed", size_hw=(height, width), fit="resize")
    outputs = []
    if "denoise" in recipe.task:
        outputs.append(TensorSpec("denoised", "image", "NHWC", channels, _UNIT, colour))
    if "classify" in recipe.task:
        outputs.append(TensorSpec("scores", "scores", "NC", len(labels), _UNIT))
    return ModelCard(
        name=recipe.name,
        task=recipe.task,
        recipe=recipe.name,
        precision="fp32",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        spatial=spatial,
        conditioning="sigma" if camera else "none",
        noise=recipe.noise.describe(),
        data=run.data,
        parameters=model.count_params(),
        macs_per_pixel=macs_per_pixel(model),
        license=f"code Apache-2.0; weights: {run.data.terms}",
        labels=tuple(labels),
        source_sha256=source_sha256,
        created_with=versions(),
        limits=recipe.limits,
    )


def versions() -> dict[str, str]:
    """What the files are made with."""
    packages = ("keras", "tensorflow", "tf2onnx", "onnxruntime", "ai-edge-litert")
    return {"quietframe": quietframe.__version__} | {name: version(name) for name in packages}
