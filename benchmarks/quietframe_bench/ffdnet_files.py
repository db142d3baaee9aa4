"""FFDNet as files that the runtime runs, made by QuietFrame's own exporter.

Engine, frames and noise levels are then the same as for every other model.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe import __version__
from quietframe.assets import photo_bgr
from quietframe.card import Colour, DataTerms, ModelCard, Precision, Spatial, TensorSpec, parse_card
from quietframe.errors import MissingExtraError, ModelLoadError, QuietFrameError, UsageError
from quietframe.noise import MAX_SIGMA_255, add_gaussian
from quietframe.tasks.base import open_engine
from quietframe_bench.ffdnet import Weights, build, read_weights
from quietframe_bench.image_quality import find_pictures

if TYPE_CHECKING:
    from quietframe_export import Subject

WEIGHTS: Mapping[Colour, str] = {"BGR": "ffdnet_color_clip.npz", "GRAY": "ffdnet_gray.npz"}
"""The file of the weights for colour and for gray pictures."""

_PUBLISHED: Mapping[Colour, str] = {"BGR": "models/FFDNet_Clip_color.mat", "GRAY": "models/FFDNet_gray.mat"}
_NAMES: Mapping[Colour, str] = {"BGR": "ffdnet-color-clip", "GRAY": "ffdnet-gray"}
_PATCH_SIDE = 128
_CALIBRATION_PATCHES = 64
_HELD_OUT_PATCHES = 16
_HELD_OUT_SIGMAS_255 = (15.0, 25.0, 50.0)
_ANY_DROP_DB = 1000.0  # what a peer loses in 8 bits is a finding, not a reason to leave it out


def how_to_get_weights(colour: Colour) -> str:
    """One line for the user who has no weights."""
    return (
        f"--peer-weights FOLDER with {WEIGHTS[colour]}: the published weights (github.com/cszn/FFDNet, "
        f"{_PUBLISHED[colour]}) as NumPy arrays w0, b0, w1, b1, …, HWIO float32"
    )


def file_name(colour: Colour, precision: Precision) -> str:
    """What the file is called."""
    return f"{_NAMES[colour]}.{precision}.tflite"


def make_files(
    weights_folder: Path, colour: Colour, precisions: Sequence[Precision], out: Path, *, calibrate: Path | None
) -> dict[Precision, Path]:
    """The network's TFLite files, made in `out` unless they are there from the same weights and calibration.

    Args:
        weights_folder: holds one of `WEIGHTS`.
        colour: of the pictures to come: BGR or GRAY.
        precisions: fp32 or int8; int8 needs `calibrate`.
        out: folder; made if missing.
        calibrate: a folder of pictures that are not tested with. Three quarters calibrate, with noise of σ 0 to
            75; the rest proves the files, as in every export.

    Raises:
        SourceError: no weights, or no pictures.
        MissingExtraError: the exporter's packages are not installed.
        UsageError: int8 without pictures to calibrate with.
        OutputError: the folder takes no files.
    """
    weights = read_weights(weights_folder / WEIGHTS[colour])
    if "int8" in precisions and calibrate is None:
        raise UsageError("int8 needs pictures to calibrate with: --peer-calibrate FOLDER")
    calibrated_with = _folder_record(calibrate)
    files: dict[Precision, Path] = {precision: out / file_name(colour, precision) for precision in precisions}
    missing = [one for one, path in files.items() if not _is_made(path, one, weights, calibrated_with)]
    if missing:
        _export(weights, colour, missing, out, calibrate, calibrated_with)
    return files


def _is_made(path: Path, precision: Precision, weights: Weights, calibrated_with: str) -> bool:
    """Whether a file is there that this version made from the same things, as its card tells."""
    if not path.is_file():
        return False
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
    """A folder and its pictures' names and sizes in one line, to tell whether it is the same again."""
    if folder is None:
        return "nothing"
    found = [f"{path.relative_to(folder)} {path.stat().st_size}" for path in find_pictures(folder)]
    digest = hashlib.sha256("\n".join(found).encode()).hexdigest()
    return f"{folder.name}: {len(found)} pictures, {digest[:16]}"


def _export(
    weights: Weights,
    colour: Colour,
    precisions: Sequence[Precision],
    out: Path,
    calibrate: Path | None,
    calibrated_with: str,
) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from quietframe_export.quiet import suppress_native_output

        with suppress_native_output() as say:
            say("exporting FFDNet")
            from quietframe_export.exporter import export_model
            from quietframe_export.targets import TARGETS

            subject = _subject(weights, colour, calibrate, calibrated_with)
            targets = [TARGETS[f"tflite-{precision}"] for precision in precisions]
            report = export_model(
                subject,
                targets,
                out,
                max_psnr_drop_db=_ANY_DROP_DB,
                hold_to_checks=False,  # a peer is measured as it is
                overwrite=True,
                progress=say,
            )
    except ModuleNotFoundError as exc:
        raise MissingExtraError(exc.name or "the exporter", "export") from exc
    for file in report.files:
        if file.outcome != "passed":
            raise ModelLoadError(f"FFDNet as {file.target}: {file.reason}")


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
        held_out_from=f"{len(samples)} patches of other pictures",
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
