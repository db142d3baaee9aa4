"""What run folders cannot say alone: models behind one another, against noise of every level, and their speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from quietframe_bench.results.collect import Collection, Entry
from quietframe_bench.results.digits import Digits, OnStep
from quietframe_bench.results.measured import Measured, chance, confuse
from quietframe_bench.results.models import FLOAT, opened, tried
from quietframe_bench.results.reported import reported_of
from quietframe_bench.results.test_sets import TestSets
from quietframe_bench.speed import SpeedRow, SpeedSettings, measure_speed

LATENCY = SpeedSettings(threads=(1,), runs=10, min_secs=0.5)


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
    for entry in found.entries:
        if entry.finished and entry.run.recipe.kind == "pictures" and entry.does("denoise"):
            on_step(f"{entry.name}: means of a few pictures")
            _draw_few(entry, data, measured)
    if latency:
        measured.latency = {}
        for entry in found.entries:
            if paths := [file.path for file in entry.files if file.path]:
                on_step(f"{entry.name}: latency")
                measured.latency[entry.name] = _time(entry, paths, measured)
    return measured


def _measure_digits(found: Collection, data: TestSets, measured: Measured, on_step: OnStep) -> None:
    """The digit models that were tested on the same set as the first of them."""
    entries = [*found.main("digits", "denoise"), *found.main("digits", "classify")]
    if not entries:
        return
    first = entries[0]
    splits = data.find(first.run)
    if splits is None:
        measured.notes.append(f"{_not_found(first)}: nothing was measured on digits; name it with --data")
        return
    alike = [entry for entry in entries if entry.set_name == first.set_name]
    others = {entry.name: entry.set_name for entry in entries if entry.set_name != first.set_name}
    for name, set_name in others.items():
        measured.notes.append(f"{name} was tested on {set_name}, not on {first.set_name}: not compared with the others")
    measured.digits = f"{first.set_name}, {len(splits.test):,} images"
    Digits(splits.test, splits.classes, alike, measured, on_step).measure()


def _confuse_pictures(entry: Entry, data: TestSets, measured: Measured) -> None:
    splits = data.find(entry.run)
    if splits is None:
        measured.notes.append(f"{_not_found(entry)}: no confusion matrix; name it with --data")
        return
    if model := opened(entry, FLOAT, measured.failures):
        taken = tried(model, model.classify, splits.test.images, measured.failures)
        if taken is not None:
            title = f"{entry.name}, {len(splits.test)} test pictures"
            measured.confusions[entry.name] = [confuse(title, splits.classes, splits.test.labels, taken)]


def _draw_few(entry: Entry, data: TestSets, measured: Measured) -> None:
    """How far chance carries a mean over as few test pictures as the run's source reports."""
    from quietframe_train.evaluate import noisy_images

    few = {r.figure: len(r.values) for r in reported_of(entry.recipe, entry.run.metrics["epochs_run"])}
    noises = [noise for noise in entry.run.recipe.measured_with if few.get(f"rmse_{noise.key}", 1) > 1]
    if not noises:
        return
    splits = data.find(entry.run)
    if splits is None:
        measured.notes.append(f"{_not_found(entry)}: no means of a few pictures; name it with --data")
        return
    model = opened(entry, FLOAT, measured.failures)
    if model is None:
        return
    for noise in noises:
        denoised = tried(model, model.denoise, noisy_images(splits.test, noise), measured.failures)
        if denoised is not None:
            errors = (denoised.astype(np.float32) - splits.test.images) / 255
            each = np.sqrt(np.mean(errors**2, axis=(1, 2, 3)))
            measured.chances[entry.name, noise.key] = chance(each, few[f"rmse_{noise.key}"])


def _time(entry: Entry, paths: Sequence[Path], measured: Measured) -> list[SpeedRow]:
    rows = measure_speed(paths, LATENCY)
    measured.failures += [f"{entry.name}: {row.model.name}: not timed: {row.error}" for row in rows if row.error]
    return rows


def _not_found(entry: Entry) -> str:
    return f"{entry.run.data.name}, which {entry.name} was trained on, was not found"
