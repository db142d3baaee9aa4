"""The real-time loop behind a source of a fixed rate: the age of its results, what it drops, and what it adds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quietframe import Denoiser
from quietframe.controls import Controls, Settings
from quietframe.errors import QuietFrameError
from quietframe.pipeline.loop import Loop
from quietframe.pipeline.models import Models
from quietframe.pipeline.stats import FrameTimes
from quietframe.preview import Preview
from quietframe.sinks import open_sink
from quietframe.sources import Frame, Source
from quietframe_bench.frames import FrameFeed, open_feed
from quietframe_bench.process import Child, ChildError
from quietframe_bench.timing import PERCENTILES, StampedEngine

_FEW = 10  # frames at the start that are left out of the figures: caches and clocks settle


@dataclass(frozen=True)
class LiveSettings:
    """How to run.

    Attributes:
        size_wh: of the frames.
        threads: of the engine.
        fps: of the source.
        secs: how long.
        clients: how many look at the preview, each number a row of its own; None: without a preview.
    """

    size_wh: tuple[int, int]
    threads: int
    fps: float = 30.0
    secs: float = 20.0
    clients: Sequence[int | None] = (None,)


@dataclass
class LiveRow:
    """One model in the loop.

    Attributes:
        model: its file.
        clients: as in the settings.
        answer: what `run_live` found.
        error: why there is nothing.
    """

    model: Path
    clients: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def figures(self) -> dict[str, Any]:
        """Counts, percentiles of the age, and medians of engine and loop, in milliseconds; empty if it failed."""
        if self.error:
            return {}
        samples = self.answer["samples_ms"]
        age = {f"age_p{p}_ms": float(np.percentile(samples["age"], p)) for p in PERCENTILES}
        engine, busy = (float(np.median(samples[name])) for name in ("engine", "busy"))
        added = float(np.median(np.subtract(samples["busy"], samples["engine"])))
        mean = float(np.mean(np.subtract(samples["busy"], samples["engine"])))
        return {
            **{name: self.answer[name] for name in ("captured", "processed", "dropped")},
            **age,
            "engine_p50_ms": engine,
            "busy_p50_ms": busy,
            "overhead_p50_ms": added,
            "overhead_mean_ms": mean,
            "overhead_mean_of_engine": mean / float(np.mean(samples["engine"])),
        }

    def as_record(self) -> dict[str, Any]:
        """For JSON, with the raw samples."""
        more = {name: self.answer.get(name) for name in ("samples_ms", "pictures_sent")}
        return {"error": self.error, "preview_clients": self.clients, **self.figures(), **more}


def measure_live(
    models: Sequence[Path], settings: LiveSettings, on_step: Callable[[str, int, int], None] = lambda *_step: None
) -> list[LiveRow]:
    """Run each model in a loop of its own process, one after the other. A model that fails is a failed row."""
    rows = [LiveRow(model, clients) for model in models for clients in settings.clients]
    for step, row in enumerate(rows):
        on_step(f"live {row.model.name}", step, len(rows))
        with Child() as child:
            try:
                row.answer = child.ask("live", model=str(row.model), **{**asdict(settings), "clients": row.clients})
            except ChildError as exc:
                row.error = str(exc)
    return rows


def run_live(
    model: str, size_wh: tuple[int, int], *, threads: int, fps: float, secs: float, clients: int | None = None
) -> dict[str, Any]:
    """Run the loop in this process and tell what became of each frame.

    The frames are the bundled photograph with noise, each another, made before their time comes. The sink is `null`,
    and with `clients` the preview and so many processes that look at it.

    Returns `captured`, `processed`, `dropped` and, in `samples_ms`, the `age` of each result, how long the `engine` ran
    for it, and how long the loop was `busy` with it.
    """
    denoiser = Denoiser(model, threads=threads)
    engine = StampedEngine(denoiser.engine)
    denoiser.engine = engine
    samples_ms: dict[str, list[float]] = {"age": [], "engine": [], "busy": []}

    def note(_frame: Frame, _denoiser: Denoiser, times: FrameTimes) -> None:
        samples_ms["age"].append(times.age_ms)
        samples_ms["busy"].append(times.busy_ms)
        samples_ms["engine"].append(sum(end - begin for begin, end in engine.stamps) / 1e6)
        engine.stamps.clear()

    source = _Feed(open_feed(None, size_wh), fps, round(fps * secs))
    controls = Controls(Settings(model="model"), ["model"])
    preview = None if clients is None else _WatchedPreview(clients)
    with open_sink(["null", *([preview] if preview else [])], source) as sink:
        loop = Loop(source, Models({"model": denoiser}, fps=fps), sink, controls, on_frame=note)
        loop.run()
    record = loop.record()
    counts = {name: record[name] for name in ("captured", "processed", "dropped")}
    counts["pictures_sent"] = [
        int(looker.communicate(timeout=30)[0]) for looker in (preview.lookers if preview else ())
    ]
    return {**counts, "samples_ms": {name: values[_FEW:] for name, values in samples_ms.items()}}


class _WatchedPreview(Preview):
    """A preview with so many clients, connected before the first frame."""

    def __init__(self, clients: int) -> None:
        super().__init__("127.0.0.1:0")
        self.lookers: list[subprocess.Popen[str]] = []
        self._clients = clients

    def begin(self, record: Callable[[], Mapping[str, Any]], controls: Controls) -> None:
        """See `Preview`."""
        super().begin(record, controls)
        self.lookers = [_look(self.url) for _ in range(self._clients)]


def _look(url: str) -> subprocess.Popen[str]:
    """A client in a process of its own, connected."""
    command = [sys.executable, "-P", "-m", "quietframe_bench.preview_client", url]
    looker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert looker.stdout is not None
    if looker.stdout.readline().strip() != "connected":
        raise QuietFrameError("a client of the preview could not connect")
    return looker


class _Feed(Source):
    """So many frames of a feed, to be played at a rate."""

    def __init__(self, feed: FrameFeed, fps: float, count: int) -> None:
        super().__init__()
        self.fps, self.size_wh, self.frame_count = fps, feed.size_wh, count
        self._feed = feed

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.frame_count or 0):
            yield Frame(self._feed.frame(index), index, time.monotonic_ns())
