"""Quality: what denoisers make of noise, on what lies in the folder: images, pairs of photographs, or videos."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
import msgspec

from quietframe.cpu import physical_cores
from quietframe.errors import MissingExtraError, UsageError
from quietframe.images import read_image
from quietframe.noise.formats import FORMATS, find_format
from quietframe_bench import figures, options, plan, quality_tables
from quietframe_bench.baselines import FFDNET, check_networks, networks, time_entries
from quietframe_bench.classical import CBM3D, METHODS
from quietframe_bench.columns import Column, Table
from quietframe_bench.judging import (
    LEVEL_KNOWN,
    NOISY_INPUT,
    Candidate,
    Choice,
    Condition,
    Entry,
    QualityRow,
    choose,
    judge_entries,
    new_entry,
)
from quietframe_bench.kinds.speed import SpeedSettings, fastest_ms
from quietframe_bench.plan import OnStep, ignore_step
from quietframe_bench.results import Results
from quietframe_bench.rows import Row, Run
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
    "images": (*METHODS, FFDNET),
    "pairs": ("bilateral", "NLM"),  # the filters that are quick enough
    "formats": ("bilateral", "NLM"),
    "video": (),
}
_SIGMAS_255 = {"images": (15.0, 25.0, 50.0), "video": (15.0, 25.0, 50.0), "formats": (0.0, 10.0, 25.0), "pairs": ()}
_MEASURES = {
    "images": ("psnr_db", "ssim"),
    "pairs": ("psnr_db", "ssim"),
    "video": ("psnr_db", "flicker_255"),
    "formats": ("psnr_db", "ssim", "psnr_to_input_db"),
}
_CHOOSING = {"images": 8, "pairs": 12}  # about so many samples settings are chosen on; CBM3D takes half a minute each
_MIN_SIDE = 16  # of an image in a camera's format; SSIM needs 11


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
        baselines: other methods to judge beside the models, `("all",)` or `("none",)`; None: over formats bilateral
            and NLM, else none. Over formats settings are chosen on all of these very images, which favours them.
        formats: names in `quietframe.noise.formats.FORMATS`.
        crop: (rows, columns) to cut off the top left in formats; (3, 5) moves frames off the grid of a file's own JPEG.
        rule: how pairs are found.
        speed: how images' baselines are timed, at one size with one number of threads.
        ffdnet_weights: a folder with FFDNet's published weights; None: it is not measured.
        ffdnet_calibrate: a folder of images, none of them judged with, to calibrate its int8 file with; None: that
            file is not measured.
        ffdnet_cache: where its files go, or are, when made before; None: they are temporary.
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
    rule: PairRule = field(default_factory=PairRule)
    speed: SpeedSettings = field(default_factory=lambda: SpeedSettings(threads=(physical_cores(),)))
    ffdnet_weights: Path | None = None
    ffdnet_calibrate: Path | None = None
    ffdnet_cache: Path | None = None

    @property
    def source(self) -> str:
        """What is judged on; the kind must be known."""
        return "formats" if self.noise == "formats" else str(self.kind)

    @property
    def filters(self) -> list[str]:
        """The baselines whose settings are chosen."""
        return [name for name in self.baselines or () if name in METHODS and METHODS[name].grid]


class QualitySummary(Row, kw_only=True, tag="quality-summary"):
    """What belongs to no row in particular.

    Attributes:
        notes: how the figures came about, in sentences.
        details: how settings were chosen, how pairs were split, and what was not measured.
    """

    notes: list[str] = msgspec.field(default_factory=list)
    details: dict[str, Any] = msgspec.field(default_factory=dict)


class Material(NamedTuple):
    """What is judged.

    Attributes:
        samples: to report on.
        choosing: to choose settings on.
        conditions: the noise.
        gray: whether the samples are gray.
        halves: of pairs.
    """

    samples: Sequence[Sample]
    choosing: Sequence[Sample]
    conditions: Sequence[Condition]
    gray: bool
    halves: Halves | None = None


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
    names = {path: path.name if alike.count(path.name) == 1 else str(path) for path in paths}
    candidates = [NOISY_INPUT, *(Candidate(names[path], model=path) for path in paths)]
    entries = _entries(run, source, candidates, material.conditions)
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="quietframe-ffdnet-") as temporary:
        if FFDNET in (settings.baselines or ()):
            files = settings.ffdnet_weights, settings.ffdnet_calibrate, settings.ffdnet_cache or Path(temporary)
            entries += networks(run, material.conditions, *files, absent, gray=material.gray)
        judge_entries(entries, material.samples, on_step, measures=_MEASURES[source])
        choices = choose(run, _alternatives(settings, material, entries), material.choosing, on_step)
        chosen = _chosen(run, settings, material, choices, absent)
        judge_entries(chosen, material.samples, on_step, measures=_MEASURES[source])
        order = {path: index for index, path in enumerate([None, *paths])}
        entries = sorted(
            [*entries, *chosen],
            key=lambda one: len(order) if one.candidate.method else order.get(one.candidate.model, len(order)),
        )
        rows = [entry.row for entry in entries]
        _set_gains(rows)
        times = []
        if source == "images" and settings.baselines:
            times = time_entries(run, entries, settings.speed, on_step, gray=material.gray)
    notes = _notes(settings, material, choices, entries, absent)
    if not notes:
        return Results(rows)
    details: dict[str, Any] = {"gray": material.gray, "absent": absent}
    details["choices"] = [choice.as_record() for choice in choices]
    if material.halves:
        sides = {side: [pair.name for pair in getattr(material.halves, side)] for side in ("choose", "report")}
        details |= {"scenes": material.halves.scenes, **sides}
    return Results([*rows, *times, run.row(QualitySummary, None, notes=notes, details=details)])


def complete(settings: QualitySettings, folder: Path) -> QualitySettings:
    """Return the settings with what they leave open. Raises UsageError if they do not fit together."""
    settings = replace(settings, kind=settings.kind or find_kind(folder, settings.rule))
    source = settings.source
    if source == "formats" and settings.kind != "images":
        raise UsageError("--noise formats needs a folder of images")
    known, names = BASELINES[source], settings.baselines
    if names is None:
        names = known if source == "formats" else ()
    names = known if names == ("all",) else () if names == ("none",) else names
    if source == "video" and names:
        raise UsageError("baselines are judged on images and pairs, not on video")
    for name in names:
        if name not in known:
            raise UsageError(f"Unknown baseline {name!r}: expected one of {', '.join(known)}")
    if source == "pairs" and settings.every and not names:
        raise UsageError("--every goes with --baselines")
    needs_av = source == "formats" and any(find_format(name).codec == "h264" for name in settings.formats)
    if needs_av and importlib.util.find_spec("av") is None:
        raise MissingExtraError("PyAV, which encodes H.264,", "bench")
    if names and (len(settings.speed.sizes_wh) > 1 or len(settings.speed.threads) > 1):
        raise UsageError("--baselines compares at one --size and one number of --threads")
    return replace(settings, baselines=names, sigmas_255=settings.sigmas_255 or _SIGMAS_255[source])


def find_material(folder: Path, settings: QualitySettings) -> Material:
    """Find what is judged on. Raises SourceError if there is nothing, UsageError if it cannot be judged on."""
    levels, limit = settings.sigmas_255 or (), settings.limit
    white = [Condition(sigma_255) for sigma_255 in levels]
    if settings.source == "video":
        videos = find_videos(folder, settings.seed, limit)
        return Material(videos, videos, white, gray=False)
    if settings.source == "pairs":
        halves = split_by_scene(find_pairs(folder, settings.rule, limit), settings.rule)
        every = settings.every or _every(len(halves.choose), "pairs")
        gray = is_gray(halves.choose[0].clean[0])
        return Material(halves.report, halves.choose[::every], [Condition()], gray, halves)
    if settings.source == "formats":
        images = image_samples(folder, settings.seed, settings.crop)[:: settings.every or 1][:limit]
        for image in images:
            height, width = (
                side - cut for side, cut in zip(read_image(image.clean[0]).bgr.shape[:2], image.crop, strict=True)
            )
            if min(height, width) < _MIN_SIDE:
                size = f"{width}×{height}"
                raise UsageError(f"{image.clean[0]}: {size} pixels to judge, and {_MIN_SIDE}×{_MIN_SIDE} are needed")
        conditions = [Condition(sigma_255, name) for sigma_255 in levels for name in settings.formats]
        return Material(images, images, conditions, gray=False)
    images = image_samples(folder, settings.seed)[:limit]
    every = settings.every or _every(len(images), "images")
    gray = is_gray(images[0].clean[0])
    if settings.baselines:
        check_networks(folder, settings.ffdnet_weights, settings.ffdnet_calibrate, gray=gray)
    return Material(images, images[::every], white, gray)


def _every(count: int, source: str) -> int:
    """Return every how many samples to take so that there are about as many as wanted, evenly spread."""
    return max(1, round(count / _CHOOSING[source]))


def _entries(
    run: Run, source: str, candidates: Sequence[Candidate], conditions: Sequence[Condition], error: str | None = None
) -> list[Entry]:
    return [new_entry(run, source, one, condition, error) for one in candidates for condition in conditions]


def _alternatives(
    settings: QualitySettings, material: Material, entries: Sequence[Entry]
) -> list[tuple[Sequence[Candidate], Condition]]:
    """Return what is tried under each condition: settings of filters, and on pairs constant levels of models."""
    found: list[tuple[Sequence[Candidate], Condition]] = []
    for entry in entries:
        model = entry.candidate.model
        if settings.source == "pairs" and model and entry.row.conditioning == "sigma" and not entry.row.error:
            name = f"{entry.candidate.name}, constant level"
            levels = [Candidate(f"{name} {s:g}", model=model, given_sigma_255=s) for s in LEVELS_255]
            found.append((levels, entry.row.condition))
    in_formats = settings.source == "formats"
    for method in settings.filters:
        name = method if in_formats else f"{method}, best setting"
        for condition in material.conditions:
            if condition.sigma_255 != 0:
                near_255 = condition.sigma_255 if in_formats else None
                grid = METHODS[method].settings(gray=material.gray, near_255=near_255)
                found.append(([Candidate(name, method=method, setting=setting) for setting in grid], condition))
    return found


def _chosen(
    run: Run, settings: QualitySettings, material: Material, choices: Sequence[Choice], absent: dict[str, str]
) -> list[Entry]:
    """Make the rows of what was chosen, of filters at their textbook setting, and of CBM3D, which has no other."""
    source = settings.source

    def best(method: str | None) -> list[Entry]:
        found = [choice for choice in choices if choice.best.method == method]
        return [new_entry(run, source, choice.best, choice.condition, choice.error) for choice in found]

    entries = best(None)
    for method in settings.filters:
        entries += best(method)
        if source != "formats":
            textbook = Candidate(f"{method}, textbook", method=method, setting=METHODS[method].textbook)
            entries += _entries(run, source, [textbook], material.conditions)
    if CBM3D in (settings.baselines or ()):
        if importlib.util.find_spec("bm3d") is None:
            absent[CBM3D] = "pip install 'quietframe[baselines]' (for non-commercial use)"
            return entries
        every = settings.every or _every(len(material.samples), source)
        for condition in material.conditions:
            setting = {"sigma": condition.sigma_255 or 0.0}
            known = Candidate(f"{CBM3D}{LEVEL_KNOWN}", method=CBM3D, setting=setting, every=every)
            entries.append(new_entry(run, source, known, condition))
    return entries


def _set_gains(rows: Sequence[QualityRow]) -> None:
    """Derive how much better rows of pairs and formats are than the noisy input, and than the bilateral filter."""
    noisy = {row.condition: row for row in rows if row.is_noisy_input}
    bilateral = {row.condition: row for row in rows if row.source == "formats" and row.method == "bilateral"}
    for row in rows:
        if row.source not in ("pairs", "formats") or row.is_noisy_input:
            continue
        gains = row.gains_db(noisy[row.condition])
        row.gain_db = _mean(gains)
        if gains and row.source == "pairs":
            row.worst_sample = min(gains, key=gains.__getitem__)
            row.worst_gain_db = gains[row.worst_sample]
            row.gaining_share = sum(gain > 0 for gain in gains.values()) / len(gains)
        if (other := bilateral.get(row.condition)) and other is not row:
            row.lead_db = _mean(row.gains_db(other))


def _mean(gains: Mapping[str, float]) -> float | None:
    return sum(gains.values()) / len(gains) if gains else None


# Notes


def _notes(
    settings: QualitySettings,
    material: Material,
    choices: Sequence[Choice],
    entries: Sequence[Entry],
    absent: Mapping[str, str],
) -> list[str]:
    """Say how the figures came about, and which methods they favour."""
    if material.halves:
        return _pair_notes(settings.rule, material.halves, [one for one in choices if one.best.method])
    if settings.source != "images" or not settings.baselines:
        return []
    kind, total = "gray" if material.gray else "colour", len(material.samples)
    every = settings.every or _every(total, "images")
    on = f"one in {every} images" if every > 1 else "every image"
    (width, height), threads = settings.speed.sizes_wh[0], settings.speed.threads[0]
    grids = "; ".join(f"{method}: {METHODS[method].grid_text}" for method in settings.filters)
    notes = [
        f"{total} {kind} images; white Gaussian noise, rounded and clipped to 8 bits.",
        "Models estimate the noise level in every frame. Rows that say 'level known' get the true one, as published "
        "figures do; they have the time of the row without it.",
        f"'best setting': of a small grid, by mean PSNR at each level on {on} ({len(material.choosing)}) of these "
        f"same images, with the level known: that favours the filters. The grid: {grids}.",
        "'textbook': the setting of OpenCV's tutorials.",
        f"ms: medians on {width}×{height} {kind} frames with {threads} threads, OpenCV's as many; all methods are "
        "timed in turn, each in a process of its own. They include the estimate of the level and the frame's way to "
        "the engine and back.",
    ]
    if any(entry.candidate.method == CBM3D for entry in entries):
        notes.append(
            f"{CBM3D}: the bm3d package, profile np, on {on}: compare it in the table of those images. It assumes "
            "Gaussian noise, which it no longer is where it was clipped."
        )
    if material.gray:
        notes.append("Colour models see a gray frame as three equal channels.")
    return notes + [f"{name} is not measured: {what}" for name, what in absent.items()]


def _pair_notes(rule: PairRule, halves: Halves, choices: Sequence[Choice]) -> list[str]:
    noisy_end, clean_end = rule.suffixes
    by = "the last part of a name that begins with a letter" if rule.scene is None else rule.scene
    same = "".join(f"; {name} counts as {other}" for name, other in rule.same.items())
    half = {
        side: f"To {side} on: {sum(scenes.values())} pairs ({', '.join(f'{s} {count}' for s, count in scenes.items())})"
        for side, scenes in halves.scenes.items()
    }
    notes = [
        f"A pair: NAME{noisy_end}.* with the camera's noise, NAME{clean_end}.* without.",
        f"Split by scene ({by}{same}), so that none is in both halves; cameras can be. "
        f"{half['choose']}; {half['report']}.",
        "Models estimate the noise level in every frame. 'constant level': the one level that is best by mean PSNR on "
        f"the pairs to choose on, of {', '.join(f'{level:g}' for level in LEVELS_255)}: the difference is what the "
        "estimate costs.",
    ]
    if choices:
        grids = "; ".join(f"{one.best.method}: {METHODS[str(one.best.method)].grid_text}" for one in choices)
        settings = "; ".join(
            f"{one.best.method}: {', '.join(f'{name} {value:g}' for name, value in one.best.setting.items())}"
            for one in choices
        )
        notes += [
            f"'best setting': of a small grid, by mean PSNR on {choices[0].samples} of the pairs to choose on. "
            f"The grid: {grids}. Chosen: {settings}.",
            "'textbook': the setting of OpenCV's tutorials.",
        ]
    return notes


# What is shown

COLUMNS: dict[type[Row], Sequence[Column]] = {QualityRow: quality_tables.COLUMNS, QualitySummary: ()}


def tables(rows: Sequence[Any]) -> list[Table]:
    """Make the tables, and the notes."""
    notes = [Table("notes", (), notes=row.notes) for row in rows if isinstance(row, QualitySummary)]
    return [*quality_tables.tables_of([row for row in rows if isinstance(row, QualityRow)]), *notes]


def draw(rows: Sequence[Any], all_rows: Sequence[Row]) -> list[str]:
    """Draw PSNR against time."""
    return quality_tables.draw_front([row for row in rows if isinstance(row, QualityRow)], fastest_ms(all_rows))


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
@options.number("--seed", 0, "Seed of the noise.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first so many images, pairs or frames.")
@click.option(
    "--baselines",
    type=options.NAMES,
    help=f"Other methods beside the models: all, none or some of {', '.join(BASELINES['images'])}.  "
    "[default: none; formats: bilateral,NLM]",
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Choose baselines' settings, and judge CBM3D, on every N-th image; over formats, use every N-th.",
)
@click.option("--format", "formats", type=options.NAMES, default=tuple(FORMATS), help="Formats.  [default: all]")
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
@click.option("--ffdnet-weights", type=options.FOLDER, metavar="FOLDER", help="FFDNet's weights, as NumPy archives.")
@click.option("--ffdnet-calibrate", type=options.FOLDER, metavar="FOLDER", help="Images to calibrate its int8 file.")
@click.option("--ffdnet-cache", type=options.FOLDER, metavar="FOLDER", help="Keep FFDNet's files here.")
@options.sizes_option
@options.threads_option
@options.number("--runs", 50, "Baselines: timed frames.", low=1)
@options.number("--min-secs", 1.0, "Baselines: timed seconds.")
@options.number("--warmup", 3, "Baselines: warm-up frames.")
@click.option("--plot", type=options.FILE, metavar="PNG", help="Baselines: plot PSNR against time.")
@options.output_options
def command(
    folder: Path,
    models: tuple[str, ...],
    pair_suffixes: str,
    scene: str | None,
    same_scene: tuple[str, ...],
    plot: Path | None,
    **others: Any,
) -> Results:
    """Measure PSNR and SSIM on what lies in FOLDER: clean images, pairs of photographs, or videos.

    Clean images get white noise, or what is left of it in the formats of cameras. Pairs are a noisy and a clean
    photograph each. Videos are sub-folders of numbered frames; of them flicker is measured, too. Baselines are timed
    at one --size and one number of --threads.
    """
    if plot and not others["baselines"]:
        raise UsageError("--plot goes with --baselines")
    speed = SpeedSettings(**{name: others.pop(name) for name in ("sizes_wh", "threads", "runs", "min_secs", "warmup")})
    settings = QualitySettings(rule=_rule(pair_suffixes, scene, same_scene), speed=speed, **others)
    with plan.progress_bar() as on_step:
        results = quality(folder, models, settings, on_step=on_step)
    if plot:
        panels = quality_tables.front_panels([row for row in results if isinstance(row, QualityRow)], {})
        if not panels:
            raise UsageError("there is nothing to plot: no method has both a PSNR and a time")
        (width, height), machine = speed.sizes_wh[0], results[0].machine["cpu"]
        caption = f"{width}×{height}, threads: {speed.threads[0]}, {machine} · images of {folder.name}"
        figures.write_png(figures.front_figure(panels, caption), plot)
        click.echo(f"wrote {plot}", err=True)
    return results


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
