"""FFDNet, the network that fast denoisers are compared with: its published weights as files that the runtime runs.

Zhang, Zuo and Zhang 2018, FFDNet: Toward a Fast and Flexible Solution for CNN based Image Denoising. The weights are
not shipped: a user names them. The files are made by QuietFrame's own exporter, so that engine, frames and noise levels
are the same as for every other model.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe import __version__
from quietframe.assets import photo_bgr
from quietframe.card import Colour, DataTerms, ModelCard, Precision, Spatial, TensorSpec, parse_card
from quietframe.errors import MissingExtraError, ModelLoadError, QuietFrameError, SourceError, UsageError
from quietframe.noise import MAX_SIGMA_255, add_gaussian
from quietframe.tasks.base import open_engine
from quietframe_bench.samples import find_images

if TYPE_CHECKING:
    import keras

    from quietframe_export import Subject

PRECISIONS: Sequence[Precision] = ("fp32", "int8")
WEIGHTS: Mapping[Colour, str] = {"BGR": "ffdnet_color_clip.npz", "GRAY": "ffdnet_gray.npz"}
"""The file of the weights for colour and for gray images."""

_PUBLISHED: Mapping[Colour, str] = {"BGR": "models/FFDNet_Clip_color.mat", "GRAY": "models/FFDNet_gray.mat"}
_NAMES: Mapping[Colour, str] = {"BGR": "ffdnet-color-clip", "GRAY": "ffdnet-gray"}
_PATCH_SIDE = 128
_CALIBRATION_PATCHES = 64
_HELD_OUT_PATCHES = 16
_HELD_OUT_SIGMAS_255 = (15.0, 25.0, 50.0)
_ANY_DROP_DB = 1000.0


@dataclass(frozen=True)
class Weights:
    """FFDNet's weights as the authors order their channels.

    Attributes:
        kernels: (3, 3, in, out) float32 each. The first one's inputs are the sub-images, by colour (RGB), then by
            column and row in the block of 2×2, and last the map of the noise level. The last one's outputs are
            the sub-images in that order.
        biases: (out,) float32 each.
        sha256: of the file.
    """

    kernels: Sequence[NDArray[np.float32]]
    biases: Sequence[NDArray[np.float32]]
    sha256: str

    @property
    def channels(self) -> int:
        """Of the images: 3 or 1."""
        return int(self.kernels[-1].shape[3]) // 4

    @property
    def parameters(self) -> int:
        """How many numbers there are."""
        return sum(array.size for array in (*self.kernels, *self.biases))

    @property
    def macs_per_pixel(self) -> float:
        """Multiply-accumulates for each pixel of a image: a kernel's position stands for 2×2 of them."""
        return sum(kernel.size for kernel in self.kernels) / 4

    @property
    def halo(self) -> int:
        """How far it sees, in pixels."""
        return 2 * len(self.kernels) + 1


def read_weights(path: Path) -> Weights:
    """Read weights from a NumPy archive.

    Raises:
        SourceError: no such file, or something else than FFDNet's weights in it.
    """
    try:
        data = path.read_bytes()
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError) as exc:
        raise SourceError(f"{path}: not a NumPy archive of weights ({exc})") from exc
    count = sum(name.startswith("w") for name in arrays)
    try:
        kernels = [arrays[f"w{index}"].astype(np.float32) for index in range(count)]
        biases = [arrays[f"b{index}"].astype(np.float32) for index in range(count)]
    except KeyError as exc:
        raise SourceError(f"{path}: expected arrays w0, b0, w1, b1, …; {exc.args[0]} is missing") from exc
    found = [kernel.shape for kernel in kernels]
    fits = (
        count > 1
        and all(len(shape) == 4 and shape[:2] == (3, 3) for shape in found)
        and found[-1][3] in (4, 12)  # sub-images of a gray and of a colour image
        and [shape[2] for shape in found] == [found[-1][3] + 1, *(shape[3] for shape in found[:-1])]
        and [bias.shape for bias in biases] == [(shape[3],) for shape in found]
    )
    if not fits:
        shapes = ", ".join("×".join(map(str, shape)) for shape in found[:2])
        raise SourceError(f"{path}: not the weights of an FFDNet (kernels: {shapes or 'none'}, …)")
    return Weights(kernels, biases, hashlib.sha256(data).hexdigest())


def build(weights: Weights) -> keras.Model:
    """Build the network with its weights, its channels brought to BGR and to the order of `PixelUnshuffle`.

    Input shape:
        image: (batch, height, width, 3) BGR or (batch, height, width, 1), [0, 1]; height and width even.
        sigma: (batch, 1, 1, 1), noise standard deviation / 255.
    Output shape:
        as `image`: the denoised image itself, not the noise, not clipped.
    """
    import keras
    from keras import layers

    from quietframe_train.layers import PixelShuffle, PixelUnshuffle

    order = channel_order(weights.channels)
    kernels, biases = [*weights.kernels], [*weights.biases]
    kernels[0] = kernels[0][:, :, [*order, len(order)]]
    kernels[-1], biases[-1] = kernels[-1][..., order], biases[-1][list(order)]

    image = keras.Input((None, None, weights.channels), name="image")
    sigma = keras.Input((1, 1, 1), name="sigma")
    planes = PixelUnshuffle(2, name="unshuffle")(image)
    # The map of the level is a plane that ends at the frame, as the padding is zero: a constant added to the
    # features would not be the same there. Ones of the planes' size come from a convolution that ignores them:
    # operations that ask for the size would be frozen at one of them.
    ones = layers.Conv2D(1, 1, kernel_initializer="zeros", bias_initializer="ones", name="ones")(planes)
    x = layers.Concatenate(name="conditioned")([planes, layers.Multiply(name="level")([ones, sigma])])
    for index, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        activation = None if index == len(kernels) - 1 else "relu"
        layer = layers.Conv2D(kernel.shape[3], 3, padding="same", activation=activation, name=f"conv{index}")
        x = layer(x)
        layer.set_weights([kernel, bias])
    return keras.Model([image, sigma], PixelShuffle(2, name="denoised")(x), name="ffdnet")


def channel_order(channels: int) -> Sequence[int]:
    """Return for each channel of `PixelUnshuffle(2)` on BGR (rows, columns, colours) its place in the authors' order.

    They count colours first, from red to blue, then columns, then rows, as MATLAB does.
    """
    return [
        4 * (channels - 1 - colour) + 2 * column + row
        for row in range(2)
        for column in range(2)
        for colour in range(channels)
    ]


def how_to_get_weights(colour: Colour) -> str:
    """Return one line for the user who has no weights."""
    return (
        f"--ffdnet-weights FOLDER with {WEIGHTS[colour]}: the published weights (github.com/cszn/FFDNet, "
        f"{_PUBLISHED[colour]}) as NumPy arrays w0, b0, w1, b1, …, HWIO float32"
    )


def file_name(colour: Colour, precision: Precision) -> str:
    """Return the name of the file."""
    return f"{_NAMES[colour]}.{precision}.tflite"


def make_files(
    weights_folder: Path, colour: Colour, precisions: Sequence[Precision], out: Path, *, calibrate: Path | None
) -> dict[Precision, Path]:
    """Make the network's TFLite files in `out` unless they exist from the same weights and calibration.

    Args:
        weights_folder: holds one of `WEIGHTS`.
        colour: of the images to come: BGR or GRAY.
        precisions: fp32 or int8; int8 needs `calibrate`.
        out: folder; made if missing.
        calibrate: a folder of images that are not tested with. Three quarters calibrate, with noise of σ 0 to
            75; the rest proves the files, as in every export.

    Raises:
        SourceError: no weights, or no images.
        MissingExtraError: the exporter's packages are not installed.
        UsageError: int8 without images to calibrate with.
        OutputError: the folder takes no files.
    """
    weights = read_weights(weights_folder / WEIGHTS[colour])
    if "int8" in precisions and calibrate is None:
        raise UsageError("int8 needs images to calibrate with: --ffdnet-calibrate FOLDER")
    calibrated_with = _folder_record(calibrate)
    files: dict[Precision, Path] = {precision: out / file_name(colour, precision) for precision in precisions}
    missing = [one for one, path in files.items() if not _is_made(path, one, weights, calibrated_with)]
    if not missing:
        return files
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from quietframe_export.quiet import suppress_native_output

        with suppress_native_output() as say:
            say("exporting FFDNet")
            from quietframe_export.exporter import export_model
            from quietframe_export.formats import TARGETS

            subject = _subject(weights, colour, calibrate, calibrated_with)
            targets = [TARGETS[f"tflite-{precision}"] for precision in missing]
            # What it loses in 8 bits is a finding: it is measured as it is.
            how: Any = {"max_psnr_drop_db": _ANY_DROP_DB, "hold_to_checks": False, "overwrite": True}
            report = export_model(subject, targets, out, progress=say, **how)
    except ModuleNotFoundError as exc:
        raise MissingExtraError(exc.name or "the exporter", "export") from exc
    for file in report.files:
        if file.outcome != "passed":
            raise ModelLoadError(f"FFDNet as {file.target}: {file.reason}")
    return files


def _is_made(path: Path, precision: Precision, weights: Weights, calibrated_with: str) -> bool:
    """Return whether a file exists that this version made from the same things, by its card."""
    try:
        card = parse_card(open_engine(path, threads=1).card_json or "", origin=str(path))
    except QuietFrameError:
        return False
    return (
        card.source_sha256 == weights.sha256
        and card.created_with.get("quietframe") == __version__
        and (precision == "fp32" or card.extra.get("calibrated_with") == calibrated_with)
    )


def _folder_record(folder: Path | None) -> str:
    """Return a line that changes with the names and sizes of a folder's images."""
    if folder is None:
        return "nothing"
    found = [f"{path.relative_to(folder)} {path.stat().st_size}" for path in find_images(folder)]
    digest = hashlib.sha256("\n".join(found).encode()).hexdigest()
    return f"{folder.name}: {len(found)} images, {digest[:16]}"


def _subject(weights: Weights, colour: Colour, calibrate: Path | None, calibrated_with: str) -> Subject:
    from quietframe_export.keras_engine import KerasEngine
    from quietframe_export.subject import Subject, encode
    from quietframe_train.data.base import Sample
    from quietframe_train.photos import cut_patches, read_photos

    card = _card(weights, colour, calibrated_with)
    engine = KerasEngine(build(weights), card)
    rng = np.random.default_rng(0)

    def patches(photos: Sequence[NDArray[np.uint8]], count: int) -> Sequence[NDArray[np.uint8]]:
        side = min(_PATCH_SIDE, *(min(photo.shape[:2]) for photo in photos)) // 2 * 2
        cut = cut_patches(photos, count, side, rng)
        return [cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY) for patch in cut] if colour == "GRAY" else [*cut]

    calibration = []
    if calibrate is None:
        held_out: Sequence[NDArray[np.uint8]] = [photo_bgr()]
    else:
        photos = read_photos(calibrate)
        held_out, training = photos[: max(1, len(photos) // 4)], photos[max(1, len(photos) // 4) :]
        levels_255 = np.linspace(0, MAX_SIGMA_255, _CALIBRATION_PATCHES)
        for patch, level_255 in zip(patches(training, _CALIBRATION_PATCHES), levels_255, strict=True):
            noisy = add_gaussian(patch, float(level_255), rng)
            calibration.append(encode(engine, card, noisy, float(level_255)))
    samples = [
        Sample(frame=add_gaussian(patch, sigma_255, rng), clean=patch, group=f"sigma {sigma_255:g}")
        for sigma_255 in _HELD_OUT_SIGMAS_255
        for patch in patches(held_out, _HELD_OUT_PATCHES)
    ]
    return Subject(
        engine=engine,
        card=card,
        calibration=calibration,
        held_out=samples,
        calibrated_with=f"{len(calibration)} patches, noise of σ 0 to {MAX_SIGMA_255:g}; {calibrated_with}",
        held_out_from=f"{len(samples)} patches of other images",
    )


def _card(weights: Weights, colour: Colour, calibrated_with: str) -> ModelCard:
    from quietframe_export.cards import versions

    channels = weights.channels
    return ModelCard(
        name=_NAMES[colour],
        task="denoise",
        recipe="none: published weights",
        precision="fp32",
        inputs=(
            TensorSpec("image", "image", "NHWC", channels, (0.0, 1.0), colour),
            TensorSpec("sigma", "sigma", "N111", 1, (0.0, MAX_SIGMA_255 / 255)),
        ),
        outputs=(TensorSpec("denoised", "image", "NHWC", channels, (0.0, 1.0), colour),),
        spatial=Spatial("any", multiple=2, halo=weights.halo),
        conditioning="sigma",
        noise="as published: white Gaussian, σ 0 to 75" + (", clipped to [0, 1]" if colour == "BGR" else ""),
        data=DataTerms("as published (Zhang, Zuo and Zhang 2018)", "as published"),
        parameters=weights.parameters,
        macs_per_pixel=weights.macs_per_pixel,
        license="weights: github.com/cszn/FFDNet, published for research without a licence",
        source_sha256=weights.sha256,
        created_with=versions(),
        extra={"calibrated_with": calibrated_with},
    )
