"""Accuracy: how often classifiers are right over a folder of images with one sub-folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from time import perf_counter_ns
from typing import Any

import click
import msgspec

from quietframe.errors import UsageError
from quietframe_bench import options, plan
from quietframe_bench.columns import CIRCUMSTANCES, WHAT, Column, Table
from quietframe_bench.plan import OnStep, counted, failing, ignore_step
from quietframe_bench.process import Child, ChildError
from quietframe_bench.results import Results
from quietframe_bench.rows import ModelRow, Row, Run, Time, named_failure, p50_ms, set_fields
from quietframe_bench.samples import find_images

TITLE = "Accuracy"


class AccuracyRow(ModelRow, kw_only=True, tag="accuracy"):
    """The answers of one classifier.

    Attributes:
        labels: the model's.
        answers: by image, its label.
        classes: by image, the sub-folder that it is in: the right label.
        samples_ns: the time of each call.
        failed_images: by image, why it has no answer.
        accuracy, accuracy_95, accuracy_by_class: the share of right answers, its 95 % interval (Wilson), and by class.
    """

    labels: list[str] = msgspec.field(default_factory=list)
    accuracy: float | None = None
    accuracy_95: list[float] = msgspec.field(default_factory=list)
    accuracy_by_class: dict[str, float | None] = msgspec.field(default_factory=dict)
    total_p50_ms: float | None = None
    answers: dict[str, str] = msgspec.field(default_factory=dict)
    classes: dict[str, str] = msgspec.field(default_factory=dict)
    samples_ns: list[Time] = msgspec.field(default_factory=list)
    failed_images: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def worst_class(self) -> str | None:
        """The class that is least often right, and how often."""
        shares = {name: share for name, share in self.accuracy_by_class.items() if share is not None}
        return "{} {:.3f}".format(*min(shares.items(), key=itemgetter(1))) if shares else None

    def finish(self) -> None:
        """Derive the figures from the answers."""
        from scipy.stats import binomtest

        if not self.answers:
            return
        is_right = {image: self.classes[image] == label for image, label in self.answers.items()}
        for name in dict.fromkeys(self.classes.values()):
            of_class = [right for image, right in is_right.items() if self.classes[image] == name]
            self.accuracy_by_class[name] = fmean(of_class) if of_class else None
        self.accuracy = fmean(is_right.values())
        interval = binomtest(sum(is_right.values()), len(is_right)).proportion_ci(0.95, method="wilson")
        self.accuracy_95 = [float(interval.low), float(interval.high)]
        self.total_p50_ms = p50_ms(self.samples_ns)

    def failures(self) -> list[str]:
        """Say what failed."""
        return super().failures() + [named_failure(image, why) for image, why in self.failed_images.items()]


def accuracy(
    models: Sequence[str | Path], folder: str | Path, *, limit: int | None = None, on_step: OnStep = ignore_step
) -> Results:
    """Classify images with every model, each in a process of its own.

    Args:
        models: classifier files.
        folder: holds a folder of images for each class, named as the models' labels.
        limit: only every n-th image, so that about so many are left, of all classes.
        on_step: called with (what, step, steps) as it goes on.

    Raises:
        SourceError: no such folder, or no images in it.
        UsageError: no model, or images outside of a class's folder.
    """
    if not models:
        raise UsageError("accuracy needs a classifier whose labels are the folders' names: name its file")
    folder = Path(folder)
    classes = _find_classes(folder, limit)
    run = Run({"limit": limit, "folder": folder.name})
    step = counted(on_step, len(models) * len(classes))
    rows = [(path, run.row(AccuracyRow, path, classes=classes)) for path in plan.find_models(models)]
    for path, row in rows:
        with Child() as child, failing(row):
            set_fields(row, child.call("kinds.accuracy:TimedClassifier", model=path))
            if unknown := sorted(set(classes.values()) - set(row.labels)):
                labels = f"the folders must be named as its labels: {', '.join(row.labels)}"
                raise UsageError(f"no label for the folder {unknown[0]!r}: {labels}")
            for image in classes:
                step(f"{path.name}: {image}")
                _classify(child, row, folder, image)
        row.finish()
    return Results([row for _, row in rows])


def _find_classes(folder: Path, limit: int | None) -> dict[str, str]:
    """Return the class of each image, by its path in the folder."""
    classes = {}
    for path in find_images(folder):
        inside = path.relative_to(folder)
        if len(inside.parts) < 2:
            raise UsageError(f"{path}: expected one folder for each class, such as {folder}/cat and {folder}/dog")
        classes[str(inside)] = inside.parts[0]
    return dict(list(classes.items())[:: -(-len(classes) // limit)]) if limit else classes


def _classify(child: Child, row: AccuracyRow, folder: Path, image: str) -> None:
    try:
        answer = child.call("kinds.accuracy:TimedClassifier.classify", image=folder / image)
    except ChildError as exc:
        row.failed_images[image] = str(exc)
    else:
        row.answers[image] = answer["label"]
        row.samples_ns.append(answer["total_ns"])


class TimedClassifier:
    """A classifier in its measuring process."""

    def __init__(self, *, model: str) -> None:
        from quietframe import Classifier

        self._classifier = Classifier(model)
        card = self._classifier.card
        engine = type(self._classifier.engine).__name__
        self.facts = {"name": card.name, "precision": card.precision, "engine": engine, "labels": list(card.labels)}

    def classify(self, *, image: str) -> dict[str, Any]:
        """Return the label of an image, and how long that takes; reading the file is not timed."""
        from quietframe.images import read_image

        pixels = read_image(image).pixels
        begin = perf_counter_ns()
        label = self._classifier(pixels).label
        return {"label": label, "total_ns": perf_counter_ns() - begin}


_FIGURES = (
    WHAT[0],
    Column("images", lambda row: len(row.answers), name="images"),
    Column("accuracy", "accuracy", ".4f"),
    Column("95 % interval", lambda row: " to ".join(f"{end:.4f}" for end in row.accuracy_95)),
    Column("low", lambda row: (row.accuracy_95 or [None])[0], name="accuracy_low", shown=False),
    Column("high", lambda row: (row.accuracy_95 or [None])[-1], name="accuracy_high", shown=False),
    Column("worst class", "worst_class"),
    Column("ms an image", "total_p50_ms", ".2f"),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {AccuracyRow: (*_FIGURES, *CIRCUMSTANCES)}


def tables(rows: Sequence[AccuracyRow]) -> list[Table]:
    """Make the table of shares of right answers."""
    return [Table("share of right answers; the interval is Wilson's", _FIGURES, rows)]


@click.command()
@click.argument("folder", type=options.FOLDER)
@click.argument("models", nargs=-1, metavar="MODEL...")
@click.option("--limit", type=click.IntRange(min=1), help="Classify about so many images, of all classes.")
@options.output_options
def command(folder: Path, models: tuple[str, ...], limit: int | None, on_step: OnStep) -> Results:
    """Measure how often classifiers are right on FOLDER, which has one folder for each class."""
    return accuracy(models, folder, limit=limit, on_step=on_step)
