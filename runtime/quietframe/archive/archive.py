"""Denoise and classify whole archives, on this machine or a cluster."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quietframe.archive.places import VIDEO_SUFFIXES, Item, find, results
from quietframe.archive.scheduler import NO_POOL, cluster
from quietframe.archive.workers import ClassifyTask, ClassifyWorker, DenoiseTask, DenoiseWorker
from quietframe.errors import OutputError, UsageError
from quietframe.pipeline import PipelineConfig
from quietframe.pipeline.models import AUTO
from quietframe.sinks import SUFFIXES, heeded_by, refuse_unheeded, renamed
from quietframe.sources.address import as_shown
from quietframe.tasks import Classifier, open_denoiser

FAILURES = "failures.jsonl"

OnProgress = Callable[[int, int], None]
"""Called with the number of files that are done, and of all."""


@dataclass(frozen=True)
class Summary:
    """What became of an archive.

    Attributes:
        output: where the results are.
        files: those that are done now, in this run.
        frames: how many frames they hold.
        skipped: files whose results existed already.
        failures: of each file that failed, its path and the error, a line.
        failures_file: where they are listed, if there are any.
        workers: how many processes there were, at most.
        wall_s: how long it took, in seconds.
    """

    output: str
    files: int
    frames: int
    skipped: int
    failures: Sequence[Mapping[str, str]]
    failures_file: str | None
    workers: int
    wall_s: float


def denoise_archive(
    source: str | Path,
    out: str | Path,
    model: str | None = None,
    config: PipelineConfig | None = None,
    *,
    ray: str = "local",
    workers: int | None = None,
    on_progress: OnProgress = lambda _done, _total: None,
) -> Summary:
    """Denoise the images and videos of an archive, each as `Pipeline` does; docs/ray.md describes it.

    Args:
        source: a folder with all below it, a list of paths and addresses (`NAME.txt`), or an address (`s3://bucket/…`).
        out: the folder or address of the results, which keep their names.
        model: a built-in model's name, or a model file that every machine has; None: as of `Pipeline`.
        config: the settings; `threads`, those of each worker, are one if not stated.
        ray: `local`, `auto` for the cluster that this machine belongs to, or a cluster's address. Where `ray.init` was
            called, its cluster is used.
        workers: processes. None: as many as there are cores, or as the cluster grows to.
        on_progress: called now and then with the number of files that are done, and of all.

    Raises:
        SourceError, OutputError, ModelLoadError: as of `Pipeline`, before any work. What fails later is in the summary.
        UsageError: settings that do not fit, or no such cluster.
        MissingExtraError: Ray is not installed.
    """
    source, out, config = str(source), str(out), config or PipelineConfig()
    if model == AUTO or (model and "," in model):
        raise UsageError(f"an archive is denoised by one model. Received: {model}")
    config = replace(config, threads=config.threads or 1)
    items, unreadable = find(source)
    items = _with_names(items, config, out)
    run = os.urandom(6).hex()
    place = results(out, run)
    if place.lies_in(source):
        raise OutputError(f"{as_shown(out)}: lies inside the archive that is read: write to another place")
    existing = place.existing([item.name for item in items])
    for item in items:
        if item.name in existing and place.is_source(item):
            raise OutputError(f"{item.shown}: would be replaced by its own result: write to another place")
    if existing and not config.overwrite and not config.skip_existing:
        first, others = min(existing), f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise OutputError(f"{as_shown(out)}/{first}: exists already{others}: pass --overwrite or --skip-existing")
    todo = [item for item in items if not config.skip_existing or item.name not in existing]
    for name in {model or ("video" if _is_video(item) and not config.single_frame else "camera") for item in todo}:
        open_denoiser(name, **config.for_denoisers)  # so that what is wrong with it is said once, here
    started, frames, files = time.monotonic(), 0, 0
    failures = [_unreadable(line) for line in unreadable]
    with contextlib.ExitStack() as stack:
        stack.callback(place.clear)  # last, when no worker writes any more
        pool = stack.enter_context(cluster(ray, workers, config.threads or 1)) if todo else NO_POOL
        for row in pool.run(todo, _is_video, DenoiseWorker, DenoiseTask(out, run, model, config), on_progress):
            frames += row["frames"]
            files += not row["error"]
            if row["error"]:
                failures.append({"path": todo[row["place"]].shown, "error": row["error"]})
    place.write(FAILURES, _lines(failures))
    return Summary(
        output=as_shown(out),
        files=files,
        frames=frames,
        skipped=len(items) - len(todo),
        failures=failures,
        failures_file=f"{as_shown(out)}/{FAILURES}" if failures else None,
        workers=pool.workers,
        wall_s=round(time.monotonic() - started, 3),
    )


def classify_archive(
    source: str | Path,
    out: str | Path,
    model: str = "digits",
    *,
    denoise_with: str | None = None,
    card: str | None = None,
    threads: int = 1,
    to_8bit: bool = False,
    overwrite: bool = False,
    ray: str = "local",
    workers: int | None = None,
    on_progress: OnProgress = lambda _done, _total: None,
) -> Summary:
    """Classify the images of an archive, and the frames of its videos, into a Parquet file.

    Its columns: `name` (the path), `frame` (of a video; else null), `label`, `score`, and `scores`, a struct of all
    labels. The rows have the order of the files.

    Args:
        source, ray, workers, on_progress: as of `denoise_archive`.
        out: the Parquet file, on this machine or at an address. Failures go beside it, into `….failures.jsonl`.
        model, denoise_with, card, threads, to_8bit: as of the command `classify`.
        overwrite: replace a file that exists.

    Raises:
        As of `denoise_archive`.
    """
    folder, name = _parent(str(out))
    items, unreadable = find(str(source))
    place = results(folder, os.urandom(6).hex())
    if place.existing([name]) and not overwrite:
        raise OutputError(f"{as_shown(str(out))}: exists already: pass --overwrite to replace it")
    labels = list(dict.fromkeys(Classifier(model, threads=threads, card=card).card.labels))
    started, frames, failed = time.monotonic(), 0, set()
    failures = [_unreadable(line) for line in unreadable]
    task = ClassifyTask(model, denoise_with, card, threads, to_8bit)
    with contextlib.ExitStack() as stack:
        stack.callback(place.clear)
        pool = stack.enter_context(cluster(ray, workers, threads, ordered=True))
        place.scratch.mkdir(parents=True, exist_ok=True)
        with _Table(place.scratch / name, labels) as table:
            for row in pool.run(items, _is_video, ClassifyWorker, task, on_progress):
                item = items[row["place"]]
                if row["error"]:
                    failed.add(row["place"])
                    failures.append({"path": item.shown, "error": row["error"]})
                else:
                    frames += 1
                    table.add(item.name, row)
        place.publish(place.scratch / name, name, overwrite=overwrite)
    listed = f"{name.removesuffix('.parquet')}.{FAILURES}"
    place.write(listed, _lines(failures))
    return Summary(
        output=as_shown(str(out)),
        files=len(items) - len(failed),
        frames=frames,
        skipped=0,
        failures=failures,
        failures_file=f"{as_shown(folder)}/{listed}" if failures else None,
        workers=pool.workers,
        wall_s=round(time.monotonic() - started, 3),
    )


class _Table:
    """A Parquet file of labels, written as they come."""

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        self._labels, self._rows, self._pa = labels, list[dict[str, Any]](), pa
        self._schema = pa.schema(
            {
                "name": pa.string(),
                "frame": pa.int64(),
                "label": pa.string(),
                "score": pa.float64(),
                "scores": pa.struct([(label, pa.float64()) for label in labels]),
            }
        )
        self._writer = ParquetWriter(path, self._schema)

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, name: str, row: Mapping[str, Any]) -> None:
        """Add what a worker gave for a frame. A name that is not UTF-8 has its bytes escaped."""
        record = {key: row[key] for key in ("label", "score")}
        record["name"] = name.encode("utf-8", "backslashreplace").decode()
        record["frame"] = None if row["frame"] < 0 else row["frame"]
        record["scores"] = dict(zip(self._labels, row["scores"], strict=True))
        self._rows.append(record)
        if len(self._rows) >= 50_000:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._pa.Table.from_pylist(self._rows, self._schema))
        self._rows.clear()


def _is_video(item: Item) -> bool:
    return Path(item.path).suffix.lower() in VIDEO_SUFFIXES


def _unreadable(line: str) -> dict[str, str]:
    """A failure from a line about a folder: its path stands before the colon."""
    return {"path": line.partition(": ")[0], "error": line}


def _with_names(items: list[Item], config: PipelineConfig, out: str) -> list[Item]:
    """The items with the names of their results. Raises OutputError if two would share one, UsageError for options."""
    named: dict[str, Item] = {}
    heeded: set[str] = {"skip_existing"}
    for item in items:
        place = Path(item.name)
        if not _is_video(item):
            place = renamed(place, config.image_format)
            heeded.add("image_format")
        elif place.suffix.lower() not in SUFFIXES:
            place = place.with_suffix(".mp4")
        heeded.update(heeded_by(place))
        name = place.as_posix()
        if name in named:
            raise OutputError(f"{out}/{name}: {named[name].shown} and {item.shown} would both go there")
        named[name] = item._replace(name=name)
    refuse_unheeded(config, heeded)
    return list(named.values())


def _parent(out: str) -> tuple[str, str]:
    """The folder of a Parquet file, with an address's settings, and its name there."""
    base, mark, settings = out.partition("?") if "://" in out else (out, "", "")
    folder, _, name = base.rpartition("/")
    if not name.endswith(".parquet"):
        raise OutputError(f"{as_shown(out)}: labels go to a file with the suffix .parquet")
    return (f"{folder}{mark}{settings}" or ("/" if out.startswith("/") else ".")), name


def _lines(failures: Sequence[Mapping[str, str]]) -> bytes:
    """JSON Lines, in ASCII: a file name need not be UTF-8."""
    return "".join(json.dumps(failure) + "\n" for failure in failures).encode()
