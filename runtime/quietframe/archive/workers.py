"""What a worker process does with the files that it is given: what the plain commands do with each."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import cv2

from quietframe.archive.places import Item, local_copy, results
from quietframe.errors import OutputExistsError, QuietFrameError
from quietframe.pipeline import Pipeline, PipelineConfig
from quietframe.sinks import HEEDED_BY, SinkOptions, heeded_by
from quietframe.sources import open_source
from quietframe.tasks import Classifier, Denoiser, open_denoiser

Row = dict[str, Any]


@dataclass(frozen=True)
class DenoiseTask:
    """What `DenoiseWorker` needs to know: picklable.

    Attributes:
        out: the folder or address of the results.
        run: what tells this run from others.
        model: a built-in model's name or a model file; None: as of `Pipeline`.
        config: the settings, as of the command.
    """

    out: str
    run: str
    model: str | None
    config: PipelineConfig


@dataclass(frozen=True)
class ClassifyTask:
    """What `ClassifyWorker` needs to know: as of the command `classify`, picklable."""

    model: str
    denoise_with: str | None
    card: str | None
    threads: int
    to_8bit: bool


class Worker(ABC):
    """Takes files and gives rows, for Ray Data's `flat_map`: for each file at least one, with `place` and `error`."""

    def __init__(self, threads: int) -> None:
        cv2.setNumThreads(threads)

    def __call__(self, row: Mapping[str, Any]) -> list[Row]:
        """Work on the files of a row, as `as_row` makes it, one after the other."""
        rows = []
        for file in row["files"]:
            item = Item(*(os.fsdecode(file[name]) for name in Item._fields))
            try:
                answers = self.work(item)
            except QuietFrameError as exc:
                answers = [{"error": str(exc)}]
            except Exception as exc:  # noqa: BLE001  whatever a file does to a library, the others go on
                answers = [{"error": f"{item.shown}: {type(exc).__name__}: {exc}"}]
            rows += [{"place": file["place"], "error": ""} | self.blank() | answer for answer in answers]
        return rows

    @abstractmethod
    def work(self, item: Item) -> list[Row]:
        """Work on one file. `item.name` is that of its result. Raises what is wrong with it."""

    @abstractmethod
    def blank(self) -> Row:
        """The other values of a row where there is nothing to say."""


def as_row(items: list[tuple[int, Item]]) -> Row:
    """Files and their places in the list of all, as a row for a worker. Names are bytes: they need not be UTF-8."""
    return {
        "files": [{"place": place} | {k: os.fsencode(v) for k, v in item._asdict().items()} for place, item in items]
    }


class DenoiseWorker(Worker):
    """Denoises images and videos. The models are opened when they are first needed, and stay open."""

    def __init__(self, task: DenoiseTask) -> None:
        super().__init__(task.config.threads or 1)
        self._task, self._results = task, results(task.out, task.run)
        self._denoisers: dict[str, Denoiser] = {}

    def blank(self) -> Row:
        """See `Worker`."""
        return {"frames": 0, "existed": False}

    def work(self, item: Item) -> list[Row]:
        """See `Worker`. What is there by now was made before a worker was killed, or by another run: it stays."""
        config, name = self._task.config, item.name
        if not config.overwrite and self._results.has(name):
            return [{"existed": True}]
        self._results.scratch.mkdir(parents=True, exist_ok=True)
        part = self._results.scratch / f"{os.urandom(6).hex()}{PurePosixPath(name).suffix}"
        with local_copy(item) as file:
            shown = {str(file): item.shown, str(part): f"{self._task.out}/{name}"}
            try:
                with open_source(file, **config.for_source) as source:
                    denoiser = self._open(moving=source.moving)
                    denoiser.reset()
                    result = Pipeline(source, denoiser, part, fitting(config, Path(name))).run()
                self._results.publish(part, name, overwrite=config.overwrite)
            except OutputExistsError:
                return [{"existed": True}]
            except QuietFrameError as exc:
                return [{"error": renamed_in(str(exc), shown)}]
            finally:
                part.unlink(missing_ok=True)
        error = "; ".join(renamed_in(line, shown) for line in result.failures)
        return [{"frames": result.frames, "error": error}]

    def _open(self, *, moving: bool) -> Denoiser:
        config = self._task.config
        model = self._task.model or ("video" if moving and not config.single_frame else "camera")
        if model not in self._denoisers:
            self._denoisers[model] = open_denoiser(model, **config.for_denoisers)
        return self._denoisers[model]


class ClassifyWorker(Worker):
    """Classifies images, and the frames of videos."""

    def __init__(self, task: ClassifyTask) -> None:
        super().__init__(task.threads)
        self._to_8bit = task.to_8bit
        self._classifier = Classifier(task.model, threads=task.threads, card=task.card)
        self._denoiser = Denoiser(task.denoise_with, threads=task.threads) if task.denoise_with else None
        self._count = len(set(self._classifier.card.labels))

    def blank(self) -> Row:
        """See `Worker`."""
        return {"frame": -1, "label": "", "score": 0.0, "scores": [0.0] * self._count}

    def work(self, item: Item) -> list[Row]:
        """See `Worker`: a row for each frame, and one more for what failed behind them."""
        rows: list[Row] = []
        with local_copy(item) as file, open_source(file, to_8bit=self._to_8bit) as source:
            shown = {str(file): item.shown}
            try:
                for frame in source:
                    pixels = self._denoiser(self._denoiser.fit(frame.pixels)) if self._denoiser else frame.pixels
                    answer = self._classifier(pixels)
                    index, scores = frame.index if source.moving else -1, list(answer.scores.values())
                    rows.append({"frame": index, "label": answer.label, "score": answer.score, "scores": scores})
                failures = source.failures
            except QuietFrameError as exc:
                failures = [str(exc)]
        return rows + [{"error": renamed_in(line, shown)} for line in failures]


def fitting(config: PipelineConfig, place: Path) -> PipelineConfig:
    """The settings for one file whose result has that name, with an open denoiser: others would be refused."""
    for_denoisers = {name: getattr(PipelineConfig, name) for name in config.for_denoisers}
    unheeded = {name: getattr(SinkOptions, name) for name in HEEDED_BY if name not in heeded_by(place)}
    return replace(config, overwrite=False, **for_denoisers | unheeded)


def renamed_in(message: str, shown: Mapping[str, str]) -> str:
    """A message with paths as the user knows them."""
    for path, name in shown.items():
        message = message.replace(path, name)
    return message
