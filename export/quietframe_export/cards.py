"""The card of a trained model, from its run."""

from __future__ import annotations

from importlib.metadata import version

import keras

import quietframe
from quietframe.card import ModelCard, Spatial, TensorSpec
from quietframe.noise import MAX_SIGMA_255
from quietframe_train.macs import macs_per_pixel
from quietframe_train.models.camera import camera_unet_geometry
from quietframe_train.run_folder import Run

_UNIT = (0.0, 1.0)


def card_for_run(run: Run, model: keras.Model, source_sha256: str) -> ModelCard:
    """The card of a training's model, at precision fp32 and without metrics.

    The tensors follow from the kind of recipe: photographs give any-size BGR models that are told the noise
    level, digits give 28×28 gray ones.
    """
    recipe = run.recipe
    if recipe.kind == "photos":
        image = TensorSpec("image", "image", "NHWC", 3, _UNIT, "BGR")
        sigma = TensorSpec("sigma", "sigma", "N111", 1, (0.0, MAX_SIGMA_255 / 255))
        multiple, halo = camera_unet_geometry(**recipe.model.options)
        inputs: tuple[TensorSpec, ...] = (image, sigma)
        outputs = (TensorSpec("denoised", "image", "NHWC", 3, _UNIT, "BGR"),)
        spatial = Spatial("any", multiple=multiple, halo=halo)
    else:
        inputs = (TensorSpec("image", "image", "NHWC", 1, _UNIT, "GRAY"),)
        spatial = Spatial("fixed", size_hw=(28, 28), fit="resize")
        if recipe.task == "denoise":
            outputs = (TensorSpec("denoised", "image", "NHWC", 1, _UNIT, "GRAY"),)
        else:
            outputs = (TensorSpec("scores", "scores", "NC", 10, _UNIT),)
    return ModelCard(
        name=recipe.name,
        task=recipe.task,
        recipe=recipe.name,
        precision="fp32",
        inputs=inputs,
        outputs=outputs,
        spatial=spatial,
        conditioning="sigma" if recipe.kind == "photos" else "none",
        noise=recipe.noise.describe(),
        data=run.data,
        parameters=model.count_params(),
        macs_per_pixel=macs_per_pixel(model),
        license=f"code Apache-2.0; weights: {run.data.terms}",
        labels=tuple(map(str, range(10))) if recipe.task == "classify" else (),
        source_sha256=source_sha256,
        created_with=versions(),
        limits=recipe.limits,
    )


def versions() -> dict[str, str]:
    """What the files are made with."""
    packages = ("keras", "tensorflow", "tf2onnx", "onnxruntime", "ai-edge-litert")
    return {"quietframe": quietframe.__version__} | {name: version(name) for name in packages}
