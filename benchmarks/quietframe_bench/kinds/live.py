"""Live: the real-time loop behind a source of a fixed rate: latency, drops, and what the loop adds to the engine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from quietframe.controls import Controls
from quietframe.cpu import physical_cores
from quietframe.errors import QuietFrameError
from quietframe.pipeline import Pipeline, PipelineConfig
from quietframe.pipeline.stats import FrameTimes
from quietframe.preview import Preview
from quietframe.sources import Frame, Source
from quietframe.tasks import Denoiser, open_denoiser
from quietframe_bench import options, plan
from quietframe_bench.columns import CIRCUMSTANCES, WHAT, Column, Table
from quietframe_bench.frames import FrameFeed, feed_for
from quietframe_bench.plan import OnStep, failing, ignore_step
from quietframe_bench.process import Child
from quietframe_bench.results import Results
from quietframe_bench.rows import Row, Run, set_fields
from quietframe_bench.subject import PERCENTILES, StampedEngine

TITLE = "Real-time loop"
_SKIPPED_FRAMES = 10  # at the start, left out of the figures; of short runs half of the frames


@dataclass(frozen=True)
class LiveSettings:
    """How to run the loop.

    Attributes:
        size_wh: of the frames.
        threads: of the engine.
        fps: of the source.
        secs: how long.
        clients: how many clients the preview has, each number a row of its own; None: without a preview.
    """

    size_wh: tuple[int, int] = (640, 480)
    threads: int = 1
    fps: float = 30.0
    secs: float = 20.0
    clients: Sequence[int | None] = (None,)


class LiveRow(Row, kw_only=True, tag="live"):
    """One model in the loop.

    Attributes:
        preview_clients: how many clients the preview had; None: there was none.
        captured, processed, dropped: numbers of frames.
        images_sent: how many images each client got.
        samples_ms: for each processed frame, its `latency` from capture to sink, how long the `engine` ran for it,
            and how long the loop was `busy` with it.
    """

    preview_clients: int | None = None
    captured: int | None = None
    processed: int | None = None
    dropped: int | None = None
    images_sent: list[int] = msgspec.field(default_factory=list)
    samples_ms: dict[str, list[float]] = msgspec.field(default_factory=dict)

    def percentile(self, name: str, percent: int) -> float | None:
        """Return a percentile of the samples in milliseconds."""
        samples = self.samples_ms.get(name)
        return float(np.percentile(samples, percent)) if samples else None

    @property
    def overhead_ms(self) -> float | None:
        """What the loop is busy with beside the engine, on average."""
        samples = self.samples_ms
        return float(np.mean(np.subtract(samples["busy"], samples["engine"]))) if samples.get("busy") else None

    @property
    def overhead_of_engine(self) -> float | None:
        """The overhead as a share of the engine's mean time."""
        overhead_ms = self.overhead_ms
        return None if overhead_ms is None else overhead_ms / float(np.mean(self.samples_ms["engine"]))


def live(
    models: Sequence[str | Path] = (), settings: LiveSettings | None = None, *, on_step: OnStep = ignore_step
) -> Results:
    """Run each model in a loop of its own process, one after the other. A model that fails is a failed row."""
    settings = settings or LiveSettings(threads=physical_cores())
    run = Run(settings)
    paths = plan.find_models(models, frames=True)
    jobs = [(path, run.row(LiveRow, path, preview_clients=n)) for path in paths for n in settings.clients]
    for step, (path, row) in enumerate(jobs):
        on_step(f"live {path.name}", step, len(jobs))
        how = {**asdict(settings), "clients": row.preview_clients}
        with Child() as child, failing(row):
            set_fields(row, child.call("kinds.live:run_live", model=path, **how))
    return Results([row for _, row in jobs])


def run_live(
    *, model: str, size_wh: list[int], threads: int, fps: float, secs: float, clients: int | None = None
) -> dict[str, Any]:
    """Run a pipeline in this process and return what became of each frame.

    The frames are the bundled photograph with noise, each another, made before their time comes. The sink is `null`,
    and with `clients` the preview and so many client processes.

    Returns `captured`, `processed`, `dropped` and, in `samples_ms`, the `latency` of each result, how long the `engine`
    ran for it, and how long the loop was `busy` with it.
    """
    denoiser = open_denoiser(model, threads=threads)
    engine = StampedEngine(denoiser.engine)
    denoiser.engine = engine
    samples_ms: dict[str, list[float]] = {"latency": [], "engine": [], "busy": []}

    def note(_frame: Frame, _denoiser: Denoiser, times: FrameTimes) -> None:
        samples_ms["latency"].append(times.age_ms)
        samples_ms["busy"].append(times.busy_ms)
        samples_ms["engine"].append(sum(end - begin for begin, end in engine.stamps) / 1e6)
        engine.stamps.clear()

    source = _Feed(feed_for(denoiser.card, None, (size_wh[0], size_wh[1])), fps, round(fps * secs))
    preview = [] if clients is None else [_WatchedPreview(clients)]
    run = Pipeline(source, denoiser, ["null", *preview], PipelineConfig(drop_frames=True)).run(on_frame=note)
    counts: dict[str, Any] = {"captured": run.captured, "processed": run.frames, "dropped": run.dropped}
    counts["images_sent"] = [int(client.communicate(timeout=30)[0]) for one in preview for client in one.clients]
    start = min(_SKIPPED_FRAMES, (len(samples_ms["latency"]) + 1) // 2)
    return {**counts, "samples_ms": {name: values[start:] for name, values in samples_ms.items()}}


class _WatchedPreview(Preview):
    """A preview with so many clients, connected before the first frame."""

    def __init__(self, count: int) -> None:
        super().__init__("127.0.0.1:0")
        self.clients: list[subprocess.Popen[str]] = []
        self._count = count

    def begin(self, record: Callable[[], Mapping[str, Any]], controls: Controls) -> None:
        """See `Preview`."""
        super().begin(record, controls)
        self.clients = [_connect(self.url) for _ in range(self._count)]


def _connect(url: str) -> subprocess.Popen[str]:
    """Connect a client in a process of its own."""
    command = [sys.executable, "-P", "-m", "quietframe_bench.kinds.live", url]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    if client.stdout.readline().strip() != "connected":
        raise QuietFrameError("a client of the preview could not connect")
    return client


class _Feed(Source):
    """A number of frames of a feed, to be played at a rate."""

    def __init__(self, feed: FrameFeed, fps: float, count: int) -> None:
        super().__init__()
        self.fps, self.size_wh, self.frame_count = fps, feed.size_wh, count
        self._feed = feed

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.frame_count or 0):
            yield Frame(self._feed.frame(index), index, time.monotonic_ns())


def client_main() -> None:
    """Be a client of the preview, as a browser is: take images as fast as they are offered, and confirm each.

    Prints how many there were when the server goes away.
    """
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect
    from websockets.typing import Origin

    url = sys.argv[1].replace("http://", "ws://", 1).rstrip("/")
    images = 0
    with connect(f"{url}/live", origin=Origin(sys.argv[1].rstrip("/")), max_size=None) as socket:
        print("connected", flush=True)  # noqa: T201  whoever started this waits for it
        try:
            for message in socket:
                if isinstance(message, bytes):
                    images += 1
                    socket.send("shown")
        except ConnectionClosed:
            pass
    print(images, flush=True)  # noqa: T201


def _latency(percent: int) -> Column:
    name = f"latency_p{percent}_ms"
    return Column(f"p{percent} ms", lambda row: row.percentile("latency", percent), ".1f", name)


_WHAT = (
    WHAT[0],
    Column("preview", lambda row: "none" if (n := row.preview_clients) is None else f"{n} clients", name="preview"),
)
_FRAMES = (Column("frames", "captured"), Column("dropped", "dropped"), *map(_latency, PERCENTILES))
_OVERHEAD = (
    Column("engine ms", lambda row: row.percentile("engine", 50), ".2f", "engine_p50_ms"),
    Column("loop ms", lambda row: row.percentile("busy", 50), ".2f", "busy_p50_ms"),
    Column("overhead ms", "overhead_ms", ".2f", "overhead_mean_ms"),
    Column("of engine", "overhead_of_engine", ".1%", "overhead_mean_of_engine"),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {LiveRow: (*_WHAT, *_FRAMES, *_OVERHEAD, *CIRCUMSTANCES)}


def tables(rows: Sequence[LiveRow]) -> list[Table]:
    """Make the tables of frames and latency, and of overhead."""
    overhead = (
        "medians of engine and whole loop; overhead: what the loop is busy with beside the engine, on average, "
        "noise estimate, tensors and, of video models, motion included"
    )
    return [
        Table("the real-time loop: p50 to p99 of the latency from capture to sink", (*_WHAT, *_FRAMES), rows),
        Table(overhead, (*_WHAT, *_OVERHEAD), [row for row in rows if row.error is None]),
    ]


@click.command()
@options.models_argument
@options.size_option
@options.thread_option
@options.number("--fps", 30.0, "Frames a second of the source.", low=0.1, high=1000)
@options.number("--seconds", 20.0, "How long to run each model.", low=1)
@click.option("--preview", is_flag=True, help="Also with the preview open, without a client and with one.")
@options.output_options
def command(models: tuple[str, ...], seconds: float, preview: bool, on_step: OnStep, **how: Any) -> Results:
    """Measure the real-time loop behind a source that keeps a camera's pace: latency, drops and overhead."""
    settings = LiveSettings(secs=seconds, clients=(None, 0, 1) if preview else (None,), **how)
    options.warn_if_busy(models)
    return live(models, settings, on_step=on_step)


if __name__ == "__main__":
    client_main()
