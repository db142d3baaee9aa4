"""What run folders cannot say alone: models behind one another, against noise of every level, and their speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import QuietFrameError
from quietframe.noise import to_uint8
from quietframe.quality import mean_psnr_db
from quietframe_bench.results.collect import Collection, Entry, by_noise, noise_words
from quietframe_bench.results.models import FLOAT, INT8, Model, fits_8bit, open_model
from quietframe_bench.results.test_sets import TestSets
from quietframe_bench.speed import SpeedRow, SpeedSettings, measure_speed

if TYPE_CHECKING:
    from quietframe_train.corruption import ImageCorruption
    from quietframe_train.image_set import ImageSet

CHAMPION = "digit-unet"
"""The recipe that every other digit denoiser is set against."""

SIGMAS = tuple(round(0.1 * step, 1) for step in range(13))
ROBUSTNESS_IMAGES = 1000
LATENCY = SpeedSettings(threads=(1,), runs=50, min_secs=0.5)
PRECISIONS: Mapping[str, tuple[str, ...]] = {"float": FLOAT, "int8": INT8}

OnStep = Callable[[str], None]
Given = TypeVar("Given")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Reading:
    """What a classifier made of the test images with a noise, behind a denoiser or alone.

    Attributes:
        noise: its key, or `clean`.
        denoiser, classifier: names of the runs; denoiser None: the noisy images themselves.
        precision: `float` or `int8`, of both models.
        files: what ran, the denoiser's first.
        taken: (N,) int64, what each image was taken for.
        accuracy: share of those taken rightly.
    """

    noise: str
    denoiser: str | None
    classifier: str
    precision: str
    files: tuple[str, ...]
    taken: NDArray[np.int64]
    accuracy: float


@dataclass(frozen=True)
class Robustness:
    """Denoisers against N(0, σ²), clipped to 8 bits.

    Attributes:
        images: how many of the test images.
        classifier: the run that reads the denoised images; None: there is none.
        files: by run, what ran.
        psnr_db, accuracy: by run, a value for each of `SIGMAS`; under `None` without a denoiser. NaN: no value.
    """

    images: int
    classifier: str | None
    files: Mapping[str, str]
    psnr_db: Mapping[str | None, Sequence[float]]
    accuracy: Mapping[str | None, Sequence[float]]


@dataclass(frozen=True)
class Confusion:
    """Counts of a classifier's answers.

    Attributes:
        title: what was read, by what.
        classes: their names.
        counts: (true class, taken for) int64.
    """

    title: str
    classes: Sequence[str]
    counts: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Share of the right answers."""
        return float(np.trace(self.counts) / max(1, self.counts.sum()))


@dataclass
class Measured:
    """Everything that the command measured.

    Attributes:
        digits: how many digits were read, and from which set; empty if none were.
        readings: see `Reading`.
        robustness: None: not measured.
        confusions: matrices that stand side by side, by the name of their figure.
        latency: by run, the rows of its files; None: not asked for.
        notes: what was not measured, and why.
        failures: what should have worked and did not.
    """

    digits: str = ""
    readings: list[Reading] = field(default_factory=list)
    robustness: Robustness | None = None
    confusions: dict[str, list[Confusion]] = field(default_factory=dict)
    latency: dict[str, list[SpeedRow]] | None = None
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def accuracy(self, noise: str, denoiser: str | None, classifier: str, precision: str = "float") -> float | None:
        """Of a reading; None if there is none."""
        wanted = (noise, denoiser, classifier, precision)
        found = (r for r in self.readings if (r.noise, r.denoiser, r.classifier, r.precision) == wanted)
        return next((reading.accuracy for reading in found), None)


def measure(found: Collection, data: TestSets, *, latency: bool, on_step: OnStep = lambda text: None) -> Measured:
    """Measure what the page shows beyond the figures of the run folders.

    Args:
        found: the runs.
        data: where their test images are.
        latency: whether to time the exported files.
        on_step: told what is measured next.
    """
    measured = Measured()
    _measure_digits(found, data, measured, on_step)
    for entry in found.main("pictures", "classify"):
        on_step(f"{entry.name}: confusion")
        _confuse_pictures(entry, data, measured)
    if latency:
        measured.latency = {}
        for entry in found.entries:
            if paths := [file.path for file in entry.files if file.path]:
                on_step(f"{entry.name}: latency")
                measured.latency[entry.name] = _time(entry, paths, measured)
    return measured


def confuse(title: str, classes: Sequence[str], labels: NDArray[np.int64], taken: NDArray[np.int64]) -> Confusion:
    """Count what images of each class were taken for."""
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (labels, taken), 1)
    return Confusion(title, classes, counts)


def _measure_digits(found: Collection, data: TestSets, measured: Measured, on_step: OnStep) -> None:
    denoisers = [entry for entry in found.main("digits", "denoise") if not entry.does("classify")]
    classifiers = found.main("digits", "classify")
    if not denoisers and not classifiers:
        return
    first = (denoisers or classifiers)[0]
    splits = data.find(first.run)
    if splits is None:
        measured.notes.append(
            f"{first.run.data.name}, which {first.name} was trained on, was not found: nothing was measured on digits; "
            "name it with --data"
        )
        return
    others = {e.name: e.set_name for e in (*denoisers, *classifiers) if e.set_name != first.set_name}
    for name, set_name in others.items():
        measured.notes.append(f"{name} was tested on {set_name}, not on {first.set_name}: not compared with the others")
    denoisers = [entry for entry in denoisers if entry.name not in others]
    classifiers = [entry for entry in classifiers if entry.name not in others]
    measured.digits = f"{first.set_name}, {len(splits.test):,} images"
    for precision, targets in PRECISIONS.items():
        opened = {e.name: _open(e, targets, measured) for e in (*denoisers, *classifiers)}
        _read(splits.test, denoisers, classifiers, opened, precision, measured, on_step)
        if precision == "float":
            measured.robustness = _robustness(splits.test, denoisers, classifiers, opened, measured, on_step)
    _confuse_digits(classifiers, splits.test, splits.classes, measured)


def _open(entry: Entry, targets: Sequence[str], measured: Measured) -> Model | None:
    try:
        return open_model(entry, targets)
    except QuietFrameError as exc:
        measured.failures.append(str(exc))
    return None


def _read(
    test: ImageSet,
    denoisers: Sequence[Entry],
    classifiers: Sequence[Entry],
    opened: Mapping[str, Model | None],
    precision: str,
    measured: Measured,
    on_step: OnStep,
) -> None:
    """Every classifier on every noise: alone, and behind each denoiser that is measured with that noise."""
    from quietframe_train.evaluate import noisy_images

    noises: dict[str, ImageCorruption] = {}
    for entry in (*classifiers, *denoisers):
        noises |= {noise.key: noise for noise in entry.run.recipe.measured_with}
    for key, noise in noises.items():
        noisy = noisy_images(test, noise)
        alone = None if not fits_8bit(noisy) else to_uint8(255 * noisy)
        behind: dict[str | None, tuple[str, NDArray[np.uint8] | None]] = {None: ("", alone)}
        for entry in denoisers:
            if (model := opened[entry.name]) and key in by_noise(entry.figures):
                on_step(f"{entry.name} ({precision}): accuracy behind it, {key}")
                behind[entry.name] = model.origin, _denoised(model, noisy, measured)
        for entry in classifiers:
            model = opened[entry.name]
            composed = entry.does("denoise")
            if model is None or (composed and key not in by_noise(entry.figures)):
                continue
            for denoiser, (origin, frames) in behind.items():
                if frames is None or (composed and denoiser):
                    continue
                taken = _taken(model, frames, measured)
                if taken is not None:
                    files = (origin, model.origin) if denoiser else (model.origin,)
                    share = float(np.mean(taken == test.labels))
                    measured.readings.append(Reading(key, denoiser, entry.name, precision, files, taken, share))


def _robustness(
    test: ImageSet,
    denoisers: Sequence[Entry],
    classifiers: Sequence[Entry],
    opened: Mapping[str, Model | None],
    measured: Measured,
    on_step: OnStep,
) -> Robustness | None:
    from quietframe_train.corruption import NormalNoise
    from quietframe_train.evaluate import noisy_images

    models = {entry.name: model for entry in denoisers if (model := opened[entry.name])}
    if not models:
        return None
    readers = [model for entry in classifiers if not entry.does("denoise") and (model := opened[entry.name])]
    reader = readers[0] if readers else None
    few = test.first(ROBUSTNESS_IMAGES)
    psnr: dict[str | None, list[float]] = {name: [] for name in (None, *models)}
    accuracy: dict[str | None, list[float]] = {name: [] for name in (None, *models)}
    for sigma in SIGMAS:
        noisy = noisy_images(few, NormalNoise(mean=0, sigma=sigma))
        results: dict[str | None, NDArray[np.uint8] | None] = {None: to_uint8(255 * noisy)}
        for name, model in models.items():
            on_step(f"{name}: robustness, sigma {sigma:g}")
            results[name] = _denoised(model, noisy, measured)
        for which, frames in results.items():
            taken = _taken(reader, frames, measured) if reader and frames is not None else None
            accuracy[which].append(np.nan if taken is None else float(np.mean(taken == few.labels)))
            if frames is None or (which is None and sigma == 0):  # clean digits beside themselves tell nothing
                psnr[which].append(np.nan)
            else:
                psnr[which].append(mean_psnr_db(zip(few.images, frames, strict=True)))
    files = {name: model.origin for name, model in models.items()}
    return Robustness(len(few), reader.name if reader else None, files, psnr, accuracy)


def _confuse_digits(classifiers: Sequence[Entry], test: ImageSet, classes: Sequence[str], measured: Measured) -> None:
    """The first classifier on the noise that it is measured with, alone and behind the best denoiser."""
    for entry in classifiers:
        readings = [
            r for r in measured.readings if r.classifier == entry.name and r.precision == "float" and r.noise != "clean"
        ]
        alone = next((r for r in readings if r.denoiser is None and r.noise in by_noise(entry.figures)), None)
        if alone is None or entry.does("denoise"):
            continue
        behind = [r for r in readings if r.denoiser and r.noise == alone.noise]
        shown = [alone, *sorted(behind, key=lambda r: (r.denoiser != CHAMPION, -r.accuracy))[:1]]
        words = {noise.key: noise_words(noise) for noise in entry.run.recipe.measured_with}
        measured.confusions["digits"] = [
            confuse(
                f"{entry.name}, {words[r.noise]}, {f'behind {r.denoiser}' if r.denoiser else 'alone'}",
                classes,
                test.labels,
                r.taken,
            )
            for r in shown
        ]
        return


def _confuse_pictures(entry: Entry, data: TestSets, measured: Measured) -> None:
    splits = data.find(entry.run)
    if splits is None:
        measured.notes.append(
            f"{entry.run.data.name}, which {entry.name} was trained on, was not found: no confusion matrix; "
            "name it with --data"
        )
        return
    if model := _open(entry, FLOAT, measured):
        taken = _taken(model, splits.test.images, measured)
        if taken is not None:
            title = f"{entry.name}, {len(splits.test)} test pictures"
            measured.confusions[entry.name] = [confuse(title, splits.classes, splits.test.labels, taken)]


def _time(entry: Entry, paths: Sequence[Path], measured: Measured) -> list[SpeedRow]:
    rows = measure_speed(paths, LATENCY)
    measured.failures += [f"{entry.name}: {row.model.name}: not timed: {row.error}" for row in rows if row.error]
    return rows


def _denoised(model: Model, images: NDArray[np.float32], measured: Measured) -> NDArray[np.uint8] | None:
    return _tried(model.denoise, images, model, measured)


def _taken(model: Model, frames: NDArray[np.uint8], measured: Measured) -> NDArray[np.int64] | None:
    return _tried(model.classify, frames, model, measured)


def _tried(call: Callable[[Given], Result | None], given: Given, model: Model, measured: Measured) -> Result | None:
    """The result, or None and a failure that is said once."""
    try:
        return call(given)
    except QuietFrameError as exc:
        line = f"{model.name}: {exc}"
        if line not in measured.failures:
            measured.failures.append(line)
    return None
