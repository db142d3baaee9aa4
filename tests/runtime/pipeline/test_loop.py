from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from quietframe import Denoiser, open_source
from quietframe.controls import Controls, Settings
from quietframe.errors import OutputError, SourceError
from quietframe.sinks import Guarded
from support.live import Camera, Noted


def test_every_frame_of_a_slow_camera_is_done_soon(live):
    sink = Noted()
    loop = live(Camera(50, frames=40), sink)
    loop.run()
    assert sink.indices == list(range(40))
    assert np.median(sink.ages_ms) < 20
    record = loop.record()
    assert (record["captured"], record["processed"], record["dropped"]) == (40, 40, 0)
    assert record["age_p95_ms"] == pytest.approx(np.percentile(sink.ages_ms, 95), abs=5)
    assert record["wait_p50_ms"] + record["denoise_p50_ms"] + record["sinks_p50_ms"] <= record["age_p99_ms"]


@pytest.mark.long
def test_a_slow_model_drops_frames_and_stays_with_the_newest(live, slow):
    """200 ms a frame behind 30 frames a second: whoever queued them would be 10 seconds late at the end."""
    sink = Noted()
    loop = live(Camera(30, frames=360), sink, {"slow": slow(200)})
    loop.run()
    assert 40 <= len(sink.frames) <= 61  # one in each 200 ms of 12 seconds, and the one that waits at its end
    assert max(sink.ages_ms[:-1]) < 2 * 200
    assert sink.ages_ms[-1] < 2 * 210  # waits, as nothing newer comes, for up to a period; each takes a bit over 200 ms
    record = loop.record()
    assert record["captured"] == record["processed"] + record["dropped"] == 360
    assert sink.indices == sorted(set(sink.indices))
    assert sink.indices[-1] >= 355


def test_every_frame_means_every_frame(live, slow):
    sink = Noted()
    live(open_source("test:?size=16x16&frames=30&fps=1000"), sink, {"slow": slow(5)}, every_frame=True).run()
    assert sink.indices == list(range(30))


@pytest.mark.parametrize("every_frame", [True, False])
def test_the_frame_that_waits_when_the_reading_is_stopped_counts_for_nothing(live, slow, every_frame):
    """Neither as captured, which would leave one unaccounted for, nor as dropped, which blames the model."""
    source = open_source("test:?size=16x16&fps=100")
    loop = live(source, Noted(), {"slow": slow(25)}, every_frame=every_frame)
    loop.run(max_frames=4)  # meanwhile the next frame has come
    record = loop.record()
    assert record["processed"] == 4
    assert record["processed"] + record["dropped"] == record["captured"]
    assert (record["dropped"] == 0) == every_frame


def test_a_recording_is_played_at_its_own_pace(live):
    sink = Noted()
    start = time.monotonic()
    live(open_source("test:?size=16x16&frames=16&fps=20"), sink).run()
    assert 0.74 < time.monotonic() - start < 2
    steps_ms = np.diff([frame.captured_ns for frame in sink.frames]) / 1e6 / np.diff(sink.indices)
    assert steps_ms == pytest.approx(50, abs=0.01)


def test_results_are_those_of_the_model(live, blur_file):
    sink = Noted()
    live(open_source("test:?size=32x32&frames=5"), sink, every_frame=True).run()
    denoise = Denoiser(blur_file)
    for frame, result in zip(sink.frames, sink.results, strict=True):
        np.testing.assert_array_equal(result, denoise(frame.pixels))


def test_the_limit_and_a_sink_that_has_enough_end_it(live):
    sink = Noted()
    live(Camera(100), sink).run(max_frames=7)
    assert len(sink.frames) == 7
    sink = Noted(stops_at=5)
    live(Camera(100), sink).run()
    assert len(sink.frames) == 5


def test_what_the_source_raises_comes_after_its_last_frame(live):
    camera, sink = Camera(200, frames=10), Noted()
    camera.ended_by = SourceError("camera 0: was it unplugged?")
    with pytest.raises(SourceError, match="unplugged"):
        live(camera, sink).run()
    assert sink.indices[-1] == 9


def test_a_source_that_hangs_does_not_hang_the_end(live):
    camera = Camera(200, frames=3)
    released = threading.Event()

    class Stuck(type(camera)):
        def __iter__(self):
            yield from super().__iter__()
            released.wait(30)

    start = time.monotonic()
    live(Stuck(200, frames=3), Noted()).run(max_frames=1)  # on a busy machine the others may be dropped
    assert time.monotonic() - start < 5
    released.set()


def test_sinks_see_time_pass_without_frames(live):
    camera, sink = Camera(0.5, frames=2), Noted()
    live(camera, sink).run()
    assert 4 <= len(sink.ticks) <= 12


def test_controls_act_at_the_next_frame(live, make_model):
    """A model that adds the level that it is given: strength is seen in the pixels."""
    model = make_model("conditioned", dtype="uint8", multiple=2, sigma=True)
    controls = Controls(Settings(1.0, "a"), ["a", "b"])
    sink = Noted()
    other = Denoiser(model, sigma_255=30)
    loop = live(Camera(100), sink, {"a": Denoiser(model, sigma_255=10), "b": other}, controls=controls)

    def changes():
        for change in ({"strength": 2.0}, {"model": "b"}, {"paused": True}):
            time.sleep(0.3)
            controls.change(**change)
            seen.append(len(sink.frames))
        time.sleep(0.3)
        seen.append(len(sink.frames))
        controls.change(paused=False, strength=0)
        time.sleep(0.3)
        sink.wants_more = False

    seen: list[int] = []
    thread = threading.Thread(target=changes)
    thread.start()
    loop.run()
    thread.join()
    stronger, switched, paused, resumed = seen
    assert set(sink.added[:stronger]) == {10}
    assert set(sink.added[stronger + 2 : switched]) == {20}
    assert set(sink.added[switched + 2 : paused]) == {60}
    assert resumed - paused <= 1
    assert set(sink.added[resumed + 2 :]) == {0}
    assert len(sink.added) > resumed + 5


def test_one_sink_that_fails_stops_no_other(live, caplog):
    lasting, failing = Noted(), Noted(fails_at=3)
    sink = Guarded({"a": failing, "b": lasting})
    with sink:
        live(Camera(200, frames=20), sink).run()
    assert len(failing.frames) == 3
    assert failing.ended == ["discarded"]
    assert lasting.indices[-1] == 19
    assert lasting.ended == ["closed"]
    assert caplog.messages == sink.failures == ["the disk is full"]


def test_a_sink_alone_that_fails_ends_it(live):
    failing = Noted(fails_at=3)
    with pytest.raises(OutputError, match="the disk is full"), Guarded({"a": failing}) as sink:
        live(Camera(200), sink).run()
    assert failing.ended == ["discarded"]


def test_when_all_sinks_have_failed_there_is_nothing_to_go_on_for(live):
    sink = Guarded({"a": Noted(fails_at=2), "b": Noted(fails_at=4)})
    with sink:
        live(Camera(200), sink).run()
    assert len(sink.failures) == 2


def test_a_change_of_size_is_counted(live):
    class Zooming(Camera):
        def __iter__(self):
            for frame in super().__iter__():
                side = 16 if frame.index < 5 else 20
                yield type(frame)(np.zeros((side, side, 3), np.uint8), frame.index, frame.captured_ns)

    sink = Noted()
    loop = live(Zooming(200, frames=10), sink)
    loop.run()
    assert loop.record()["size_changes"] == 1
    assert loop.record()["size_wh"] == (20, 20)
    assert sink.results[-1].shape == (20, 20, 3)
