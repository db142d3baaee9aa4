"""The sound of live sources: recorded, in step with the frames, and never lost without a word."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from quietframe.pipeline import Pipeline, PipelineConfig
from quietframe.sinks.encoder import Encoder, Form, Plan
from quietframe.sources import open_source
from support.stream_servers import free_port, rtsp_server, wait_until
from support.videos import ffmpeg, make, probe

FPS, RATE = 25, 48_000


def beep(address: str, stop: threading.Event) -> None:
    """Send a flash and a beep of 0.2 s every two seconds, as MPEG-TS, until it is stopped."""
    with av.open(f"{address}?pkt_size=1316", "w", format="mpegts") as out:
        video = out.add_stream("libx264", FPS, options={"preset": "ultrafast", "tune": "zerolatency"})
        video.width, video.height, video.codec_context.gop_size = 160, 120, FPS
        sound = out.add_stream("mp2", RATE, layout="mono")
        began_s = time.monotonic()
        for index in count():
            is_on = index % (2 * FPS) < 5
            tone = np.sin(np.arange(RATE // FPS) * 0.13) * 20_000 * is_on
            samples = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], "s16", "mono")
            samples.sample_rate, samples.pts, samples.time_base = RATE, index * RATE // FPS, Fraction(1, RATE)
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 220 if is_on else 20, np.uint8), "bgr24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            if stop.wait(max(0.0, began_s + index / FPS - time.monotonic())):
                return
            out.mux(sound.encode(samples))
            out.mux(video.encode(frame))


@contextmanager
def beeping(address: str) -> Iterator[None]:
    """Send flashes and beeps meanwhile."""
    stop = threading.Event()
    sender = threading.Thread(target=beep, args=(address, stop))
    sender.start()
    yield
    stop.set()
    sender.join()


def begins_s(times_s: np.ndarray, is_on: np.ndarray) -> np.ndarray:
    """When something began."""
    return times_s[1:][is_on[1:] & ~is_on[:-1]]


def beginnings_s(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """When flashes and beeps of a recording begin."""
    with open_source(path) as source:
        frames = [(frame.time_s, frame.pixels.mean() > 100) for frame in source]
    times_s, is_on = np.array([time_s for time_s, _ in frames]), np.array([bright for _, bright in frames])
    with av.open(str(path)) as container:
        blocks = [(frame.time, np.abs(frame.to_ndarray()).max()) for frame in container.decode(audio=0)]
    loud = np.array([float(level) for _, level in blocks])
    return begins_s(times_s, is_on), begins_s(np.array([at for at, _ in blocks]), loud > loud.max() / 4)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_sound_of_a_live_source_is_recorded_in_step(tmp_path: Path, denoiser_file: Path, suffix: str) -> None:
    out, address = tmp_path / f"a{suffix}", f"udp://127.0.0.1:{free_port()}"
    with beeping(address):
        config = PipelineConfig(max_frames=7 * FPS, sigma_255=0, timeout_s=30)
        assert Pipeline(address, denoiser_file, [out], config).run().failures == ()
    flashes_s, beeps_s = beginnings_s(out)
    assert len(flashes_s) >= 3 and len(beeps_s) >= 3
    off_s = [np.abs(flashes_s - at_s).min() for at_s in beeps_s if at_s < flashes_s[-1] + 0.5]
    assert np.median(off_s) < 0.25  # of up to 1; the machine may be busy


def test_sound_goes_on_after_a_break(gstreamer: str, tmp_path: Path, denoiser_file: Path, caplog) -> None:
    port, outs = free_port(), [tmp_path / "a.mkv", tmp_path / "a.mp4"]
    pipeline = Pipeline(f"rtsp://127.0.0.1:{port}/live", denoiser_file, outs, PipelineConfig(timeout_s=5))
    program = rtsp_server(gstreamer, port, "--codec", "h264", "--sound")
    try:
        thread = threading.Thread(target=pipeline.run)
        thread.start()
        assert wait_until(lambda: pipeline.record().get("processed", 0) >= 40, 60)
        program.kill()
        assert wait_until(lambda: pipeline.record()["trouble"], 20)
        program = rtsp_server(gstreamer, port, "--codec", "h264", "--sound")
        assert wait_until(lambda: pipeline.record()["reconnects"] == 1, 30)
        broken = pipeline.record()["processed"]
        assert wait_until(lambda: pipeline.record()["processed"] >= broken + 40, 60)
    finally:
        pipeline.stop()
        thread.join(20)
        program.kill()
    written = probe(outs[0])
    assert [stream["codec_name"] for stream in written["streams"]] == ["h264", "pcm_s16le"]
    command = ["ffprobe", "-v", "error", "-select_streams", "a", "-show_entries", "packet=pts_time", "-of", "json"]
    packets = json.loads(subprocess.run([*command, outs[0]], capture_output=True, check=True).stdout)["packets"]
    times_s = np.array([float(packet["pts_time"]) for packet in packets])
    gaps_s = np.diff(times_s)
    assert gaps_s.min() > 0 and np.count_nonzero(gaps_s > 0.3) == 1  # the break
    before, after = times_s[: gaps_s.argmax() + 1], times_s[gaps_s.argmax() + 1 :]
    assert np.ptp(before) > 1 and np.ptp(after) > 1
    assert abs(times_s[-1] - written["times_s"][-1]) < 0.5
    assert ffmpeg("-i", outs[0], "-f", "s16le", "-")  # it plays
    assert not [record.message for record in caplog.records if "sound" in record.message]
    assert [stream["codec_name"] for stream in probe(outs[1])["streams"]] == ["h264", "pcm_s16le"]


@pytest.mark.parametrize("every_frame", [False, True])
def test_what_sound_cannot_keep_step_with_is_said(
    tmp_path: Path, denoiser_file: Path, caplog, every_frame: bool
) -> None:
    """A server's frames wait for no sound, and frames that are all kept do not stand at the times they came."""
    address, out = f"udp://127.0.0.1:{free_port()}", str(tmp_path / "a.mkv")
    out = out if every_frame else f"udp://127.0.0.1:{free_port()}"
    with beeping(address):
        config = PipelineConfig(max_frames=5, drop_frames=not every_frame, timeout_s=30)
        Pipeline(address, denoiser_file, [out], config).run()
    (line,) = [record.message for record in caplog.records if "sound" in record.message]
    assert line == f"{out}: sound and subtitles are left out: they would not keep step with the frames"


def test_live_sound_is_left_out_on_request(tmp_path: Path, denoiser_file: Path, caplog) -> None:
    address, out = f"udp://127.0.0.1:{free_port()}", tmp_path / "a.mkv"
    with beeping(address):
        Pipeline(address, denoiser_file, [out], PipelineConfig(max_frames=5, audio=False, timeout_s=30)).run()
    assert [stream["codec_name"] for stream in probe(out)["streams"]] == ["h264"]
    assert not [record.message for record in caplog.records if "sound" in record.message]


@pytest.mark.parametrize("shape", ["mp4", "matroska"])
def test_packets_that_come_all_at_once_do_no_harm(tmp_path: Path, shape: str) -> None:
    sound = ("-c:v", "libx264", "-c:a", "aac")
    clip = make(tmp_path / "a.mp4", *sound, inputs=["-f", "lavfi", "-i", "sine=duration=1"])
    with open_source(clip) as source:
        frames = list(source)
        assert source.video is not None
        packets = source.video.subscribe()
        times_s = [10 + (number // 8) * 0.2 + number % 8 * 1e-6 for number in range(len(packets))]
        waiting = deque((0, packet, time_s) for (_, packet, _), time_s in zip(packets, times_s, strict=True))
        live = SimpleNamespace(live=True, others=source.video.others, subscribe=lambda: waiting, time_base=None)
        live.colour, live.pixel_aspect = source.video.colour, 1
        plan = Plan(Form(shape), "libx264", Fraction(25), video=live, live=True)
        encoder = Encoder(f"file:{tmp_path / 'b'}", plan, (320, 240))
        for index, frame in enumerate(frames):
            encoder.encode(frame.pixels, 10 + index / 25)
        encoder.close()
    with av.open(str(tmp_path / "b")) as written:
        written_s = [
            float(packet.pts * packet.time_base) for packet in written.demux(audio=0) if packet.pts is not None
        ]
    assert written_s == pytest.approx(sorted({round(time_s - 10, 3) for time_s in times_s}), abs=2e-3)
