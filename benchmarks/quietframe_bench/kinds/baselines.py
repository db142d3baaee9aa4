"""Other methods beside the models: OpenCV's filters at their best setting, CBM3D and FFDNet, and the time of each."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from quietframe.errors import QuietFrameError, UsageError
from quietframe_bench import ffdnet
from quietframe_bench.candidates import (
    LEVEL_KNOWN,
    NOISY_INPUT,
    Candidate,
    Entry,
    ImageSettings,
    TestImage,
    judge_entries,
    new_entry,
)
from quietframe_bench.classical import CBM3D, METHODS, Setting
from quietframe_bench.columns import Column, Table
from quietframe_bench.frames import NOISE_SIGMA_255
from quietframe_bench.kinds.speed import ROUNDS, SpeedSettings, rounds_of, stage_figures
from quietframe_bench.plan import OnStep, find_images, ignore_step, is_gray
from quietframe_bench.process import Child, ChildError
from quietframe_bench.results import Results
from quietframe_bench.rows import Row, Run, StageTimes, SummaryRow, Time, named_failure, set_fields, utc_now

if TYPE_CHECKING:
    from quietframe.card import Colour

SUBSET_IMAGES = 8
"""On about so many images settings are chosen, and CBM3D is judged: it takes half a minute for one."""
MAX_SECS = 60.0
"""A candidate is timed for so long at most, or for one frame: CBM3D would take an hour for fifty."""
FFDNET = "FFDNet"

_SLOW_MS = 1000.0  # candidates whose first frame takes longer need no warm-up in every round


@dataclass(frozen=True)
class BaselineSettings:
    """What is compared with, and how it is timed.

    Attributes:
        names: of the methods in `quietframe_bench.classical.METHODS`, and FFDNet.
        speed: one size and one number of threads to time at.
        weights: a folder with FFDNet's published weights; None: FFDNet is not measured.
        calibrate: a folder of images, none of them judged with, to calibrate FFDNet's int8 file with; None:
            that file is not measured.
        cache: where FFDNet's files go, or are, when made before.
        every: settings are chosen and CBM3D is judged on every so many images; None: on about `SUBSET_IMAGES`.
    """

    names: Sequence[str] = (*METHODS, FFDNET)
    speed: SpeedSettings = field(default_factory=SpeedSettings)
    weights: Path | None = None
    calibrate: Path | None = None
    cache: Path = Path("ffdnet")
    every: int | None = None

    @property
    def filters(self) -> Sequence[str]:
        """The methods whose settings are chosen."""
        return [name for name in self.names if name in METHODS and METHODS[name].grid]


@dataclass(frozen=True)
class Choice:
    """How a method's setting was chosen at one noise level.

    Attributes:
        method: a name in `quietframe_bench.classical.METHODS`.
        sigma_255: the level of the noise that was added; None: the images had their own.
        tried: each setting of the grid with its mean PSNR in dB, best first; empty if nothing could be judged.
        images: on how many images.
        error: why nothing could be judged.
    """

    method: str
    sigma_255: float | None
    tried: Sequence[tuple[Setting, float]]
    images: int
    error: str | None = None

    @property
    def setting(self) -> Setting | None:
        """The best one."""
        return self.tried[0][0] if self.tried else None


class TimeRow(Row, kw_only=True, tag="baseline-time"):
    """How long one candidate takes for a frame, at one size with one number of threads.

    Attributes:
        candidate, method, setting: see `Candidate`.
        used_by: the candidates of the rows of quality that have this time.
        macs: multiply-accumulates for a frame; None for what is no network.
        warmup_ns, samples_ns: the raw times.
    """

    candidate: str
    method: str | None = None
    setting: dict[str, float] = msgspec.field(default_factory=dict)
    used_by: list[str] = msgspec.field(default_factory=list)
    first_frame_ms: float | None = None
    macs: int | None = None
    macs_per_pixel: float | None = None
    stages: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    total_over_engine_p50: float | None = None
    total_over_engine_mean: float | None = None
    frames_per_s_p50: float | None = None
    warmup_ns: list[Time] = msgspec.field(default_factory=list)
    samples_ns: StageTimes = msgspec.field(default_factory=StageTimes)

    @property
    def gmacs_per_s(self) -> float | None:
        """10⁹ multiply-accumulates a second while the engine runs; None for what is no network."""
        engine_ms = self.samples_ns.p50_ms("engine")
        return self.macs / engine_ms / 1e6 if engine_ms and self.macs else None

    def failures(self) -> list[str]:
        """Say why it could not be timed."""
        return [named_failure(self.candidate, self.error)] if self.error else []


class QualitySummary(SummaryRow, kw_only=True, tag="quality-summary"):
    """How settings were chosen, what was not measured, and notes."""


def check_settings(images: ImageSettings, settings: BaselineSettings) -> None:
    """Say beforehand what would only come to light after minutes.

    Raises:
        SourceError: a folder without images.
        UsageError: an unknown method, several sizes or numbers of threads, weights that are missing, or images that
            are judged with among those to calibrate with.
    """
    for name in settings.names:
        if name not in (*METHODS, FFDNET):
            raise UsageError(f"Unknown baseline {name!r}: expected some of {', '.join((*METHODS, FFDNET))}")
    if len(settings.speed.sizes_wh) > 1 or len(settings.speed.threads) > 1:
        raise UsageError("--baselines compares at one --size and one number of --threads")
    found = find_images(images.folder, images.limit)
    if settings.weights is not None:
        wanted = settings.weights / ffdnet.WEIGHTS[_colour(found[0])]
        if not wanted.is_file():
            raise UsageError(f"{wanted}: no such file: expected {ffdnet.how_to_get_weights(_colour(found[0]))}")
    elif settings.calibrate is not None:
        raise UsageError("--ffdnet-calibrate is for FFDNet: name its weights with --ffdnet-weights FOLDER")
    if settings.calibrate is not None:
        judged = {_digest(path): path for path in find_images(images.folder)}
        for path in find_images(settings.calibrate):
            if twin := judged.get(_digest(path)):
                raise UsageError(f"{path}: is also judged with ({twin}): calibrate with other images")


def compare_with_baselines(
    models: Sequence[Path], images: ImageSettings, settings: BaselineSettings, on_step: OnStep = ignore_step
) -> Results:
    """Judge and time our models, FFDNet and the classical methods in one run. One that fails is a failed row.

    FFDNet's files are exported first, which writes to standard error.
    """
    check_settings(images, settings)
    run = Run(images, **_record(settings))
    found = images.images()
    every = settings.every or every_for(len(found), SUBSET_IMAGES)
    gray = _colour(found[0].clean) == "GRAY"
    absent: dict[str, str] = {}
    networks = _networks(run, images, settings, found[0].clean, absent) if FFDNET in settings.names else []
    choices = choose_settings(
        run, settings.filters, images.sigmas_255, found[::every], gray=gray, seed=images.seed, on_step=on_step
    )
    entries = _entries(run, [NOISY_INPUT, *(Candidate(path.name, model=path) for path in models)], images.sigmas_255)
    entries += networks
    for method in settings.filters:
        entries += [entry for choice in choices if choice.method == method for entry in [best_entry(run, choice)]]
        textbook = Candidate(f"{method}, textbook", method=method, setting=METHODS[method].textbook)
        entries += _entries(run, [textbook], images.sigmas_255)
    if CBM3D in settings.names and importlib.util.find_spec("bm3d") is None:
        absent[CBM3D] = "pip install 'quietframe[baselines]' (for non-commercial use)"
    elif CBM3D in settings.names:
        entries += [_level_known(run, Candidate(CBM3D, method=CBM3D, every=every), s) for s in images.sigmas_255]
    judge_entries(entries, found, images.seed, on_step)
    times = _measure_times(run, entries, settings.speed, gray=gray, on_step=on_step)
    details = {
        "every": every,
        "gray": gray,
        "absent": absent,
        "textbook": {method: dict(METHODS[method].textbook) for method in settings.filters},
        "choices": [asdict(choice) for choice in choices],
    }
    notes = _notes(entries, settings, choices, details, len(found))
    return Results([*(e.row for e in entries), *times, run.row(QualitySummary, None, notes=notes, details=details)])


def choose_settings(
    run: Run,
    methods: Sequence[str],
    sigmas_255: Sequence[float | None],
    images: Sequence[TestImage],
    *,
    gray: bool,
    seed: int = 0,
    on_step: OnStep = ignore_step,
) -> list[Choice]:
    """Try every setting of each method on every image at each level, and rank them by mean PSNR; of equals, the first.

    gray: the images are gray.
    """
    entries = [
        new_entry(run, Candidate(f"{method}, grid", method=method, setting=setting), sigma_255)
        for method in methods
        for setting in METHODS[method].settings(gray=gray)
        for sigma_255 in sigmas_255
    ]
    judge_entries(entries, images, seed, on_step, measures=("psnr_db",))
    groups: dict[tuple[str, float | None], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((str(entry.candidate.method), entry.row.sigma_255), []).append(entry)
    return [_choose(method, sigma_255, groups[method, sigma_255]) for method in methods for sigma_255 in sigmas_255]


def _choose(method: str, sigma_255: float | None, entries: Sequence[Entry]) -> Choice:
    reached = [(entry.candidate.setting, entry.row.psnr_db) for entry in entries if entry.row.psnr_db is not None]
    reached.sort(key=lambda one: -one[1])
    failed = [why for entry in entries for why in entry.row.failed_images.values()]
    error = None if reached else next(iter(failed), "no images to choose a setting on")
    return Choice(method, sigma_255, reached, entries[0].row.images, error)


def every_for(count: int, wanted: int) -> int:
    """Return every how many of `count` images to take so that there are about `wanted`, evenly spread."""
    return max(1, round(count / wanted))


def best_entry(run: Run, choice: Choice, **fields: Any) -> Entry:
    """Make the row of a method at its best setting."""
    candidate = Candidate(f"{choice.method}, best setting", method=choice.method, setting=choice.setting or {})
    return new_entry(run, candidate, choice.sigma_255, error=choice.error, **fields)


def _networks(
    run: Run, images: ImageSettings, settings: BaselineSettings, first: Path, absent: dict[str, str]
) -> list[Entry]:
    """Make FFDNet's files, where weights and images to calibrate with are given. What fails is a failed row."""
    colour = _colour(first)
    entries = []
    for precision in ffdnet.PRECISIONS:
        name = f"{FFDNET} {precision}"
        if settings.weights is None:
            absent[name] = ffdnet.how_to_get_weights(colour)
            continue
        if precision == "int8" and settings.calibrate is None:
            absent[name] = "--ffdnet-calibrate FOLDER with images that are not judged with"
            continue
        candidate = Candidate(name, model=settings.cache / ffdnet.file_name(colour, precision))
        error = None
        try:
            ffdnet.make_files(settings.weights, colour, [precision], settings.cache, calibrate=settings.calibrate)
        except QuietFrameError as exc:
            error = str(exc)
        made = _entries(run, [candidate], images.sigmas_255)
        made += [_level_known(run, candidate, sigma_255) for sigma_255 in images.sigmas_255]
        for entry in made:
            entry.row.error = error
        entries += made
    return entries


def _entries(run: Run, candidates: Sequence[Candidate], sigmas_255: Sequence[float]) -> list[Entry]:
    return [new_entry(run, candidate, sigma_255) for candidate in candidates for sigma_255 in sigmas_255]


def _level_known(run: Run, candidate: Candidate, sigma_255: float) -> Entry:
    """Make a row of a candidate that knows the level; its name says so."""
    name = f"{candidate.name}{LEVEL_KNOWN}"
    if candidate.method is None:
        return new_entry(run, replace(candidate, name=name, given_sigma_255=sigma_255), sigma_255)
    setting = {str(METHODS[candidate.method].sigma_parameter): sigma_255}
    return new_entry(run, replace(candidate, name=name, setting=setting), sigma_255)


# Times


def timed_as(candidate: Candidate) -> Candidate:
    """Return what is timed for a candidate.

    A known level makes no row of its own, and methods that take a level get that of the frames that are timed.
    """
    setting = candidate.setting
    if candidate.method is not None and (parameter := METHODS[candidate.method].sigma_parameter):
        setting = {parameter: NOISE_SIGMA_255}
    name = candidate.method or candidate.name.removesuffix(LEVEL_KNOWN)
    return Candidate(name, model=candidate.model, method=candidate.method, setting=setting)


def _measure_times(
    run: Run, entries: Sequence[Entry], settings: SpeedSettings, *, gray: bool, on_step: OnStep
) -> list[TimeRow]:
    """Time the candidates, each in a process of its own, in turn and over again, as `speed` does."""
    users: list[tuple[Candidate, list[Entry]]] = []
    for entry in entries:
        if entry.candidate.is_noisy_input or entry.row.error is not None:
            continue
        wanted = timed_as(entry.candidate)
        known = next((found for candidate, found in users if candidate == wanted), None)
        if known is None:
            users.append((wanted, known := []))
        known.append(entry)
    rows = [_time_row(run, candidate, found) for candidate, found in users]
    steps, step = len(rows) * (ROUNDS + 1), 0
    with ExitStack() as stack:
        opened = []
        for row, (candidate, _) in zip(rows, users, strict=True):
            on_step(f"open {row.candidate}", step, steps)
            step += 1
            child = stack.enter_context(Child())
            opened.append((row, child))
            _open(row, candidate, child, settings, gray=gray)
        for turn, (_, order) in enumerate(rounds_of(opened, ROUNDS)):
            for row, child in order:
                on_step(f"time {row.candidate}", step, steps)
                step += 1
                _time(row, child, settings, turn)
    for row, (_, found) in zip(rows, users, strict=True):
        row.finished_utc = utc_now()
        if row.error is None:
            set_fields(row, stage_figures(row.samples_ns))
            for entry in found:
                entry.row.total_p50_ms = row.samples_ns.p50_ms("total")
    return rows


def _time_row(run: Run, candidate: Candidate, users: Sequence[Entry]) -> TimeRow:
    return run.row(
        TimeRow,
        candidate.model,
        candidate=candidate.name,
        method=candidate.method,
        setting=dict(candidate.setting),
        used_by=[_user(entry) for entry in users],
        macs_per_pixel=users[0].row.macs_per_pixel,
    )


def _user(entry: Entry) -> str:
    return f"{entry.candidate.name}, σ {entry.row.sigma_255:g}"


def _open(row: TimeRow, candidate: Candidate, child: Child, settings: SpeedSettings, *, gray: bool) -> None:
    where = {"size_wh": settings.sizes_wh[0], "threads": settings.threads[0], "gray": gray}
    try:
        facts = child.call("kinds.baselines:TimedCandidate", candidate=candidate.request(), **where)
    except ChildError as exc:
        row.error = str(exc)
        return
    row.first_frame_ms, row.macs = facts["first_frame_ms"], facts["macs"]


def _time(row: TimeRow, child: Child, settings: SpeedSettings, turn: int) -> None:
    """Time one round: its share of the frames, evenly over the rounds."""
    if row.error or row.first_frame_ms is None:
        return
    frames = min(settings.runs, max(1, int(MAX_SECS * 1000 / row.first_frame_ms)))
    share = frames * (turn + 1) // ROUNDS - frames * turn // ROUNDS
    if not share:
        return
    slow = row.first_frame_ms > _SLOW_MS
    how = {"warmup": 0 if slow else settings.warmup, "min_secs": 0 if slow else settings.min_secs / ROUNDS}
    try:
        times = child.call("kinds.baselines:TimedCandidate.time", runs=share, **how)
    except ChildError as exc:
        row.error = str(exc)
        return
    row.warmup_ns += times["warmup_ns"]
    row.samples_ns.extend(times["stages_ns"])


class TimedCandidate:
    """A candidate under the stopwatch, in its measuring process; its first frame was run."""

    def __init__(self, *, candidate: dict[str, Any], size_wh: list[int], threads: int, gray: bool) -> None:
        import cv2

        from quietframe import Denoiser
        from quietframe_bench.candidates import open_candidate
        from quietframe_bench.frames import open_feed
        from quietframe_bench.subject import frame_macs
        from quietframe_bench.timing import Stopwatch

        cv2.setNumThreads(threads)
        subject: Any = open_candidate(**candidate, threads=threads)
        self._watch = Stopwatch(subject, open_feed(None, (size_wh[0], size_wh[1]), gray=gray).frame)
        first_ns = self._watch.call()[-1]
        macs = frame_macs(subject, size_wh) if isinstance(subject, Denoiser) else None
        self.facts = {"first_frame_ms": first_ns / 1e6, "macs": macs}

    def time(self, *, warmup: int, runs: int, min_secs: float) -> dict[str, Any]:
        """Time some frames. See `Stopwatch.run`."""
        samples = self._watch.run(warmup=warmup, runs=runs, min_secs=min_secs)
        return {"warmup_ns": samples.warmup_ns, "stages_ns": samples.stages_ns}


# Columns, tables and notes


def _in_words(row: TimeRow) -> str:
    """Return the setting, without what is the same in every setting of the method."""
    if row.method is None:
        return ""
    method = METHODS[row.method]
    shown = {
        name: value
        for name, value in row.setting.items()
        if any(other.get(name, value) != method.textbook.get(name) for other in method.grid)
        or name == method.sigma_parameter
    }
    return ", ".join(f"{name} {value:g}" for name, value in shown.items())


_TIMES = (
    Column("timed", lambda row: row.candidate, name="candidate"),
    Column("setting", _in_words, name="setting", words=True),
    Column("ms", lambda row: row.samples_ns.p50_ms("total"), ".1f", "total_p50_ms"),
    Column("engine ms", lambda row: row.samples_ns.p50_ms("engine"), ".1f", "engine_p50_ms"),
    Column("frames", lambda row: len(row.samples_ns.total) or None, name="frames"),
    Column("MB", lambda row: row.model and row.model.file_bytes, ".3f", "file_bytes", scale=1e-6),
    Column("MAC/px", lambda row: row.macs_per_pixel, ",.0f", "macs_per_pixel"),
    Column("GMAC/s", lambda row: row.gmacs_per_s, ".0f", "gmacs_per_s"),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {TimeRow: _TIMES, QualitySummary: ()}


def tables(rows: Sequence[Any]) -> list[Table]:
    """Make the table of times, and the notes."""
    times = [row for row in rows if isinstance(row, TimeRow)]
    summaries = [row for row in rows if isinstance(row, QualitySummary)]
    made = []
    if times:
        speed = times[0].settings["baselines"]["speed"]
        (width, height), threads = speed["sizes_wh"][0], speed["threads"][0]
        made.append(Table(f"a frame of {width}×{height}, medians, threads: {threads}", _TIMES, times))
    return [*made, *(Table("notes", (), notes=summary.notes) for summary in summaries)]


def _notes(
    entries: Sequence[Entry],
    settings: BaselineSettings,
    choices: Sequence[Choice],
    details: Mapping[str, Any],
    images: int,
) -> list[str]:
    """Say how the figures came about, and which methods they favour."""
    every = details["every"]
    on = f"one in {every} images" if every > 1 else "every image"
    grids = "; ".join(f"{method}: {METHODS[method].grid_text}" for method in settings.filters)
    size_wh, threads = settings.speed.sizes_wh[0], settings.speed.threads[0]
    kind = "gray" if details["gray"] else "colour"
    notes = [
        f"{images} {kind} images; white Gaussian noise, rounded and clipped to 8 bits.",
        "Models estimate the noise level in every frame. Rows that say 'level known' get the true one, as published "
        "figures do; they have the time of the row without it.",
        f"'best setting': of a small grid, by mean PSNR at each level on {on} "
        f"({next((choice.images for choice in choices), 0)}) of these same images, with the level known: that favours "
        f"the filters. The grid: {grids}.",
        "'textbook': the setting of OpenCV's tutorials.",
        f"ms: medians on {size_wh[0]}×{size_wh[1]} {kind} frames with {threads} threads, OpenCV's as many; all methods "
        "are timed in turn, each in a process of its own. They include the estimate of the level and the frame's way "
        "to the engine and back.",
    ]
    if any(entry.candidate.method == CBM3D for entry in entries):
        notes.append(
            f"{CBM3D}: the bm3d package, profile np, on {on}: compare it in the table of those images. It assumes "
            "Gaussian noise, which it no longer is where it was clipped."
        )
    if details["gray"]:
        notes.append("Colour models see a gray frame as three equal channels.")
    return notes + [f"{name} is not measured: {what}" for name, what in details["absent"].items()]


def _record(settings: BaselineSettings) -> dict[str, Any]:
    return {
        "baselines": {
            "names": list(settings.names),
            "every": settings.every,
            "ffdnet_weights": settings.weights and settings.weights.name,
            "ffdnet_calibrate": settings.calibrate and settings.calibrate.name,
            "speed": asdict(settings.speed),
        }
    }


def _colour(image: Path) -> Colour:
    """Return what the images are, by one of them."""
    return "GRAY" if is_gray(image) else "BGR"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
