"""Several streams on one server: the wall of all, a page for each, and metrics."""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import cv2
import numpy as np
import pytest
from chromium import wait_for

from quietframe.controls import Controls, Settings
from quietframe.preview import Server, View
from quietframe.sources import Frame

NAMES = ["yard", "shed", "gate"]
TOKEN = "a-token-for-tests"


class Wall:
    """A server with three streams: of the first two come frames, each of its level; the third never begins."""

    def __init__(self, address: str = "127.0.0.1:0", **options: Any) -> None:
        self.server = Server(address, **options)
        self.processed = dict.fromkeys(NAMES, 0)
        self.trouble: dict[str, str | None] = dict.fromkeys(NAMES)
        self.trouble["gate"] = "rtsp://***@10.0.0.9/live: Connection refused"
        streams = [self.server.add(name, lambda name=name: self.record(name)) for name in NAMES]
        self.controls = [Controls(Settings(model="camera-nano"), ["camera-nano", "none"]) for _ in NAMES]
        self.views = [View(stream) for stream in streams[:2]]
        for view, controls in zip(self.views, self.controls, strict=False):
            view.begin(dict, controls)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def record(self, name: str) -> dict[str, Any]:
        model = "camera-nano" if self.processed[name] else None
        by_model = {'a "quoted"\nname': {"frames": 3, "denoise_s": 0.25}} if name == "yard" else {}
        return {
            "processed": self.processed[name], "trouble": self.trouble[name], "model": model, "by_model": by_model,
            "captured": self.processed[name], "dropped": 2, "reconnects": 1, "age_p95_ms": 40.0, "fps": 5.0,
        }  # fmt: skip

    def _run(self) -> None:
        index = 0
        while not self._ended.wait(0.05):
            for name, view, level in zip(NAMES, self.views, (60, 180), strict=False):
                if self.trouble[name] is None:
                    pixels = np.full((360, 640, 3), level, np.uint8)
                    view.write(Frame(pixels, index, time.monotonic_ns()), pixels)
                    self.processed[name] += 1
            index += 1

    def get(self, path: str, data: bytes | None = None, **headers: str) -> bytes:
        address = self.server.url.partition("?")[0] + path
        with urlopen(Request(address, data, headers), timeout=10) as answer:
            return bytes(answer.read())


@contextmanager
def running(**options: Any) -> Iterator[Wall]:
    wall = Wall(**options)
    wall.server.start()
    wall._thread.start()
    try:
        wait_for(lambda: wall.processed["shed"])
        yield wall
    finally:
        wall._ended.set()
        wall._thread.join()
        wall.server.close()


@pytest.fixture
def wall(serve: None) -> Iterator[Wall]:
    with running() as wall:
        yield wall


def mean(jpeg: bytes) -> float:
    return float(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).mean())


def test_each_stream_has_its_addresses(wall):
    assert mean(wall.get("camera/yard/snapshot.jpg")) == pytest.approx(60, abs=2)
    assert mean(wall.get("camera/shed/snapshot.jpg")) == pytest.approx(180, abs=2)
    assert json.loads(wall.get("camera/shed/stats.json"))["camera"] == "shed"
    assert [state["camera"] for state in json.loads(wall.get("stats.json"))["cameras"]] == NAMES
    assert wall.get("camera/yard/") == wall.get("camera/yard")  # which leads there
    body, kind = b'{"strength": 0.5}', {"Content-Type": "application/json"}
    assert json.loads(wall.get("camera/shed/controls", body, **kind))["strength"] == 0.5
    assert [controls.settings.strength for controls in wall.controls] == [1.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("path", "data", "status"),
    [
        ("camera/gate/controls", b'{"strength": 0.5}', 503),
        ("camera/gate/snapshot.jpg", None, 503),
        ("camera/none/", None, 404),
        ("snapshot.jpg", None, 404),
    ],
)
def test_what_is_not_there_is_said(wall, path, data, status):
    with pytest.raises(HTTPError) as caught:
        wall.get(path, data, **{"Content-Type": "application/json"})
    assert caught.value.code == status
    caught.value.close()


def test_the_wall_gets_small_images_of_all_that_have_any_and_the_state_of_all(wall):
    from websockets.sync.client import connect

    sizes, states = {}, []
    start = time.monotonic()
    counts = dict.fromkeys(range(3), 0)
    with connect(wall.server.url.replace("http", "ws") + "live", compression=None) as client:
        while time.monotonic() - start < 1.5:
            message = client.recv(5)
            if isinstance(message, str):
                states.append(json.loads(message)["cameras"])
                continue
            number = struct.unpack(">I", message[:4])[0]
            counts[number] += 1
            sizes[number] = cv2.imdecode(np.frombuffer(message[4:], np.uint8), cv2.IMREAD_COLOR).shape
            client.send("shown")
    assert sizes == {0: (270, 480, 3), 1: (270, 480, 3)}
    assert 3 <= counts[0] <= 12  # five a second, though twenty come
    assert [state["camera"] for state in states[0]] == NAMES


def test_a_page_that_does_not_answer_gets_one_image_of_each_and_one_more(wall):
    from websockets.sync.client import connect

    images = 0
    with connect(wall.server.url.replace("http", "ws") + "live", compression=None) as client:
        start = time.monotonic()
        while time.monotonic() - start < 1:
            images += isinstance(client.recv(5), bytes)
    assert images in (3, 4)  # the third stream, which has none, waits with its own


def test_metrics_are_what_prometheus_reads(wall):
    from prometheus_client.parser import text_string_to_metric_families

    text = wall.get("metrics").decode()
    samples = {
        (sample.name, sample.labels.get("camera"), sample.labels.get("model")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    model = 'a "quoted"\nname'
    assert samples["quietframe_up", "yard", "camera-nano"] == 1
    assert samples["quietframe_up", "gate", ""] == 0
    assert samples["quietframe_frames_total", "yard", model] == 3
    assert samples["quietframe_denoise_seconds_count", "yard", model] == 3
    assert samples["quietframe_denoise_seconds_sum", "yard", model] == 0.25
    assert samples["quietframe_dropped_total", "shed", None] == 2
    assert samples["quietframe_reconnects_total", "gate", None] == 1
    assert samples["quietframe_latency_seconds", "shed", None] == 0.04
    assert samples["process_resident_memory_bytes", None, None] > 1e6


def test_metrics_take_the_token_as_prometheus_sends_it(serve):
    with running(token=TOKEN) as wall:
        for headers in ({}, {"Authorization": "Bearer wrong-token"}, {"Authorization": TOKEN[:-1]}):
            with pytest.raises(HTTPError, match="401") as caught:
                wall.get("metrics", **headers)
            caught.value.close()
        assert b"quietframe_up" in wall.get("metrics", Authorization=f"Bearer {TOKEN}")
        assert b"quietframe_up" in wall.get(f"metrics?token={TOKEN}")


def test_the_page_of_all(browser, wall):
    browser.look((1280, 800))
    browser.open(wall.server.url)

    def tiles(what):
        return browser.run(f"[...document.querySelectorAll('.tile')].map((tile) => {what})")

    wait_for(lambda: tiles("tile.dataset.state") == ["live", "live", "trouble"])
    level = "tile.querySelector('canvas').getContext('2d').getImageData(200, 100, 1, 1).data[0]"
    wait_for(lambda: tiles(level)[:2] == [60, 180])
    assert tiles("tile.querySelector('b').textContent") == NAMES
    assert "Connection refused" in tiles("tile.querySelector('.trouble').textContent")[2]
    assert "camera-nano · 5.0 fps · 40 ms" in tiles("tile.querySelector('small').textContent")[0]
    assert browser.run("document.getElementById('what').textContent").startswith("2 of 3 cameras live")
    wall.trouble["shed"] = "http://10.0.0.8/: silent for 10 s"
    wait_for(lambda: tiles("tile.dataset.state") == ["live", "trouble", "trouble"])
    wall.trouble["shed"] = None
    wait_for(lambda: tiles("tile.dataset.state") == ["live", "live", "trouble"])
    browser.click(".tile")
    wait_for(lambda: browser.run("location.pathname === '/camera/yard/' && document.readyState === 'complete'"))
    wait_for(lambda: browser.run("document.querySelector('h1').textContent") == "yard")
    wait_for(lambda: browser.run("document.getElementById('canvas').dataset.index"))
    browser.click("#pause")
    wait_for(lambda: wall.controls[0].settings.paused)
    assert not wall.controls[1].settings.paused
    browser.click("#back")
    wait_for(lambda: browser.run("location.pathname") == "/")


def test_cameras_of_other_names_after_a_restart_are_shown_under_them(browser, serve, monkeypatch):
    names = "[...document.querySelectorAll('.tile b')].map((name) => name.textContent)"
    with running() as wall:
        browser.open(wall.server.url)
        wait_for(lambda: browser.run(names) == NAMES)
        address = wall.server.url.split("/")[2]
    monkeypatch.setitem(globals(), "NAMES", ["garden", "shed", "gate"])
    with running(address=address):
        wait_for(lambda: browser.run(names) == NAMES)


@pytest.mark.parametrize(("size_wh", "columns"), [((360, 740), 1), ((820, 1180), 2), ((1280, 800), 3)])
def test_it_fits_every_screen(browser, wall, size_wh, columns):
    browser.look(size_wh, touch=size_wh[0] < 500)
    browser.open(wall.server.url)
    wait_for(lambda: browser.run("document.querySelectorAll('.tile').length") == 3)
    lefts = browser.run("[...document.querySelectorAll('.tile')].map((tile) => tile.getBoundingClientRect().left)")
    assert len(set(lefts)) == columns
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def test_the_link_s_token_opens_every_page(browser, serve):
    with running(token=TOKEN) as wall:
        browser.open(wall.server.url)
        wait_for(lambda: browser.run("document.querySelectorAll('.tile').length") == 3)
        assert browser.run("location.search") == ""
        browser.open(wall.server.url.partition("?")[0] + "camera/shed/")
        wait_for(lambda: browser.run("document.getElementById('canvas').dataset.index"))
