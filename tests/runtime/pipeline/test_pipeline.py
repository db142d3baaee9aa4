"""The front door: what the command line does, in three lines of Python."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import quietframe as qf
from quietframe.controls import Controls
from quietframe.errors import ModelLoadError, OutputError, SourceError, UsageError
from quietframe.sources import Frame, Source
from support.live import Camera, Noted

SCENE = "test:?size=64x48&fps=40&frames=20&sigma=20"


def test_three_lines_clean_a_recording(tmp_path, denoiser_file):
    result = qf.Pipeline(SCENE, denoiser=denoiser_file, sinks=[tmp_path / "night.mkv"]).run()
    assert (result.frames, result.captured, result.dropped, result.failures) == (20, 20, 0, ())
    assert (result.output, result.interrupted) == (tmp_path / "night.mkv", False)
    assert 0 < result.denoise_p50_ms <= result.denoise_p95_ms < 1000 * result.wall_s
    with qf.open_source(tmp_path / "night.mkv") as written:
        assert len(list(written)) == 20


def test_an_image_goes_beside_itself(tmp_path, denoiser_file):
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((48, 64, 3), 90, np.uint8))
    config = qf.PipelineConfig(sigma_255=10, strength=2)
    result = qf.Pipeline(tmp_path / "photo.png", denoiser_file, config=config).run()
    assert result.output == tmp_path / "photo.denoised.png"
    assert (qf.read_image(result.output).pixels == 110).all()


def test_a_video_in_real_time_drops_frames_and_without_it_none(denoiser_file):
    for drop, least_s in ((True, 0.45), (False, 0)):
        config = qf.PipelineConfig(drop_frames=drop)
        result = qf.Pipeline(SCENE, denoiser_file, sinks="null", config=config).run()
        assert result.wall_s >= least_s
        assert result.frames + result.dropped == 20
        assert drop or result.dropped == 0


def test_a_sink_of_ones_own_has_the_record_and_the_controls(denoiser_file):
    class Curious(Noted):
        def begin(self, record, controls) -> None:
            self.record, self.controls = record, controls

        def write(self, frame, pixels) -> None:
            super().write(frame, pixels)
            if len(self.frames) == 5:
                self.controls.change(strength=0)

    sink = Curious()
    qf.Pipeline(SCENE, qf.Denoiser(denoiser_file, sigma_255=10, strength=2), sink).run()
    assert isinstance(sink.controls, Controls)
    assert sink.record()["processed"] == 20
    assert set(sink.added[:5]) == {20}
    assert set(sink.added[5:]) == {0}
    assert sink.ended == ["closed"]


def stop_soon(pipeline: qf.Pipeline, frames: int) -> threading.Thread:
    """Stop it in another thread, when so many frames are done."""

    def stop() -> None:
        while pipeline.record().get("processed", 0) < frames:
            time.sleep(0.01)
        pipeline.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    return thread


def test_stopping_finishes_what_has_no_end_and_discards_a_part(tmp_path, denoiser_file):
    out = tmp_path / "a.mkv"
    for frames, kept in ((0, True), (100_000, False)):
        pipeline = qf.Pipeline(f"test:?size=64x48&frames={frames}", denoiser_file, out)
        thread = stop_soon(pipeline, 10)
        result = pipeline.run()
        thread.join()
        assert result.frames >= 10
        assert (result.interrupted, out.exists()) == (not kept, kept)
        out.unlink(missing_ok=True)
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]


def test_several_denoisers_and_a_rate_choose_one_and_log_it(denoiser_file, blur_file, caplog):
    caplog.set_level("INFO", "quietframe")
    for denoiser in ([denoiser_file, qf.Denoiser(blur_file)], f"{denoiser_file},{blur_file}"):
        caplog.clear()
        qf.Pipeline(SCENE, denoiser, "null", qf.PipelineConfig(fps=30)).run()
        (choice,) = caplog.messages
        assert "holds 30 fps" in choice


class Shaky(Source):
    """A stream that breaks in the middle, as `StreamSource` says it."""

    endless = real_time = True

    def __iter__(self) -> Iterator[Frame]:
        for index in range(30):
            self.trouble = "rtsp://camera/: silent for 10 s" if 10 <= index < 20 else None
            if self.trouble is None:
                yield Frame(np.zeros((8, 8, 3), np.uint8), index, time.monotonic_ns())
            time.sleep(0.05)


def test_a_stream_that_breaks_and_comes_back_is_logged(denoiser_file, caplog):
    caplog.set_level("INFO", "quietframe")
    qf.Pipeline(Shaky(), denoiser_file, "null").run()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "rtsp://camera/: silent for 10 s"),
        ("INFO", "frames come again"),
    ]


def test_dropped_frames_are_logged_for_who_wants_to_know(slow, caplog):
    caplog.set_level("DEBUG", "quietframe")
    result = qf.Pipeline(Camera(100, frames=100), slow(50), "null").run()
    assert result.dropped > 10
    assert any(message.endswith("frames dropped") for message in caplog.messages)


def test_statistics_go_to_a_file(tmp_path, denoiser_file):
    stats = tmp_path / "stats.jsonl"
    qf.Pipeline(SCENE, denoiser_file, "null", qf.PipelineConfig(stats_file=stats)).run()
    last = json.loads(stats.read_text().splitlines()[-1])
    assert last["processed"] == 20
    assert last["time"] > 1.7e9
    with pytest.raises(OutputError, match="exists already"):
        qf.Pipeline(SCENE, denoiser_file, "null", qf.PipelineConfig(stats_file=stats)).run()


def test_a_preview_is_a_sink_like_others(denoiser_file):
    pytest.importorskip("uvicorn", reason="the preview needs the extra 'serve'")
    from quietframe.preview import Preview

    preview = Preview("127.0.0.1:0")
    pipeline = qf.Pipeline("test:?size=64x48&frames=0", denoiser_file, [preview])
    thread = stop_soon(pipeline, 5)
    stats = {}

    def ask() -> None:
        if not stats and pipeline.record()["processed"]:
            with urllib.request.urlopen(f"{preview.url}stats.json", timeout=10) as answer:
                stats.update(json.load(answer))

    pipeline.run(ask)
    thread.join()
    assert stats["size_wh"] == [64, 48]
    assert stats["rss_mb"] > 10
    assert {"auto", "camera-nano", str(denoiser_file)} <= set(stats["models"])


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"source": "nowhere.mp4"}, SourceError, "no such file"),
        ({"denoiser": "nowhere"}, ModelLoadError, "nowhere"),
        ({"denoiser": []}, UsageError, "Expected a denoiser"),
        ({"denoiser": "a,b", "config": qf.PipelineConfig(card="card.json")}, UsageError, "one denoiser for the card"),
        ({"sinks": ["a.xyz"]}, OutputError, "a.xyz"),
        ({"sinks": None}, OutputError, "no place for the result"),
    ],
)
def test_what_cannot_be_opened_is_said(denoiser_file, arguments, error, says):
    given = {"source": SCENE, "denoiser": denoiser_file, "sinks": "null"} | arguments
    with pytest.raises(error, match=says):
        qf.Pipeline(**given).run()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fps", 0),
        ("fps", "30"),
        ("fps", float("nan")),
        ("max_frames", 0),
        ("max_frames", 2.5),
        ("strength", None),
        ("strength", -1),
        ("strength", float("inf")),
        ("luma_strength", 1.5),
        ("sigma_255", -3),
        ("threads", True),
        ("timeout_s", 0),
        ("drop_frames", "yes"),
        ("overwrite", None),
        ("show", 1),
    ],
)
def test_settings_are_validated(name, value):
    with pytest.raises(UsageError, match=f"Expected {name} to be .* Received: {value!r}"):
        qf.PipelineConfig(**{name: value})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"luma_strength": 0.5}, "luma_strength is for a denoiser that the pipeline opens"),
        ({"threads": 1}, "threads is for a denoiser that the pipeline opens"),
    ],
)
def test_settings_of_what_is_open_already_are_refused(denoiser_file, tmp_path, config, says):
    pipeline = qf.Pipeline(SCENE, qf.Denoiser(denoiser_file), tmp_path / "a.mkv", qf.PipelineConfig(**config))
    with pytest.raises(UsageError, match=says):
        pipeline.run()


def test_its_repr_names_what_runs_without_a_password():
    shown = repr(qf.Pipeline("rtsp://me:secret@camera/", "auto", ["a.mkv"]))
    assert "rtsp://" in shown and "auto" in shown and "a.mkv" in shown
    assert "secret" not in shown


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        qf.PipelineConfig().fps = 30


def test_a_number_of_numpy_is_a_number():
    assert qf.PipelineConfig(fps=np.float32(25), max_frames=np.int64(3)).max_frames == 3


def test_without_a_handler_nothing_is_printed(capfd, denoiser_file, blur_file):
    """A library leaves it to the program what is shown."""
    qf.Pipeline(Shaky(), [denoiser_file, blur_file], "null").run()
    assert capfd.readouterr().err == ""


def test_the_repository_names_one_logger() -> None:
    folder = Path(qf.__file__).parent
    named = re.compile(r'getLogger\((?!"(uvicorn|ray))')
    users = [path.name for path in folder.rglob("*.py") if named.search(path.read_text())]
    assert users == ["log.py"]
