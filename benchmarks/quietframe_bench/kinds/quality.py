"""Quality: what denoisers make of noise, on what lies in the folder: images, pairs of photographs, or videos."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import click

from quietframe.cpu import physical_cores
from quietframe.errors import SourceError, UsageError
from quietframe.noise.formats import FORMATS
from quietframe_bench import figures, options, plan
from quietframe_bench.candidates import ImageSettings, QualityRow
from quietframe_bench.classical import METHODS
from quietframe_bench.kinds import formats, images, pairs, video
from quietframe_bench.kinds.baselines import FFDNET, BaselineSettings, compare_with_baselines
from quietframe_bench.kinds.speed import SpeedSettings
from quietframe_bench.plan import OnStep, ignore_step
from quietframe_bench.results import Results

FolderKind = Literal["images", "pairs", "video"]


@dataclass(frozen=True)
class QualitySettings:
    """How to judge.

    Attributes:
        kind: what lies in the folder; None: found by looking, see `find_kind`.
        noise: `white`, or `formats`: white noise as the formats of cameras deliver it.
        sigmas_255: levels of the noise, in 8-bit levels; None: 15, 25 and 50, over formats 0, 10 and 25.
        seed: of the noise.
        limit: use only the first so many images, pairs, or frames of a video.
        every: choose settings, and judge CBM3D, on every so many images; over formats, use every so many.
        baselines: other methods to judge beside the models; None: over formats bilateral and NLM, else none.
        formats, crop: see `FormatSettings`.
        rule: how pairs are found.
        speed: how images' baselines are timed.
        ffdnet_weights, ffdnet_calibrate, ffdnet_cache: see `BaselineSettings`; without a cache FFDNet's files are
            temporary.
    """

    kind: FolderKind | None = None
    noise: Literal["white", "formats"] = "white"
    sigmas_255: tuple[float, ...] | None = None
    seed: int = 0
    limit: int | None = None
    every: int | None = None
    baselines: tuple[str, ...] | None = None
    formats: tuple[str, ...] = tuple(FORMATS)
    crop: tuple[int, int] = (0, 0)
    rule: pairs.PairRule = field(default_factory=pairs.PairRule)
    speed: SpeedSettings = field(default_factory=lambda: SpeedSettings(threads=(physical_cores(),)))
    ffdnet_weights: Path | None = None
    ffdnet_calibrate: Path | None = None
    ffdnet_cache: Path | None = None


def quality(
    folder: str | Path,
    models: Sequence[str | Path] = (),
    settings: QualitySettings | None = None,
    *,
    on_step: OnStep = ignore_step,
) -> Results:
    """Judge denoisers on the images, pairs or videos in a folder.

    Args:
        folder: what to judge on.
        models: model files or names of built-in ones; without any, all built-in ones for frames.
        settings: how to judge.
        on_step: called with (what, step, steps) as it goes on.

    Raises SourceError if the folder holds nothing to judge on, UsageError if settings do not fit together.
    """
    settings, folder = settings or QualitySettings(), Path(folder)
    kind = settings.kind or find_kind(folder, settings.rule)
    paths = plan.find_models(models, frames=True)
    if settings.noise == "formats":
        if kind != "images":
            raise UsageError("--noise formats needs a folder of images")
        return formats.measure_formats(paths, _format_settings(folder, settings), on_step)
    if kind == "video":
        if settings.baselines:
            raise UsageError("baselines are judged on images and pairs, not on video")
        levels = settings.sigmas_255 or (15.0, 25.0, 50.0)
        return video.measure_video(paths, video.VideoSettings(folder, levels, settings.seed, settings.limit), on_step)
    if kind == "pairs":
        if settings.every and not settings.baselines:
            raise UsageError("--every goes with --baselines")
        names = settings.baselines or ()
        how = pairs.PairsSettings(folder, settings.rule, settings.limit, names, settings.every)
        return pairs.measure_pairs(paths, how, on_step)
    how_images = ImageSettings(folder, settings.sigmas_255 or (15.0, 25.0, 50.0), settings.seed, settings.limit)
    if not settings.baselines:
        return images.measure_images(paths, how_images, on_step)
    with tempfile.TemporaryDirectory(prefix="quietframe-ffdnet-") as temporary:
        baselines = BaselineSettings(
            settings.baselines,
            settings.speed,
            settings.ffdnet_weights,
            settings.ffdnet_calibrate,
            settings.ffdnet_cache or Path(temporary),
            settings.every,
        )
        return compare_with_baselines(paths, how_images, baselines, on_step)


def find_kind(folder: Path, rule: pairs.PairRule) -> FolderKind:
    """Return what lies in a folder: pairs by the ends of their names, videos as sub-folders of numbered frames."""
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    if video.is_video_folder(folder):
        return "video"
    noisy_end, clean_end = rule.suffixes
    stems = {path.with_suffix("") for path in plan.find_images(folder)}
    names = [stem.with_name(stem.name.removesuffix(noisy_end)) for stem in stems if stem.name.endswith(noisy_end)]
    return "pairs" if any(name.with_name(f"{name.name}{clean_end}") in stems for name in names) else "images"


def _format_settings(folder: Path, settings: QualitySettings) -> formats.FormatSettings:
    return formats.FormatSettings(
        folder,
        settings.sigmas_255 or formats.SIGMAS_255,
        settings.formats,
        formats.BASELINES if settings.baselines is None else settings.baselines,
        settings.every or 1,
        settings.limit,
        settings.crop,
        settings.seed,
    )


def draw_front(results: Results, path: Path, caption: str) -> None:
    """Plot PSNR against time as PNG. Raises UsageError if nothing was timed."""
    panels = images.front_panels([row for row in results if type(row) is QualityRow], {})
    if not panels:
        raise UsageError("there is nothing to plot: no method has both a PSNR and a time")
    figures.write_png(figures.front_figure(panels, caption), path)


@click.command(short_help="Measure PSNR and SSIM on images, pairs or videos.")
@click.argument("folder", type=options.FOLDER)
@options.models_argument
@click.option(
    "--as",
    "kind",
    type=click.Choice(["images", "pairs", "video"]),
    help="What lies in FOLDER.  [default: found by looking]",
)
@click.option(
    "--noise",
    type=click.Choice(["white", "formats"]),
    default="white",
    show_default=True,
    help="White noise, or the same as the formats of cameras deliver it.",
)
@click.option("--sigma", "sigmas_255", type=options.LEVELS, help="Noise levels.  [default: 15,25,50; formats: 0,10,25]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the noise.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first so many images, pairs or frames.")
@click.option(
    "--baselines",
    type=options.NAMES,
    help=f"Other methods beside the models: all, none or some of {', '.join((*METHODS, FFDNET))}.  "
    "[default: none; formats: bilateral,NLM]",
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Choose baselines' settings, and judge CBM3D, on every N-th image; over formats, use every N-th.",
)
@click.option("--format", "format_names", type=options.NAMES, help="Formats of cameras.  [default: all]")
@click.option(
    "--crop",
    type=click.IntRange(min=0),
    nargs=2,
    default=(0, 0),
    metavar="ROWS COLUMNS",
    help="Formats: cut so much off the top left; 3 5 moves frames off the grid of the files' own JPEG.",
)
@click.option(
    "--pair-suffixes", default="_real,_mean", show_default=True, metavar="NOISY,CLEAN", help="Ends of pairs' names."
)
@click.option("--scene", metavar="REGEX", help="Finds the scene in a pair's name.")
@click.option("--same-scene", multiple=True, metavar="A=B", help="Two names of one scene; may be repeated.")
@click.option(
    "--ffdnet-weights", type=options.FOLDER, metavar="FOLDER", help="Published weights of FFDNet, as NumPy archives."
)
@click.option(
    "--ffdnet-calibrate", type=options.FOLDER, metavar="FOLDER", help="Images to calibrate FFDNet's int8 file with."
)
@click.option("--ffdnet-cache", type=options.FOLDER, metavar="FOLDER", help="Keep FFDNet's files here.")
@click.option(
    "--size", "size_wh", type=options.SIZE, default="640x480", show_default=True, help="Baselines: size to time at."
)
@click.option("--threads", type=click.IntRange(min=1), help="Baselines: CPU threads.  [default: physical cores]")
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True, help="Baselines: timed frames.")
@click.option(
    "--min-secs", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Baselines: timed seconds."
)
@click.option("--warmup", type=click.IntRange(min=0), default=3, show_default=True, help="Baselines: warm-up frames.")
@click.option("--plot", type=options.FILE, metavar="PNG", help="Baselines: plot PSNR against time.")
@options.output_options
def command(
    folder: Path,
    models: tuple[str, ...],
    kind: FolderKind | None,
    noise: Literal["white", "formats"],
    sigmas_255: tuple[float, ...] | None,
    seed: int,
    limit: int | None,
    baselines: tuple[str, ...] | None,
    every: int | None,
    format_names: tuple[str, ...] | None,
    crop: tuple[int, int],
    pair_suffixes: str,
    scene: str | None,
    same_scene: tuple[str, ...],
    ffdnet_weights: Path | None,
    ffdnet_calibrate: Path | None,
    ffdnet_cache: Path | None,
    size_wh: tuple[tuple[int, int], ...],
    threads: int | None,
    runs: int,
    min_secs: float,
    warmup: int,
    plot: Path | None,
) -> Results:
    """Measure PSNR and SSIM on what lies in FOLDER: clean images, pairs of photographs, or videos.

    Clean images get white noise, or what is left of it in the formats of cameras. Pairs are a noisy and a clean
    photograph each. Videos are sub-folders of numbered frames; of them flicker is measured, too.
    """
    if plot and not baselines:
        raise UsageError("--plot goes with --baselines")
    rule = _rule(pair_suffixes, scene, same_scene)
    kind = kind or find_kind(folder, rule)
    settings = QualitySettings(
        kind=kind,
        noise=noise,
        sigmas_255=sigmas_255,
        seed=seed,
        limit=limit,
        every=every,
        baselines=_baselines(baselines, noise, kind),
        formats=format_names or tuple(FORMATS),
        crop=crop,
        rule=rule,
        speed=SpeedSettings(size_wh, (threads or physical_cores(),), runs, min_secs, warmup),
        ffdnet_weights=ffdnet_weights,
        ffdnet_calibrate=ffdnet_calibrate,
        ffdnet_cache=ffdnet_cache,
    )
    with plan.progress_bar() as on_step:
        results = quality(folder, models, settings, on_step=on_step)
    if plot:
        (width, height), (count,) = size_wh[0], settings.speed.threads
        machine = results[0].machine["cpu"]
        draw_front(results, plot, f"{width}×{height}, threads: {count}, {machine} · images of {folder.name}")
        click.echo(f"wrote {plot}", err=True)
    return results


def _baselines(names: tuple[str, ...] | None, noise: str, kind: FolderKind) -> tuple[str, ...] | None:
    """Return the methods that are meant by `all` and `none`."""
    if names == ("all",):
        if noise == "formats":
            return formats.BASELINES
        return pairs.METHOD_NAMES if kind == "pairs" else (*METHODS, FFDNET)
    return () if names == ("none",) else names


def _rule(pair_suffixes: str, scene: str | None, same_scene: Sequence[str]) -> pairs.PairRule:
    noisy_end, comma, clean_end = pair_suffixes.partition(",")
    if not (comma and noisy_end) or noisy_end == clean_end or "," in clean_end:
        raise UsageError(f"Expected --pair-suffixes such as _real,_mean. Received: {pair_suffixes!r}")
    try:
        re.compile(scene or "")
    except re.error as exc:
        raise UsageError(f"--scene {scene!r}: not a regular expression ({exc})") from exc
    same = dict(text.partition("=")[::2] for text in same_scene)
    if not all(same.values()) or "" in same:
        raise UsageError(f"Expected --same-scene such as grass=flower. Received: {same_scene!r}")
    return pairs.PairRule((noisy_end, clean_end), scene, same)
