"""Quality: what denoisers make of noise, on what lies in the folder: images, pairs of photographs, or videos."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import click
import msgspec
import numpy as np
from jinja2 import Environment

from quietframe.cpu import physical_cores
from quietframe.errors import UsageError
from quietframe.images import read_image
from quietframe.noise.formats import FORMATS, find_format
from quietframe_bench import options, plan, plots, quality_tables
from quietframe_bench.classical import CBM3D, CLIP_METHODS, FRAME_METHODS, METHODS, missing_filters
from quietframe_bench.columns import Column, Table
from quietframe_bench.frames import NOISE_SIGMA_255
from quietframe_bench.judging import (
    NOISY_INPUT,
    Choice,
    Condition,
    Entry,
    QualityRow,
    choose,
    judge_entries,
    new_entry,
    unjudged,
)
from quietframe_bench.kinds.speed import SpeedJob, SpeedRow, SpeedSettings, fastest_ms, measure_speed
from quietframe_bench.plan import OnStep, ignore_step
from quietframe_bench.results import Results
from quietframe_bench.rows import FACTS, Row, Run
from quietframe_bench.samples import (
    FolderKind,
    Halves,
    PairRule,
    Sample,
    find_kind,
    find_pairs,
    find_videos,
    image_samples,
    is_gray,
    split_by_scene,
)

TITLE = "Quality"
LEVELS_255 = (0.0, 2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 20.0, 25.0, 30.0)
"""The constant levels that are tried on pairs in place of the estimate."""
BASELINES = {
    "images": tuple(FRAME_METHODS),
    "pairs": ("bilateral", "NLM"),  # the filters that are quick enough
    "formats": ("bilateral", "NLM"),
    "video": ("bilateral", "NLM", *CLIP_METHODS),
}
_SIGMAS_255 = {"white": (15.0, 25.0, 50.0), "formats": (0.0, 10.0, 25.0)}
_CHOOSING = {"images": 8, "pairs": 12, "video": 3}  # about so many samples settings are chosen on: CBM3D takes half a
# minute each, and multi-frame NLM seconds for a frame
_CHOOSING_FRAMES = 8  # of a video
_MIN_SIDE = 16  # of an image in a camera's format; SSIM needs 11


@dataclass(frozen=True)
class QualitySettings:
    """How to judge.

    Attributes:
        kind: what lies in the folder; None: found by looking, see `find_kind`.
        noise: `white`, or `formats`: white noise as the formats of cameras deliver it, videos as clips.
        sigmas_255: levels of the noise, in 8-bit levels; None: 15, 25 and 50, over formats 0, 10 and 25.
        seed: of the noise.
        limit: use only the first so many images, pairs, or frames of a video.
        skip: so many frames at the beginning of each video are shown, and left out of the figures.
        still: judge each video a second time with its first frame in place of all of them.
        every: choose settings, and judge CBM3D, on every so many images or videos; images over formats: use every so
            many.
        baselines: other methods to judge beside the models, `("all",)` or `("none",)`; None: of images over formats
            bilateral and NLM, else none. Over formats and on video settings are chosen on these very images or
            videos, which favours them.
        formats: names in `quietframe.noise.formats.FORMATS`.
        crop: (rows, columns) to cut off the top left in formats; (3, 5) moves frames off the grid of a file's own JPEG.
        rule: how pairs are found.
        speed: how images' baselines are timed, at one size with one number of threads.
    """

    kind: FolderKind | None = None
    noise: Literal["white", "formats"] = "white"
    sigmas_255: tuple[float, ...] | None = None
    seed: int = 0
    limit: int | None = None
    skip: int = 0
    still: bool = False
    every: int | None = None
    baselines: tuple[str, ...] | None = None
    formats: tuple[str, ...] = tuple(FORMATS)
    crop: tuple[int, int] = (0, 0)
    rule: PairRule = field(default_factory=PairRule)
    speed: SpeedSettings = field(default_factory=lambda: SpeedSettings(threads=(physical_cores(),)))

    @property
    def source(self) -> str:
        """What is judged on; the kind must be known."""
        return "formats" if self.noise == "formats" and self.kind == "images" else str(self.kind)

    @property
    def filters(self) -> list[str]:
        """The baselines whose settings are chosen."""
        return [name for name in self.baselines or () if name in METHODS and METHODS[name].grid]

    def step(self, count: int) -> int:
        """Return every how many of so many samples to take where all take too long: to have a few, evenly spread."""
        return self.every or max(1, round(count / _CHOOSING[self.source]))


class QualitySummary(Row, kw_only=True, tag="quality-summary"):
    """What belongs to no row in particular.

    Attributes:
        notes: how the figures came about, in sentences.
        details: how settings were chosen, and how pairs were split.
    """

    notes: list[str] = msgspec.field(default_factory=list)
    details: dict[str, Any] = msgspec.field(default_factory=dict)


class Material(NamedTuple):
    """What is judged: samples to report on, to choose settings on, the noise, whether all is gray, halves of pairs."""

    samples: Sequence[Sample]
    choosing: Sequence[Sample]
    conditions: Sequence[Condition]
    gray: bool = False
    halves: Halves | None = None

    @property
    def choosing_frames(self) -> int:
        """How many frames of a video settings are chosen on."""
        return max(len(sample.clean) - sample.skip for sample in self.choosing)


def quality(
    folder: str | Path,
    models: Sequence[str | Path] = (),
    settings: QualitySettings | None = None,
    *,
    on_step: OnStep = ignore_step,
) -> Results:
    """Judge denoisers on the images, pairs or videos in a folder, as they run on a device: 8-bit frames in and out.

    Args:
        folder: what to judge on.
        models: model files or names of built-in ones; without any, all built-in ones for frames.
        settings: how to judge.
        on_step: called with (what, step, steps) as it goes on.

    Returns:
        The noisy input, each model, then other methods, a row for each level and format; the times of those methods;
        and a summary of how settings were chosen. What fails is a failed row.

    Raises SourceError if the folder holds nothing to judge on, UsageError if settings do not fit together.
    """
    folder = Path(folder)
    settings = complete(settings or QualitySettings(), folder)
    paths, source = plan.find_models(models, frames=True), settings.source
    material = find_material(folder, settings)
    run = Run(settings, folder=folder.name)
    alike = [path.name for path in paths]
    names = [(path.name if alike.count(path.name) == 1 else str(path), path) for path in paths]
    entries = [
        new_entry(run, source, name, condition, path)
        for name, path in [(NOISY_INPUT, None), *names]
        for condition in material.conditions
    ]
    with TemporaryDirectory() as cache:
        judge = partial(judge_entries, on_step=on_step, cache=Path(cache))
        judge(entries, material.samples)
        choices = choose(_alternatives(run, settings, material, entries), material.choosing, on_step)
        chosen = _chosen(run, settings, material, choices)
        judge(chosen, material.samples)
    places = {path: place for place, path in enumerate([None, *paths])}  # methods stand behind models
    entries = sorted(
        [*entries, *chosen], key=lambda one: len(places) if one.row.method else places.get(one.model, len(places))
    )
    rows = [entry.row for entry in entries]
    _set_gains(rows)
    timed = source == "images" and settings.baselines
    times = _time(run, entries, settings.speed, on_step, gray=material.gray) if timed else []
    notes = _notes(settings, material, choices, rows)
    if not notes:
        return Results(rows)
    details: dict[str, Any] = {"gray": material.gray}
    details["choices"] = [choice.as_record() for choice in choices]
    if material.halves:
        sides = {side: [pair.name for pair in getattr(material.halves, side)] for side in ("choose", "report")}
        details |= {"scenes": material.halves.scenes, **sides}
    return Results([*rows, *times, run.row(QualitySummary, None, notes=notes, details=details)])


def complete(settings: QualitySettings, folder: Path) -> QualitySettings:
    """Return the settings with what they leave open. Raises UsageError if they do not fit together."""
    settings = replace(settings, kind=settings.kind or find_kind(folder, settings.rule))
    source = settings.source
    if settings.noise == "formats" and settings.kind == "pairs":
        raise UsageError("--noise formats needs a folder of images or videos")
    if source != "video" and (settings.still or settings.skip):
        raise UsageError(f"--{'still' if settings.still else 'skip'} needs a folder of videos")
    known, names = BASELINES[source], settings.baselines
    if names is None:
        names = known if source == "formats" else ()
    missing = missing_filters() if source == "video" and names else []
    if names == ("all",):
        names = tuple(name for name in known if name not in missing)
    names = () if names == ("none",) else names
    for name in names:
        if name not in known:
            raise UsageError(f"Unknown baseline {name!r}: expected one of {', '.join(known)}")
        if name in missing:
            raise UsageError(f"{name}: the program ffmpeg is not installed, or lacks this filter")
    if source != "formats" and settings.every and not names:
        raise UsageError("--every goes with --baselines")
    if source == "pairs" and settings.sigmas_255:
        raise UsageError("pairs have noise of their own: --sigma does not go with them")
    for name in settings.formats:
        find_format(name)  # an unknown one is said at once
    if names and (len(settings.speed.sizes_wh) > 1 or len(settings.speed.threads) > 1):
        raise UsageError("--baselines compares at one --size and one number of --threads")
    levels = () if source == "pairs" else settings.sigmas_255 or _SIGMAS_255[settings.noise]
    return replace(settings, baselines=names, sigmas_255=levels)


def find_material(folder: Path, settings: QualitySettings) -> Material:
    """Find what is judged on. Raises SourceError if there is nothing, UsageError if it cannot be judged on."""
    levels, limit = settings.sigmas_255 or (), settings.limit
    white = [Condition(sigma_255) for sigma_255 in levels]
    delivered = [Condition(level, name) for level in levels for name in settings.formats]
    if settings.source == "video":
        videos = find_videos(folder, settings.seed, limit, skip=settings.skip, crop=settings.crop)
        some = videos[:: settings.step(len(videos))]
        short = [replace(one, clean=one.clean[: settings.skip + _CHOOSING_FRAMES]) for one in some]
        noise = delivered if settings.noise == "formats" else white
        moving = [one._replace(motion="moving") for one in noise]
        still = [one._replace(motion="still") for one in noise if settings.still]
        return Material(videos, short, [*moving, *still], settings.noise == "white" and is_gray(videos[0].clean[0]))
    if settings.source == "pairs":
        halves = split_by_scene(find_pairs(folder, settings.rule, limit), settings.rule)
        choosing = halves.choose[:: settings.step(len(halves.choose))]
        return Material(halves.report, choosing, [Condition()], is_gray(choosing[0].clean[0]), halves)
    if settings.source == "formats":
        images = image_samples(folder, settings.seed, settings.crop)[:: settings.every or 1][:limit]
        for image in images:
            height, width = np.subtract(read_image(image.clean[0]).bgr.shape[:2], image.crop)
            if min(height, width) < _MIN_SIDE:
                size = f"{width}×{height}"
                raise UsageError(f"{image.clean[0]}: {size} pixels to judge, and {_MIN_SIDE}×{_MIN_SIDE} are needed")
        return Material(images, images, delivered)
    images = image_samples(folder, settings.seed)[:limit]
    gray = is_gray(images[0].clean[0])
    return Material(images, images[:: settings.step(len(images))], white, gray)


def _alternatives(
    run: Run, settings: QualitySettings, material: Material, entries: Sequence[Entry]
) -> list[list[Entry]]:
    """Return what is tried under each condition: constant levels of models on pairs, and settings of filters."""
    new = partial(new_entry, run, settings.source)
    groups = []
    for row, model in entries:
        if settings.source == "pairs" and model and row.conditioning == "sigma" and not row.error:
            name = f"{row.candidate}, constant level"
            groups.append([new(f"{name} {s:g}", row.condition, model, given_sigma_255=s) for s in LEVELS_255])
    alone = settings.source in ("formats", "video")  # without the textbook setting
    for method in settings.filters:
        name = method if alone else f"{method}, best setting"
        for condition in material.conditions:
            if condition.sigma_255 != 0 and condition.motion != "still":
                near_255 = condition.sigma_255 if alone else None
                grid = METHODS[method].settings(gray=material.gray, near_255=near_255)
                groups.append([new(name, condition, method=method, setting=dict(one)) for one in grid])
    return groups


def _chosen(run: Run, settings: QualitySettings, material: Material, choices: Sequence[Choice]) -> list[Entry]:
    """Make the rows of what was chosen, of filters at their textbook setting, and of CBM3D, which has no other."""
    new = partial(new_entry, run, settings.source)
    entries = [choice.best for choice in choices if choice.best.model]
    for method in settings.filters:
        best = [choice.best for choice in choices if choice.best.row.method == method]
        entries += best
        if settings.still:
            entries += [Entry(unjudged(row, motion="still"), None) for row, _ in best]
        if settings.source not in ("formats", "video"):
            how: dict[str, Any] = {"method": method, "setting": dict(METHODS[method].textbook)}
            entries += [new(f"{method}, textbook", condition, **how) for condition in material.conditions]
    if CBM3D in (settings.baselines or ()) and _has_cbm3d():
        every = settings.step(len(material.samples))
        for condition in material.conditions:
            how = {"method": CBM3D, "setting": {"sigma": condition.sigma_255 or 0.0}, "every": every}
            entries.append(new(f"{CBM3D}, level known", condition, **how))
    return entries


def _has_cbm3d() -> bool:
    return importlib.util.find_spec("bm3d") is not None


def _set_gains(rows: Sequence[QualityRow]) -> None:
    """Derive how much better rows of pairs and formats are than the noisy input, and than the bilateral filter."""
    noisy = {row.condition: row for row in rows if row.is_noisy_input}
    bilateral = {row.condition: row for row in rows if row.source == "formats" and row.method == "bilateral"}
    for row in rows:
        if row.source not in ("pairs", "formats") or row.is_noisy_input:
            continue
        gains = row.gains_db(noisy[row.condition])
        row.gain_db = fmean(gains.values()) if gains else None
        if gains and row.source == "pairs":
            row.worst_sample = min(gains, key=gains.__getitem__)
            row.worst_gain_db = gains[row.worst_sample]
            row.gaining_share = sum(gain > 0 for gain in gains.values()) / len(gains)
        if (other := bilateral.get(row.condition)) and other is not row:
            leads = row.gains_db(other).values()
            row.lead_db = fmean(leads) if leads else None


def _time(run: Run, entries: Sequence[Entry], speed: SpeedSettings, on_step: OnStep, *, gray: bool) -> list[SpeedRow]:
    """Time what was judged as `speed` does, in turn and each in a process of its own; note the time in its rows.

    A known level makes no row of its own, and methods that take a level get that of the frames that are timed.
    """
    users: dict[tuple[Any, ...], list[QualityRow]] = {}
    jobs: dict[tuple[Any, ...], SpeedJob] = {}
    for row, model in entries:
        if row.is_noisy_input or row.error is not None:
            continue
        setting = {"sigma": NOISE_SIGMA_255} if row.method == CBM3D else row.setting
        key = (model, row.method, *setting.items())
        users.setdefault(key, []).append(row)
        if key not in jobs:
            facts = {name: getattr(row, name) for name in FACTS}
            if row.method:
                facts["name"] = " ".join([row.method, METHODS[row.method].in_words(setting)]).strip()
            what = {"size_wh": speed.sizes_wh[0], "threads": speed.threads[0], "method": row.method, "setting": setting}
            jobs[key] = SpeedJob(model, run.row(SpeedRow, model, **facts, **what), gray)
    slow = [job for job in jobs.values() if job.row.method == CBM3D]  # half a minute for a frame of video
    measure_speed([job for job in jobs.values() if job not in slow], speed, on_step)
    measure_speed(slow, replace(speed, runs=1, min_secs=0, warmup=0), on_step)
    for key, job in jobs.items():
        for row in users[key]:
            row.total_p50_ms = job.row.p("total", 50)
    return [job.row for job in jobs.values()]


def _notes(
    settings: QualitySettings,
    material: Material,
    choices: Sequence[Choice],
    rows: Sequence[QualityRow],
) -> list[str]:
    """Say how the figures came about, and which methods they favour: a sentence for each line of the template."""
    if not material.halves and (settings.source == "formats" or not settings.baselines):
        return []
    template = files("quietframe_bench").joinpath("quality_notes.jinja").read_text(encoding="utf-8")
    known = {
        "settings": settings,
        "material": material,
        "missing": missing_filters() if settings.source == "video" else [],
        "levels": [f"{level:g}" for level in LEVELS_255],
        "grids": "; ".join(f"{method}: {METHODS[method].grid_text}" for method in settings.filters),
        "chosen": [choice.best.row for choice in choices if choice.best.row.method],
        "every": settings.step(len(material.samples)),
        "kind": "gray" if material.gray else "colour",
        "cbm3d": any(row.method == CBM3D for row in rows),
        "no_cbm3d": CBM3D in (settings.baselines or ()) and not _has_cbm3d(),
    }
    text = Environment(trim_blocks=True).from_string(template).render(known)
    return [line.strip() for line in text.splitlines() if line.strip()]


# What is shown

COLUMNS: dict[type[Row], Sequence[Column]] = {QualityRow: quality_tables.COLUMNS, QualitySummary: ()}


def tables(rows: Sequence[Any]) -> list[Table]:
    """Make the tables, and the notes."""
    notes = [Table("notes", (), notes=row.notes) for row in rows if isinstance(row, QualitySummary)]
    return [*quality_tables.tables_of([row for row in rows if isinstance(row, QualityRow)]), *notes]


def draw(rows: Sequence[Any], all_rows: Sequence[Row]) -> list[str]:
    """Draw PSNR against time, with the times of speed rows where there are none of its own."""
    panels = quality_tables.front_panels(rows, fastest_ms(all_rows))
    figure = plots.front_figure(panels, "median of the total") if panels else None
    return [plots.as_image(figure, "PSNR against time")] if figure else []


def draw_front(rows: Sequence[Any]) -> Any:
    """Draw PSNR against the time of baselines; None where no method has both."""
    if not (panels := quality_tables.front_panels(rows, {})):
        return None
    settings, cpu = rows[0].settings, rows[0].machine["cpu"]
    (width, height), threads = settings["speed"]["sizes_wh"][0], settings["speed"]["threads"][0]
    return plots.front_figure(panels, f"{width}×{height}, threads: {threads}, {cpu} · images of {settings['folder']}")


@click.command()
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
@options.list_option(
    "--sigma", "sigmas_255", kind=options.LEVELS, help="Noise levels.  [default: 15,25,50; formats: 0,10,25]"
)
@options.number("--seed", 0, "Seed of the noise.")
@click.option("--still", is_flag=True, help="Videos: judge each once more, with its first frame in place of all.")
@options.number("--skip", 0, "Videos: show the first so many frames, and leave them out of the figures.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first so many images, pairs or frames.")
@options.list_option(
    "--baselines",
    kind=options.NAMES,
    help=f"Other methods beside the models: all, none or some of {', '.join(BASELINES['images'])}; "
    f"of videos {', '.join(BASELINES['video'])}.  [default: none; images in formats: bilateral,NLM]",
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Choose baselines' settings, and judge CBM3D, on every N-th image or video; of images in formats, use every "
    "N-th.",
)
@options.list_option("--format", "formats", kind=options.NAMES, default=tuple(FORMATS), help="Formats.  [default: all]")
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
@options.sizes_option
@options.threads_option
@options.number("--runs", 50, "Baselines: timed frames.", low=1)
@options.number("--min-secs", 1.0, "Baselines: timed seconds.")
@options.number("--warmup", 3, "Baselines: warm-up frames.")
@partial(options.output_options, plot=("Baselines: plot PSNR against time.", draw_front))
@click.pass_context
def command(
    ctx: click.Context,
    /,
    folder: Path,
    models: tuple[str, ...],
    pair_suffixes: str,
    scene: str | None,
    same_scene: tuple[str, ...],
    on_step: OnStep,
    **others: Any,
) -> Results:
    """Measure PSNR and SSIM on what lies in FOLDER: clean images, pairs of photographs, or videos.

    Clean images get white noise, or what is left of it in the formats of cameras. Pairs are a noisy and a clean
    photograph each. Videos are sub-folders of numbered frames, or --as video one folder of them; of them flicker and
    ghosts are measured, too, and the time of their frames. Baselines of images are timed at one --size and one number
    of --threads.
    """
    timing = ("sizes_wh", "threads", "runs", "min_secs", "warmup")
    if others["noise"] != "formats":
        options.reject(ctx, ["formats", "crop"], "goes with --noise formats")
    if not others["baselines"]:
        options.reject(ctx, [*timing, "plot_path"], "goes with --baselines")
    speed = SpeedSettings(**{name: others.pop(name) for name in timing})
    settings = QualitySettings(rule=_rule(pair_suffixes, scene, same_scene), speed=speed, **others)
    if complete(settings, folder).kind == "video":
        options.reject(ctx, [*timing, "plot_path"], "does not go with videos, whose own frames are timed")
    return quality(folder, models, settings, on_step=on_step)


def _rule(pair_suffixes: str, scene: str | None, same_scene: Sequence[str]) -> PairRule:
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
    return PairRule((noisy_end, clean_end), scene, same)
