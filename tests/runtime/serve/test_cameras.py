"""Several cameras in one process, with real streams over the loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from itertools import count

import av
import pytest

from quietframe.errors import OutputError
from quietframe.sources import open_source
from support.stream_servers import SECRET, Server, endless, free_port, jpeg, rtsp_server, wait_until


@pytest.fixture
def servers():
    """A function that starts one more HTTP server to script."""
    started = []

    def start(script=endless):
        started.append(Server())
        started[-1].scripts = [script]
        return started[-1]

    yield start
    for server in started:
        server.close()


def breaks_off(answer):
    """Damaged frames, and no more."""
    answer.begin()
    for _ in range(10):
        answer.part(b"\xff\xd8\xff no JPEG \xff\xd9")


def changes_its_size(answer):
    """Frames without end, of another size each second."""
    answer.begin()
    for index in count():
        answer.part(jpeg(index % 240, (64, 48) if index // 50 % 2 else (96, 64)))


def camera(name, source, *lines):
    return "\n".join(["", "[[camera]]", f'name = "{name}"', f'source = "{source}"', *lines, ""])


def test_a_broken_camera_touches_no_other(running, servers, denoiser_file, tmp_path, caplog):
    """Three streams at 50 frames a second, taken at 5: one gives damaged frames, another changes its size; and one that
    does not answer."""
    healthy = ("yard", "lane")
    caplog.set_level("INFO", "quietframe")
    text = f'[defaults]\nmodel = "{denoiser_file}"\nmax_fps = 5\ntimeout_s = 3\n'
    text += camera("yard", servers().url, f'outputs = "{tmp_path}/{{name}}-{{time}}.mkv"')
    text += camera("shed", servers(breaks_off).url)
    text += camera("gate", f"rtsp://me:{SECRET}@127.0.0.1:{free_port()}/live")
    text += camera("lane", servers(changes_its_size).url, f'outputs = "{tmp_path}/{{name}}-{{time}}.mkv"')
    with running(text) as cameras:
        assert wait_until(lambda: all((cameras.states()[name].get("processed") or 0) > 12 for name in healthy), 60)
        states = cameras.states()
        threads = [each.name for each in cameras.cameras.cameras if each.is_alive()]
    assert len(threads) == 4
    for name in healthy:
        assert states[name]["trouble"] is None
        assert states[name]["fps"] < 6
    assert states["lane"]["size_changes"] > 0
    assert "127.0.0.1" in states["shed"]["trouble"]
    assert "refused" in states["gate"]["trouble"]
    assert SECRET not in json.dumps(states) + caplog.text
    for name in healthy:
        (video,) = tmp_path.glob(f"{name}-*.mkv")
        with av.open(video) as opened:
            times = [float(frame.time) for frame in opened.decode(video=0)]
        assert len(times) > 12
        assert (times[-1] - times[0]) / (len(times) - 1) > 0.18
    assert len([line for line in caplog.messages if "refused" in line]) == 1, "said once, however often it is tried"


def test_a_camera_that_comes_later_is_taken_then(running, gstreamer, denoiser_file):
    port = free_port()
    with running(camera("yard", f"rtsp://127.0.0.1:{port}/live", f'model = "{denoiser_file}"')) as cameras:
        assert wait_until(lambda: "refused" in (cameras.states()["yard"]["trouble"] or ""), 10)
        server = rtsp_server(gstreamer, port)
        try:
            assert wait_until(lambda: (cameras.states()["yard"].get("processed") or 0) > 5, 20)
            state = cameras.states()["yard"]
        finally:
            server.kill()
    assert (state["trouble"], state["reconnects"]) == (None, 1)


def test_a_server_that_takes_the_stream_may_come_later(running, gstreamer, denoiser_file):
    """As at the start of a board: nothing is given up, and the loop does not wait for it."""
    port, relay = free_port(), free_port()
    scene = camera("yard", "test:?size=64x48&frames=0", f'model = "{denoiser_file}"')
    with running(scene + f'outputs = "rtsp://127.0.0.1:{port}/in"\n') as cameras:
        assert wait_until(lambda: (cameras.states()["yard"].get("processed") or 0) > 10, 20)
        server = rtsp_server(gstreamer, port, "--relay", str(relay))
        try:
            with open_source(f"udp://127.0.0.1:{relay}", timeout_s=60) as back:
                assert back.size_wh == (64, 48)
        finally:
            server.kill()
        assert cameras.states()["yard"]["failed_outputs"] == []


def test_an_output_that_fails_is_seen(running, denoiser_file, small_disk):
    text = camera("yard", "test:?size=320x240&frames=0", f'model = "{denoiser_file}"', 'codec = "ffv1"')
    with running(text + f'outputs = "{small_disk}/{{name}}-{{time}}.mkv"\n') as cameras:
        assert wait_until(lambda: cameras.states()["yard"].get("failed_outputs"), 30)
        state = cameras.states()["yard"]
        metrics = cameras.get("metrics").decode()
    assert "No space left" in state["failed_outputs"][0]
    assert state["trouble"] is None
    assert 'quietframe_failed_outputs{camera="yard"} 1.0' in metrics


def test_a_loop_that_hangs_is_noticed(running, denoiser_file, monkeypatch):
    monkeypatch.setattr("quietframe.serve.cameras._HUNG_S", 0.5)
    hangs, goes_on = threading.Event(), threading.Event()

    def clock():
        if hangs.is_set():
            goes_on.wait(30)
        return datetime(2026, 12, 1, 12, 0)

    text = camera("yard", "test:?size=64x48&frames=0", f'model = "{denoiser_file}"')
    text += '[[camera.schedule]]\nfrom = "18:00"\nto = "07:00"\npaused = true\n'
    with running(text, clock=clock) as cameras:
        assert wait_until(lambda: (cameras.states()["yard"].get("processed") or 0) > 2, 20)
        hangs.set()
        assert wait_until(lambda: cameras.cameras.is_hung, 10)
        share = cameras.cameras.cameras[0]._share
        share.measured_ms("a model", lambda: pytest.fail("measured, it hangs") if cameras.cameras.is_hung else 1.0)
        hangs.clear()
        goes_on.set()
        assert wait_until(lambda: not cameras.cameras.is_hung, 10)


def test_a_model_that_fails_ends_its_camera_alone(running, denoiser_file, tmp_path):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(denoiser_file.read_bytes()[:200])
    scene = "test:?size=64x48&frames=0"
    text = camera("yard", scene, f'model = "{denoiser_file}"') + camera("shed", scene, f'model = "{damaged}"')
    with running(text) as cameras:
        assert wait_until(lambda: (cameras.states()["yard"].get("processed") or 0) > 5, 20)
        yard, shed = cameras.cameras.cameras
        assert wait_until(lambda: not shed.is_alive(), 10)
        assert yard.is_alive()
        assert wait_until(lambda: cameras.states()["shed"]["trouble"] == shed.failure, 5)
    assert "damaged.tflite" in shed.failure
    assert yard.failure is None and yard.result.frames > 5


def test_a_recording_ends_and_with_all_of_them_the_run(running, denoiser_file):
    scene = "test:?size=64x48&fps=100&frames={}"
    lines = f'model = "{denoiser_file}"'
    with running(camera("a", scene.format(20), lines) + camera("b", scene.format(40), lines)) as cameras:
        cameras.thread.join(20)
        assert not cameras.thread.is_alive()
    assert [each.result.captured for each in cameras.cameras.cameras] == [20, 40]


def test_a_schedule_follows_the_clock(running, caplog):
    """Local time, over midnight; what is changed on the page stays until the next change of the schedule."""
    caplog.set_level("INFO", "quietframe")
    now = [datetime(2026, 12, 1, 17, 59)]
    text = camera("yard", "test:?size=64x48&frames=0&fps=50", 'model = "camera-nano"')
    text += '[[camera.schedule]]\nfrom = "18:00"\nto = "07:00"\nmodel = "camera"\nstrength = 0.5\n'
    text += '[[camera.schedule]]\nfrom = "12:00"\nto = "13:00"\npaused = true\n'
    with running(text, clock=lambda: now[0]) as cameras:

        def yard():
            return cameras.states()["yard"]

        def stands_at(**settings):
            return wait_until(lambda: yard()["settings"] == settings, 20)

        day = {"model": "camera-nano", "strength": 1.0, "paused": False}
        night = {"model": "camera-small", "strength": 0.5, "paused": False}
        assert stands_at(**day)
        assert wait_until(lambda: yard().get("model") == "camera-nano", 20)
        now[0] = datetime(2026, 12, 1, 18, 0)
        assert stands_at(**night)
        assert wait_until(lambda: yard()["model"] == "camera-small", 20)
        cameras.cameras.cameras[0]._pipeline.controls.change(strength=1.2)
        now[0] = datetime(2026, 12, 2, 6, 59)
        assert not wait_until(lambda: yard()["settings"]["strength"] == 0.5, 0.5)
        now[0] = datetime(2026, 12, 2, 7, 0)
        assert stands_at(**day)
        now[0] = datetime(2026, 12, 2, 12, 30)
        assert stands_at(**{**day, "paused": True})
        record = cameras.cameras.cameras[0].record
        before = record()["processed"]
        time.sleep(0.3)
        assert record()["processed"] <= before + 1  # the one that was on its way
    assert [line for line in caplog.messages if line.startswith("schedule: ")] == [
        "schedule: strength 0.5, model camera-small, paused False",
        "schedule: strength 1.0, model camera-nano, paused False",
        "schedule: strength 1.0, model camera-nano, paused True",
    ]


def test_it_begins_with_what_the_schedule_says(running):
    night, scene = '[[camera.schedule]]\nfrom = "18:00"\nto = "07:00"\n', "test:?size=64x48&frames=0"
    text = camera("yard", scene, 'model = "camera-nano"') + night + 'model = "camera"\n'
    text += camera("shed", scene, "single_frame = true") + night + "strength = 1.5\n"
    text += camera("gate", scene, 'model = "camera-nano"') + night + "paused = true\n"
    with running(text, clock=lambda: datetime(2026, 12, 1, 23, 0)) as cameras:
        assert wait_until(lambda: all(cameras.states()[name].get("processed") for name in ("yard", "shed")), 20)
        assert wait_until(lambda: cameras.states()["gate"].get("captured"), 20)
        states, metrics = cameras.states(), cameras.get("metrics").decode()
    assert list(states["yard"]["by_model"]) == list(states["shed"]["by_model"]) == ["camera-small"]
    assert states["shed"]["settings"]["strength"] == 1.5
    assert states["gate"]["processed"] == 0
    assert 'quietframe_up{camera="gate",model=""} 1.0' in metrics, "its frames come, though nobody wants them"


def test_the_same_trouble_is_logged_once_though_its_numbers_change(
    running, servers, denoiser_file, monkeypatch, caplog
):
    """Frames that are too large, of another size each time."""
    monkeypatch.setattr("quietframe.serve.cameras.PAUSES_S", (0.05,))
    troubles = set()

    def too_large(answer):
        answer.begin()
        while True:
            answer.part(jpeg(9, (64 + len(server.requests), 48)))

    server = servers(too_large)
    text = camera("yard", server.url, f'model = "{denoiser_file}"', "max_pixels = 100", "timeout_s = 0.2")
    with running(text) as cameras:
        assert wait_until(lambda: troubles.add(cameras.states()["yard"]["trouble"]) or len(troubles - {None}) > 1, 20)
    assert len([line for line in caplog.messages if "left out" in line]) == 1


def test_a_port_in_use_is_said_before_a_camera_is_opened(tmp_path, running, denoiser_file):
    from quietframe.serve import Cameras, read_config

    text = camera("yard", "test:?size=64x48&frames=0", f'model = "{denoiser_file}"')
    with running(text) as cameras:
        address = cameras.cameras.url.removeprefix("http://").rstrip("/")
        path = tmp_path / "second.toml"
        path.write_text(f'[server]\naddress = "{address}"\n{text}')
        second = Cameras(read_config(path))
        with pytest.raises(OutputError, match="the port is in use"):
            second.run()
        assert not any(each.is_alive() for each in second.cameras)


def test_a_signal_lets_all_finish_their_files(servers, denoiser_file, tmp_path):
    """With one camera in FFmpeg's hands, which does not answer. What is logged says of which camera it is."""
    silent = servers(lambda answer: time.sleep(30))
    outputs = f'["{tmp_path}/{{name}}-{{time}}.mp4", "rtsp://127.0.0.1:{free_port()}/{{name}}"]'
    text = f'[defaults]\nmodel = "{denoiser_file}"\noutputs = {outputs}\n[server]\naddress = "127.0.0.1:0"\n'
    text += camera("yard", servers().url) + camera("shed", "test:?size=64x48&frames=0")
    text += camera("gate", silent.url) + camera("lane", f"udp://127.0.0.1:{free_port()}")
    path = tmp_path / "config.toml"
    path.write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-m", "quietframe", "serve", str(path), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert wait_until(lambda: len(list(tmp_path.glob("*.mp4"))) == 2, 60)
    time.sleep(0.5)
    start_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - start_s < 15
    assert process.returncode == 0, err
    done = {each["name"]: each for each in json.loads(out)["cameras"]}
    assert "Traceback" not in err
    for name in ("yard", "shed"):
        assert re.search(rf"^quietframe: warning: {name}: rtsp://\S+/{name}: .*refused", err, re.MULTILINE)
    for name in ("yard", "shed"):
        with av.open(done[name]["output"]) as video:
            assert 0 < len(list(video.decode(video=0))) <= done[name]["frames"]


def test_checking_runs_nothing(cli, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(camera("yard", "rtsp://10.255.255.1/live") + camera("shed", "0"))
    done = cli("serve", path, "--check")
    assert (done.code, done.err) == (0, f"quietframe: {path}: 2 cameras: yard, shed\n")
    path.write_text(camera("yard", "0", "max_fps = 0"))
    done = cli("serve", path)
    assert done.code == 2
    assert done.error_lines == [
        f"quietframe: error: {path}:5: camera.max_fps: Expected max_fps to be a number in [0.1, 1000]. Received: 0"
    ]
