"""Image quality over the formats of cameras: models beside OpenCV's filters at their best."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from quietframe.cpu import physical_cores
from quietframe.errors import QuietFrameError, UsageError
from quietframe.images import read_image
from quietframe.noise.estimate import estimate_noise
from quietframe.noise.formats import FORMATS, Format, deliver_noisy, find_format
from quietframe.quality import mean_psnr_db, psnr_db, ssim
from quietframe_bench.classical import METHODS, ClassicalDenoiser, Frame, Setting
from quietframe_bench.contenders import NOISY_INPUT, Contender
from quietframe_bench.image_quality import OnStep, QualityRow, find_pictures

SIGMAS_255 = (0.0, 10.0, 25.0)
"""The noise levels of a run, in 8-bit levels; 0: clean frames in the format."""

BASELINES = ("bilateral", "NLM")
"""The filters beside the models: names in `quietframe_bench.classical.METHODS`."""

_MIN_SIDE = 16  # of an image; SSIM needs 11
_NLM_SEARCH = 11  # a window of 21 takes four times as long, and was not better in any format
_NLM_H = 0.25, 1.2  # the least and the greatest `h` that is tried, as shares of the noise level

Pair: TypeAlias = tuple[Frame, Frame]
"""A clean image and the same as delivered: (H, W, 3) uint8 BGR each."""


@dataclass
class FormatRow(QualityRow):
    """A model, a filter, or the frames as delivered, in one format at one noise level.

    Its `figures` are each image's `psnr_db` and `ssim` against the clean image; for the frames as delivered also
    `estimated_sigma_255`, for all others `psnr_to_input_db`, against the frame as delivered.

    Attributes:
        format: a name in `quietframe.noise.formats.FORMATS`.
        noisy: the row of the frames as delivered; None: this is it.
        bilateral: the row of the bilateral filter at its best; None: without it, or this is it.
    """

    format: str = "rgb"
    noisy: FormatRow | None = field(default=None, repr=False)
    bilateral: FormatRow | None = field(default=None, repr=False)

    @property
    def gain_db(self) -> float | None:
        """Mean PSNR minus that of the frames as delivered, in dB; at σ 0 it says what is lost."""
        return self._over(self.noisy)

    @property
    def lead_db(self) -> float | None:
        """Mean PSNR minus that of the bilateral filter at its best, in dB."""
        return self._over(self.bilateral)

    def as_record(self) -> dict[str, Any]:
        """Return the row for JSON, with each image's figures."""
        return {
            "format": self.format,
            **super().as_record(),
            "psnr_to_input_db": self.mean("psnr_to_input_db"),
            "gain_db": self.gain_db,
            "lead_db": self.lead_db,
        }

    def _over(self, other: FormatRow | None) -> float | None:
        ours, theirs = self.mean("psnr_db"), None if other is None else other.mean("psnr_db")
        return None if ours is None or theirs is None else ours - theirs


@dataclass(frozen=True)
class _Model:
    """A model that was opened, or why it could not be."""

    contender: Contender
    denoise: Callable[[Frame], Frame] | None
    facts: Mapping[str, Any]
    error: str | None = None


def measure_formats(
    folder: Path,
    models: Sequence[Path],
    *,
    sigmas_255: Sequence[float] = SIGMAS_255,
    formats: Sequence[str] = tuple(FORMATS),
    baselines: Sequence[str] = BASELINES,
    every: int = 1,
    limit: int | None = None,
    crop: tuple[int, int] = (0, 0),
    seed: int = 0,
    on_step: OnStep = lambda text, step, steps: None,
) -> list[FormatRow]:
    """Judge denoisers as they run on a device, on clean images with white noise as a camera's format delivers them.

    Image number i of the folder, in a format at level σ, draws its noise from
    `numpy.random.default_rng([seed, i, round(σ · 1000), CRC-32 of the format's name])`.

    Args:
        folder: of clean images; subfolders are searched too. Gray ones become three equal planes.
        models: model files; the noise level is estimated in every frame.
        sigmas_255: of the noise before the format, in 8-bit levels; 0: clean frames, without baselines.
        formats: names in `quietframe.noise.formats.FORMATS`.
        baselines: of `BASELINES`; each has the setting with the greatest mean PSNR on these very images in this
            format at this level, which favours it.
        every: use every so many images, sorted by path.
        limit: use only the first so many of these.
        crop: (rows, columns) to cut off the top left; (3, 5) moves frames off the 8×8 grid of a file's own JPEG.
        seed: of the noise.
        on_step: called with (what, step, steps) as it goes on.

    Returns:
        For each level and format: the frames as delivered, the baselines, the models. A model that fails has an error.

    Raises:
        UsageError: no such format or baseline, or an image that is too small.
        SourceError: no images, or one that cannot be read.
        MissingExtraError: a format needs PyAV, and it is not installed.
    """
    forms = [find_format(name) for name in formats]
    for name in baselines:
        if name not in BASELINES:
            raise UsageError(f"Unknown baseline {name!r}: expected {' or '.join(BASELINES)}")
    images = _read_images(folder, every, limit, crop)
    names = [path.name for path in models]
    opened = [_open(path, path.name if names.count(path.name) == 1 else str(path)) for path in models]
    conditions = [(sigma_255, form) for sigma_255 in sigmas_255 for form in forms]
    rows: list[FormatRow] = []
    for step, (sigma_255, form) in enumerate(conditions):
        on_step(f"{form.name}, σ {sigma_255:g}", step, len(conditions))
        frames = {
            name: (clean, deliver_image(clean, form, sigma_255, seed=seed, index=index))
            for index, name, clean in images
        }
        rows += _judge(frames, form, sigma_255, opened, baselines if sigma_255 else ())
    return rows


def deliver_image(clean: Frame, form: Format, sigma_255: float, *, seed: int, index: int) -> Frame:
    """Return a clean image with noise as a format delivers it; `measure_formats` says how the noise is drawn.

    clean: (H, W, 3) uint8 BGR, and so is the result. sigma_255: of the noise, in 8-bit levels. index: of the image.
    """
    entropy = [seed, index, round(sigma_255 * 1000), zlib.crc32(form.name.encode())]
    return deliver_noisy(clean, sigma_255, form, np.random.default_rng(entropy))


def best_setting(method: str, sigma_255: float, pairs: Sequence[Pair]) -> Setting:
    """Return the setting of a filter with the greatest mean PSNR; of equals, the first.

    method: of `BASELINES`. sigma_255: the noise level before the format. pairs: what it is to be best on.
    """
    apply, threads = METHODS[method].apply, physical_cores()

    def reached(setting: Setting) -> float:
        return mean_psnr_db((clean, apply(frame, setting, threads)) for clean, frame in pairs)

    return max(settings_for(method, sigma_255), key=reached)


def settings_for(method: str, sigma_255: float) -> Sequence[Setting]:
    """Return the settings of a filter that are tried at a noise level: its grid, or of slow NLM's those about it."""
    settings = METHODS[method].settings(gray=False)
    if method != "NLM":
        return settings
    least, greatest = (share * sigma_255 for share in _NLM_H)
    near = [one for one in settings if one["searchWindowSize"] == _NLM_SEARCH and least <= one["h"] <= greatest]
    return near or settings[:1]


def _judge(
    frames: Mapping[str, Pair], form: Format, sigma_255: float, models: Sequence[_Model], baselines: Sequence[str]
) -> list[FormatRow]:
    """Make the rows of one format and level."""
    noisy = FormatRow(NOISY_INPUT, sigma_255, format=form.name)
    for name, (clean, frame) in frames.items():
        noisy.figures[name] = _figures(clean, frame) | {"estimated_sigma_255": estimate_noise(frame)}
    new_row = partial(FormatRow, sigma_255=sigma_255, format=form.name, noisy=noisy)
    filters = {}
    for method in baselines:
        setting = best_setting(method, sigma_255, list(frames.values()))
        filters[method] = new_row(Contender(method, method=method, setting=setting))
        _fill(filters[method], ClassicalDenoiser(method, setting, threads=physical_cores()), frames)
    rows = [*filters.values()]
    for model in models:
        rows.append(new_row(model.contender, facts=dict(model.facts), error=model.error))
        if model.denoise is not None:
            _fill(rows[-1], model.denoise, frames)
    bilateral = filters.get("bilateral")
    for row in rows:
        row.bilateral = None if row is bilateral else bilateral
    return [noisy, *rows]


def _fill(row: FormatRow, denoise: Callable[[Frame], Frame], frames: Mapping[str, Pair]) -> None:
    """Add the figures of every frame to a row, or why that cannot be."""
    try:
        for name, (clean, frame) in frames.items():
            result = denoise(frame)
            row.figures[name] = _figures(clean, result) | {"psnr_to_input_db": psnr_db(frame, result)}
    except QuietFrameError as exc:
        row.figures.clear()
        row.error = str(exc)


def _figures(clean: Frame, result: Frame) -> dict[str, float]:
    return {"psnr_db": psnr_db(clean, result), "ssim": ssim(clean, result)}


def _open(path: Path, name: str) -> _Model:
    from quietframe import Denoiser

    contender = Contender(name, model=path)
    try:
        denoise = Denoiser(path)
    except QuietFrameError as exc:
        return _Model(contender, None, {}, str(exc))
    return _Model(contender, denoise, {"name": denoise.card.name, "precision": denoise.card.precision})


def _read_images(folder: Path, every: int, limit: int | None, crop: tuple[int, int]) -> list[tuple[int, str, Frame]]:
    """Read the images as (number in the folder, name, clean (H, W, 3) uint8 BGR)."""
    images = []
    for index, path in list(enumerate(find_pictures(folder)))[::every][:limit]:
        clean = np.ascontiguousarray(read_image(path).bgr[crop[0] :, crop[1] :])
        if min(clean.shape[:2]) < _MIN_SIDE:
            height, width = clean.shape[:2]
            raise UsageError(f"{path}: {width}×{height} pixels to judge, and {_MIN_SIDE}×{_MIN_SIDE} are needed")
        images.append((index, path.relative_to(folder).as_posix(), clean))
    return images
