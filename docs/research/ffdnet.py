"""Make files of FFDNet's published weights: `python docs/research/ffdnet.py WEIGHTS.npz --calibrate photos/`.

`quietframe bench` then measures them as any other model. Zhang, Zuo and Zhang 2018, FFDNet: Toward a Fast and Flexible
Solution for CNN based Image Denoising. The weights are not part of QuietFrame: they are models/FFDNet_Clip_color.mat
(for gray images models/FFDNet_gray.mat) in github.com/cszn/FFDNet, published for research without a licence, as NumPy
arrays w0, b0, w1, b1, …: kernels as height, width, input, output, float32.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from quietframe.card import DataTerms, ModelCard, Spatial, TensorSpec
from quietframe.errors import QuietFrameError, SourceError
from quietframe.noise import MAX_SIGMA_255
from quietframe_export.cli import export
from quietframe_train.layers import PixelShuffle, PixelUnshuffle


@dataclass(frozen=True)
class Weights:
    """FFDNet's weights as the authors order their channels.

    Attributes:
        kernels: (3, 3, in, out) float32 each. The first one's inputs are the sub-images, by colour (RGB), then by
            column and row in the block of 2×2, and last the map of the noise level. The last one's outputs are
            the sub-images in that order.
        biases: (out,) float32 each.
    """

    kernels: Sequence[NDArray[np.float32]]
    biases: Sequence[NDArray[np.float32]]

    @property
    def channels(self) -> int:
        """Of the images: 3 or 1."""
        return int(self.kernels[-1].shape[3]) // 4


def read_weights(path: Path) -> Weights:
    """Read weights from a NumPy archive. Raises SourceError if there is no such file, or it holds something else."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            count = sum(name.startswith("w") for name in archive.files)
            kernels, biases = (
                [archive[f"{letter}{index}"].astype(np.float32) for index in range(count)] for letter in "wb"
            )
    except (OSError, ValueError, EOFError, KeyError, AttributeError) as exc:
        raise SourceError(f"{path}: expected a NumPy archive of arrays w0, b0, w1, b1, … ({exc})") from exc
    found = [kernel.shape for kernel in kernels]
    fits = (
        count > 1
        and all(len(shape) == 4 and shape[:2] == (3, 3) for shape in found)
        and found[-1][3] in (4, 12)  # sub-images of a gray and of a colour image
        and [shape[2] for shape in found] == [found[-1][3] + 1, *(shape[3] for shape in found[:-1])]
        and [bias.shape for bias in biases] == [(shape[3],) for shape in found]
    )
    if not fits:
        raise SourceError(f"{path}: not the weights of an FFDNet (kernels: {found[:2]}, …)")
    return Weights(kernels, biases)


def build(weights: Weights) -> keras.Model:
    """Build the network with its weights, its channels brought to BGR and to the order of `PixelUnshuffle`.

    Input shape:
        image: (batch, height, width, 3) BGR or (batch, height, width, 1), [0, 1]; height and width even.
        sigma: (batch, height / 2, width / 2, 1), noise standard deviation / 255.
    Output shape:
        as `image`: the denoised image itself, not the noise, not clipped.
    """
    # The authors count colours first, from red to blue, then columns, then rows, as MATLAB does; `PixelUnshuffle` on
    # BGR counts rows, columns, colours.
    order = np.arange(4 * weights.channels).reshape(-1, 2, 2)[::-1].transpose(2, 1, 0).ravel().tolist()
    kernels, biases = [*weights.kernels], [*weights.biases]
    kernels[0] = kernels[0][:, :, [*order, len(order)]]
    kernels[-1], biases[-1] = kernels[-1][..., order], biases[-1][order]

    image = keras.Input((None, None, weights.channels), name="image")
    sigma = keras.Input((None, None, 1), name="sigma")
    x = layers.Concatenate(name="conditioned")([PixelUnshuffle(2, name="unshuffle")(image), sigma])
    for index, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        activation = None if index == len(kernels) - 1 else "relu"
        layer = layers.Conv2D(kernel.shape[3], 3, padding="same", activation=activation, name=f"conv{index}")
        x = layer(x)
        layer.set_weights([kernel, bias])
    return keras.Model([image, sigma], PixelShuffle(2, name="denoised")(x), name="ffdnet")


def make_card(weights: Weights) -> ModelCard:
    """Make the card of the network."""
    channels, clips = weights.channels, weights.channels == 3
    colour = "BGR" if channels == 3 else "GRAY"
    return ModelCard(
        name="ffdnet-color-clip" if clips else "ffdnet-gray",
        task="denoise",
        recipe="none: published weights",
        precision="fp32",
        inputs=(
            TensorSpec("image", "image", "NHWC", channels, (0.0, 1.0), colour),
            TensorSpec("sigma", "sigma", "NHWC", 1, (0.0, MAX_SIGMA_255 / 255), stride=2),
        ),
        outputs=(TensorSpec("denoised", "image", "NHWC", channels, (0.0, 1.0), colour),),
        spatial=Spatial("any", multiple=2, halo=2 * len(weights.kernels) + 1),
        conditioning="sigma",
        noise="as published: white Gaussian, σ 0 to 75" + (", clipped to [0, 1]" if clips else ""),
        data=DataTerms("as published (Zhang, Zuo and Zhang 2018)", "as published"),
        parameters=sum(array.size for array in (*weights.kernels, *weights.biases)),
        macs_per_pixel=sum(kernel.size for kernel in weights.kernels) / 4,  # a position stands for 2×2 pixels
        license="weights: github.com/cszn/FFDNet, published for research without a licence",
    )


@click.command()
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--calibrate", type=click.Path(), required=True, metavar="FOLDER", help="Images, not the tested ones.")
@click.option("--to", default="onnx-fp32,tflite-fp32,tflite-int8", show_default=True, help="As of quietframe export.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default="ffdnet", show_default=True, help="Folder.")
def main(weights: Path, calibrate: str, to: str, out: Path) -> None:
    """Export FFDNet's WEIGHTS, a NumPy archive."""
    try:
        found = read_weights(weights)
        card = make_card(found)
        out.mkdir(parents=True, exist_ok=True)
        model, card_file = out / f"{card.name}.keras", out / f"{card.name}.card.json"
        build(found).save(model)
        card_file.write_text(card.to_json(), encoding="utf-8")
        # What it loses in 8 bits is a finding, not a failure: no gate.
        how = ["--noise-sigma", "50", "--max-psnr-drop", "1000", "--no-checks", "--overwrite"]
        files = [str(model), "--card", str(card_file), "--calibrate", calibrate, "--out", str(out), "--to", to]
        click.get_current_context().exit(export.main([*files, *how], standalone_mode=False))
    except QuietFrameError as exc:
        raise click.ClickException(str(exc)) from None


if __name__ == "__main__":
    main()
