"""Draws what denoisers make of details, enlarged side by side: `python docs/research/crop_sheet.py --help`.

For eyes only: figures come from `quietframe bench`. Here one sees whether a model smears, bleeds colour or leaves
blotches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from quietframe.cpu import physical_cores
from quietframe.errors import QuietFrameError, UsageError
from quietframe.images import Image, read_image, write_image
from quietframe.noise import add_gaussian
from quietframe.noise.estimate import estimate_noise
from quietframe.noise.formats import find_format
from quietframe.quality import mean_psnr_db, psnr_db
from quietframe.tasks import Denoiser
from quietframe.zoo import find_model
from quietframe_bench.classical import METHODS, ClassicalDenoiser
from quietframe_bench.judging import Condition, add_noise, choose, new_entry
from quietframe_bench.rows import Run
from quietframe_bench.samples import PairRule, Sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = NDArray[np.uint8]

_INCHES = 1.9  # a cell


@dataclass(frozen=True)
class Crop:
    """A square detail of a image.

    Attributes:
        path: the image.
        left, top: of the detail, in pixels.
        label: what the sheet calls it.
        noisy: the image has a camera's own noise; else it is clean, and noise is added.
    """

    path: Path
    left: int
    top: int
    label: str
    noisy: bool = False

    @classmethod
    def parse(cls, text: str, *, noisy: bool = False) -> Crop:
        """`FILE@LEFT,TOP`, or with `@LABEL` behind. Raises UsageError if it is neither."""
        path, *rest = text.split("@")
        try:
            left, top = (int(number) for number in rest[0].split(","))
        except (IndexError, ValueError):
            raise UsageError(f"Expected FILE@LEFT,TOP or FILE@LEFT,TOP@LABEL. Received: {text!r}") from None
        return cls(Path(path), left, top, rest[1] if len(rest) > 1 else Path(path).stem, noisy)

    def cut(self, image: Pixels, side: int) -> Pixels:
        """The detail of a image. Raises UsageError if it is not whole in it."""
        height, width = image.shape[:2]
        if not (0 <= self.left <= width - side and 0 <= self.top <= height - side):
            raise UsageError(f"{self.path}: {side}×{side} at {self.left},{self.top} is not within {width}×{height}")
        return image[self.top : self.top + side, self.left : self.left + side]


@dataclass(frozen=True)
class Row:
    """One detail through all columns: label, and for each column the title below its cell and the cell (or None)."""

    label: str
    cells: Sequence[tuple[str, Pixels | None]]


def make_rows(
    crops: Sequence[Crop], models: Sequence[Path], *, sigma_255: float, side: int, seed: int = 0
) -> list[Row]:
    """What the noisy image, NLM and each model show of every detail; whole images are denoised.

    Args:
        crops: the details.
        models: model files.
        sigma_255: of the noise that is added to clean images.
        side: of a detail, in pixels.
        seed: of that noise.

    Raises QuietFrameError for what cannot be read or run.
    """
    images = []
    for index, crop in enumerate(crops):
        pixels = read_image(crop.path).pixels
        crop.cut(pixels, side)
        clean, noisy = _clean_twin(crop) if crop.noisy else pixels, pixels
        if not crop.noisy:
            noisy = add_gaussian(pixels, sigma_255, np.random.default_rng((seed, index)))
        images.append((crop, clean, noisy))
    denoisers = [Denoiser(path) for path in models]
    settings = _nlm_settings(images, sigma_255)
    rows = []
    for (crop, clean, noisy), setting in zip(images, settings, strict=True):
        nlm: Any = ClassicalDenoiser("NLM", setting, threads=physical_cores())
        cells: list[tuple[str, Pixels | None]] = [("", None if clean is None else crop.cut(clean, side))]
        for result in (noisy, *(denoise(noisy) for denoise in (nlm, *denoisers))):
            text = "" if clean is None else f"{psnr_db(clean, result):.1f} dB"
            cells.append((text, crop.cut(result, side)))
        rows.append(Row(crop.label, cells))
    return rows


def make_format_rows(
    crops: Sequence[Crop], models: Sequence[Path], formats: Sequence[str], *, sigma_255: float, side: int, seed: int = 0
) -> list[Row]:
    """Show every detail in every format: as delivered, by bilateral at its best and by each model, then clean.

    Args:
        crops: details of clean images; whole ones are delivered and denoised.
        models: model files.
        formats: names in `quietframe.noise.formats.FORMATS`.
        sigma_255: of the noise before the format, in 8-bit levels.
        side: of a detail, in pixels.
        seed: of the noise.

    Raises QuietFrameError for what cannot be read or run.
    """
    clean = [read_image(crop.path).bgr for crop in crops]
    details = [crop.cut(image, side) for crop, image in zip(crops, clean, strict=True)]
    denoisers = [Denoiser(path) for path in models]
    rows = []
    for form in map(find_format, formats):
        condition = Condition(sigma_255, form.name)
        noisy = [add_noise(one, condition, [seed, index]) for index, one in enumerate(clean)]
        pairs = list(zip(clean, noisy, strict=True))
        grid = METHODS["bilateral"].grid
        tried = [ClassicalDenoiser("bilateral", one, threads=physical_cores()) for one in grid]
        bilateral = max(tried, key=lambda one: mean_psnr_db((image, one(frame)) for image, frame in pairs))
        for crop, image, frame, detail in zip(crops, clean, noisy, details, strict=True):
            results = [frame, *(denoise(frame) for denoise in (bilateral, *denoisers))]
            cells = [(f"{psnr_db(image, result):.1f} dB", crop.cut(result, side)) for result in results]
            rows.append(Row(f"{crop.label}, {form.name}", [*cells, ("", detail)]))
    return rows


def _clean_twin(crop: Crop) -> Pixels | None:
    """The mean of many shots beside a noisy photograph, where its name says that there may be one."""
    noisy_end, clean_end = PairRule().suffixes
    if not crop.path.stem.endswith(noisy_end):
        return None
    twin = crop.path.with_stem(crop.path.stem.removesuffix(noisy_end) + clean_end)
    return read_image(twin).pixels if twin.is_file() else None


def _nlm_settings(images: Sequence[tuple[Crop, Pixels | None, Pixels]], sigma_255: float) -> list[dict[str, float]]:
    """For each image the best setting on the clean images, at the level that was added or is estimated."""
    levels = [round(estimate_noise(noisy)) if crop.noisy else sigma_255 for crop, _, noisy in images]
    files = list(dict.fromkeys(crop.path for crop, _, _ in images if not crop.noisy))
    clean = [Sample(path.name, (0, index), (path,)) for index, path in enumerate(files)]
    if not clean:
        return [dict(METHODS["NLM"].textbook)] * len(images)
    run, grid = Run({}), METHODS["NLM"].grid
    groups = [
        [new_entry(run, "images", "NLM", Condition(level), method="NLM", setting=dict(setting)) for setting in grid]
        for level in dict.fromkeys(levels)
    ]
    rows = [choice.best.row for choice in choose(groups, clean)]
    found = {row.sigma_255: dict(METHODS["NLM"].textbook) if row.error else row.setting for row in rows}
    return [found[level] for level in levels]


def sheet(rows: Sequence[Row], titles: Sequence[str]) -> Figure:
    """The rows below each other, a column for each model."""
    from matplotlib.figure import Figure

    size = (_INCHES * len(titles) + 0.3, (_INCHES + 0.2) * len(rows) + 0.3)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    grid = figure.subplots(len(rows), len(titles), squeeze=False)
    for axes_row, row in zip(grid, rows, strict=True):
        for axes, (text, pixels) in zip(axes_row, row.cells, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.set_xlabel(text, fontsize=8, labelpad=2, color="#555555")
            if pixels is not None:
                colour = pixels if pixels.ndim == 2 else pixels[:, :, ::-1]
                axes.imshow(colour, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes_row[0].set_ylabel(row.label, fontsize=9)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=10)
    return figure


@click.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("models", nargs=-1)
@click.option("--crop", "crops", multiple=True, metavar="FILE@LEFT,TOP[@LABEL]", help="A detail of a clean image.")
@click.option("--noisy", multiple=True, metavar="FILE@LEFT,TOP[@LABEL]", help="One of a noisy photograph.")
@click.option(
    "--format", "formats", multiple=True, metavar="NAME", help="Each --crop as a camera's format delivers it."
)
@click.option("--sigma", "sigma_255", type=click.FloatRange(0, 100), default=25.0, show_default=True)
@click.option("--side", type=click.IntRange(min=8), default=96, show_default=True, help="Of a detail, in pixels.")
def main(
    out: Path,
    models: tuple[str, ...],
    crops: tuple[str, ...],
    noisy: tuple[str, ...],
    formats: tuple[str, ...],
    sigma_255: float,
    side: int,
) -> None:
    """Write to OUT what NLM, with --format bilateral, at its best setting, and MODELS make of details of images."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    try:
        wanted = [Crop.parse(text) for text in crops] + [Crop.parse(text, noisy=True) for text in noisy]
        if not wanted:
            raise UsageError("nothing to show: give --crop or --noisy")
        if formats and noisy:
            raise UsageError("--format delivers clean images: give --crop, not --noisy")
        paths = [find_model(model) for model in models]
        names = [path.name.removesuffix(path.suffix).replace(".", " ") for path in paths]
        if formats:
            rows = make_format_rows(wanted, paths, formats, sigma_255=sigma_255, side=side)
            titles = ["as delivered", "bilateral", *names, "clean"]
        else:
            rows = make_rows(wanted, paths, sigma_255=sigma_255, side=side)
            titles = ["clean", "noisy", "OpenCV NLM", *names]
        canvas = FigureCanvasAgg(sheet(rows, titles))
        canvas.draw()
        write_image(out, Image(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, 2::-1])))
    except QuietFrameError as exc:
        raise click.ClickException(str(exc)) from None


if __name__ == "__main__":
    main()
