"""FFDNet, the network that fast denoisers are compared with: its published weights as files that the runtime runs.

Zhang, Zuo and Zhang 2018, FFDNet: Toward a Fast and Flexible Solution for CNN based Image Denoising. The weights are
not shipped: a user names them. The files are made by QuietFrame's own exporter, so that engine, frames and noise levels
are the same as for every other model.
"""

from __future__ import annotations

import hashlib
import io
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
from quietframe_bench.judging import LEVEL_KNOWN, Condition, Entry, new_entry
from quietframe_bench.rows import Run
from quietframe_bench.samples import find_images

if TYPE_CHECKING:
    import keras

    from quietframe_export import Subject

FFDNET = "FFDNet"
PRECISIONS: Sequence[Precision] = ("fp32", "int8")
WEIGHTS: Mapping[Colour, str] = {"BGR": "ffdnet_color_clip.npz", "GRAY": "ffdnet_gray.npz"}
"""The file of the weights for colour and for gray images."""

_PUBLISHED: Mapping[Colour, str] = {"BGR": "models/FFDNet_Clip_color.mat", "GRAY": "models/FFDNet_gray.mat"}
_NAMES: Mapping[Colour, str] = {"BGR": "ffdnet-color-clip", "GRAY": "ffdnet-gray"}
_PATCH_SIDE = 128
_CALIBRATION_PATCHES = 64
_HELD_OUT_PATCHES = 4  # there is no gate: the exporter wants some
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


def read_weights(path: Path) -> Weights:
    """Read weights from a NumPy archive. Raises SourceError if there is no such file, or it holds something else."""
    try:
        data = path.read_bytes()
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
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

    # The authors count colours first, from red to blue, then columns, then rows, as MATLAB does; `PixelUnshuffle` on
    # BGR counts rows, columns, colours.
    order = np.arange(4 * weights.channels).reshape(-1, 2, 2)[::-1].transpose(2, 1, 0).ravel().tolist()
    kernels, biases = [*weights.kernels], [*weights.biases]
    kernels[0] = kernels[0][:, :, [*order, len(order)]]
    kernels[-1], biases[-1] = kernels[-1][..., order], biases[-1][order]

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


def how_to_get_weights(colour: Colour) -> str:
    """Return one line for the user who has no weights."""
    return (
        f"--ffdnet-weights FOLDER with {WEIGHTS[colour]}: the published weights (github.com/cszn/FFDNet, "
        f"{_PUBLISHED[colour]}) as NumPy arrays w0, b0, w1, b1, …, HWIO float32"
    )


def check_files(folder: Path, weights: Path | None, calibrate: Path | None, *, gray: bool) -> None:
    """Raise UsageError for what would only come to light after minutes: missing weights, images that are judged too.

    Folders: of the images that are judged with, of the weights, and of images to calibrate with.
    """
    colour: Colour = "GRAY" if gray else "BGR"
    if weights is not None and not (wanted := weights / WEIGHTS[colour]).is_file():
        raise UsageError(f"{wanted}: no such file: expected {how_to_get_weights(colour)}")
    if calibrate is not None:
        if weights is None:
            raise UsageError("--ffdnet-calibrate is for FFDNet: name its weights with --ffdnet-weights FOLDER")
        judged = {hashlib.sha256(path.read_bytes()).digest(): path for path in find_images(folder)}
        for path in find_images(calibrate):
            if twin := judged.get(hashlib.sha256(path.read_bytes()).digest()):
                raise UsageError(f"{path}: is also judged with ({twin}): calibrate with other images")


def new_entries(
    run: Run,
    conditions: Sequence[Condition],
    weights: Path | None,
    calibrate: Path | None,
    cache: Path,
    *,
    gray: bool,
) -> tuple[list[Entry], dict[str, str]]:
    """Make the files, where weights and images to calibrate with are given, and their rows; what fails is a failed row.

    Returns the rows with and without the level known, and what is not measured with what that needs.
    """
    colour: Colour = "GRAY" if gray else "BGR"
    entries, absent = [], {}
    for precision in PRECISIONS:
        name, error = f"{FFDNET} {precision}", None
        if weights is None:
            absent[name] = how_to_get_weights(colour)
            continue
        if precision == "int8" and calibrate is None:
            absent[name] = "--ffdnet-calibrate FOLDER with images that are not judged with"
            continue
        file = cache / file_name(colour, precision)
        try:
            make_file(weights, colour, precision, cache, calibrate=calibrate)
        except QuietFrameError as exc:
            error = str(exc)
        entries += [new_entry(run, "images", name, condition, file, error=error) for condition in conditions]
        for condition in conditions:
            known = {"given_sigma_255": condition.sigma_255, "error": error}
            entries.append(new_entry(run, "images", f"{name}{LEVEL_KNOWN}", condition, file, **known))
    return entries, absent


def file_name(colour: Colour, precision: Precision) -> str:
    """Return the name of the file."""
    return f"{_NAMES[colour]}.{precision}.tflite"


def make_file(
    weights_folder: Path, colour: Colour, precision: Precision, out: Path, *, calibrate: Path | None = None
) -> Path:
    """Make the network's TFLite file in `out` unless it exists from the same weights and calibration.

    Args:
        weights_folder: holds one of `WEIGHTS`.
        colour: of the images to come: BGR or GRAY.
        precision: fp32 or int8; int8 needs `calibrate`.
        out: folder; made if missing.
        calibrate: a folder of images that are not tested with. Three quarters calibrate, with noise of σ 0 to
            75; the rest proves the file, as in every export.

    Raises SourceError without weights or images, MissingExtraError without the exporter, UsageError for int8 without
    images to calibrate with, OutputError if the folder takes no files.
    """
    weights = read_weights(weights_folder / WEIGHTS[colour])
    path, images = out / file_name(colour, precision), _folder_record(calibrate)
    made_from = f"{weights.sha256}, {images if precision == 'int8' else 'nothing else'}, quietframe {__version__}"
    if _is_made(path, made_from):
        return path
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from quietframe_export.quiet import suppress_native_output

        with suppress_native_output() as say:
            say("exporting FFDNet")
            from quietframe_export.exporter import export_model
            from quietframe_export.formats import TARGETS

            subject = _subject(weights, colour, calibrate, images, made_from)
            # What it loses in 8 bits is a finding: it is measured as it is.
            how: Any = {"max_psnr_drop_db": _ANY_DROP_DB, "hold_to_checks": False, "overwrite": True}
            (file,) = export_model(subject, [TARGETS[f"tflite-{precision}"]], out, progress=say, **how).files
    except ModuleNotFoundError as exc:
        raise MissingExtraError(exc.name or "the exporter", "export") from exc
    if file.outcome != "passed":
        raise ModelLoadError(f"FFDNet as {file.target}: {file.reason}")
    return path


def _is_made(path: Path, made_from: str) -> bool:
    """Return whether a file exists that was made from the same things, by its card."""
    try:
        card = parse_card(open_engine(path, threads=1).card_json or "", origin=str(path))
    except QuietFrameError:
        return False
    return bool(card.extra.get("made_from") == made_from)


def _folder_record(folder: Path | None) -> str:
    """Return a line that changes with the names and sizes of a folder's images."""
    if folder is None:
        return "nothing"
    found = [f"{path.relative_to(folder)} {path.stat().st_size}" for path in find_images(folder)]
    digest = hashlib.sha256("\n".join(found).encode()).hexdigest()
    return f"{folder.name}: {len(found)} images, {digest[:16]}"


def _subject(weights: Weights, colour: Colour, calibrate: Path | None, images: str, made_from: str) -> Subject:
    from quietframe_export.keras_engine import KerasEngine
    from quietframe_export.subject import Subject, encode
    from quietframe_train.data.base import Sample
    from quietframe_train.photos import cut_patches, read_photos

    card = _card(weights, colour, made_from)
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
        calibrated_with=f"{len(calibration)} patches, noise of σ 0 to {MAX_SIGMA_255:g}; {images}",
        held_out_from=f"{len(samples)} patches of other images",
    )


def _card(weights: Weights, colour: Colour, made_from: str) -> ModelCard:
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
        spatial=Spatial("any", multiple=2, halo=2 * len(weights.kernels) + 1),
        conditioning="sigma",
        noise="as published: white Gaussian, σ 0 to 75" + (", clipped to [0, 1]" if colour == "BGR" else ""),
        data=DataTerms("as published (Zhang, Zuo and Zhang 2018)", "as published"),
        parameters=sum(array.size for array in (*weights.kernels, *weights.biases)),
        macs_per_pixel=sum(kernel.size for kernel in weights.kernels) / 4,  # a position stands for 2×2 pixels
        license="weights: github.com/cszn/FFDNet, published for research without a licence",
        source_sha256=weights.sha256,
        created_with=versions(),
        extra={"made_from": made_from},
    )
