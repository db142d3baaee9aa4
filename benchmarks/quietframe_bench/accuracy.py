"""The accuracy of classifiers over a folder of pictures with one sub-folder for each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quietframe.errors import UsageError
from quietframe_bench.image_quality import find_pictures
from quietframe_bench.process import Child, ChildError


@dataclass
class AccuracyRow:
    """What one classifier says of the pictures.

    Attributes:
        model: the file.
        facts: what it says of itself.
        said: by picture, its label; `classes` has the right one.
        classes: by picture, the sub-folder that it is in.
        samples_ns: the time of each call.
        failed: by picture, why it has no answer.
        error: why there are no answers at all.
    """

    model: Path
    classes: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    samples_ns: list[int] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    error: str | None = None

    @property
    def right(self) -> int:
        """How many pictures got the right label."""
        return sum(self.classes[picture] == label for picture, label in self.said.items())

    def as_record(self) -> dict[str, Any]:
        """The row for JSON: accuracy with its 95 % interval (Wilson), overall and by class, and every answer."""
        record = {"error": self.error, **self.facts, "images": len(self.said), "failed_images": self.failed}
        if self.said:
            by_class = {}
            for name in dict.fromkeys(self.classes.values()):
                answers = [label == name for picture, label in self.said.items() if self.classes[picture] == name]
                by_class[name] = sum(answers) / len(answers) if answers else None
            record |= {
                "accuracy": self.right / len(self.said),
                "accuracy_95": _interval(self.right, len(self.said)),
                "accuracy_by_class": by_class,
                "total_p50_ms": float(np.median(self.samples_ns)) / 1e6,
            }
        return record | {"said": self.said, "samples_ns": self.samples_ns}


def measure_accuracy(
    models: Sequence[Path],
    folder: Path,
    limit: int | None = None,
    on_step: Callable[[str, int, int], None] = lambda text, step, steps: None,
) -> list[AccuracyRow]:
    """Classify every picture with every model, each in a process of its own.

    Args:
        models: classifier files.
        folder: holds a folder for each class, named as the model's labels.
        limit: of the pictures only every n-th, so that about so many are left, of all classes.
        on_step: told (what, step, steps) as it goes on.

    Raises:
        SourceError: no such folder, or no pictures in it.
        UsageError: pictures outside of a class's folder.
    """
    classes = {}
    for path in find_pictures(folder):
        inside = path.relative_to(folder)
        if len(inside.parts) < 2:
            raise UsageError(f"{path}: expected one folder for each class, such as {folder}/cat and {folder}/dog")
        classes[str(inside)] = inside.parts[0]
    if limit:
        classes = dict(list(classes.items())[:: -(-len(classes) // limit)])
    rows = [AccuracyRow(model, classes) for model in models]
    for index, row in enumerate(rows):
        with Child() as child:
            try:
                row.facts |= child.ask("classifier", model=str(row.model))
                _check_labels(row)
            except ChildError as exc:
                row.error = str(exc)
                continue
            for number, picture in enumerate(classes):
                on_step(f"{row.model.name}: {picture}", index * len(classes) + number, len(rows) * len(classes))
                try:
                    answer = child.ask("classify", picture=str(folder / picture))
                except ChildError as exc:
                    row.failed[picture] = str(exc)
                    continue
                row.said[picture] = answer["label"]
                row.samples_ns.append(answer["total_ns"])
    return rows


def _check_labels(row: AccuracyRow) -> None:
    unknown = sorted(set(row.classes.values()) - set(row.facts["labels"]))
    if unknown:
        labels = ", ".join(row.facts["labels"])
        raise ChildError(f"no label for the folder {unknown[0]!r}: the folders must be named as its labels: {labels}")


def _interval(right: int, count: int) -> list[float]:
    from scipy.stats import binomtest

    found = binomtest(right, count).proportion_ci(0.95, method="wilson")
    return [float(found.low), float(found.high)]
