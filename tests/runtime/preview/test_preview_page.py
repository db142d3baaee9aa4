"""The page in a real browser."""

from __future__ import annotations

import io
import itertools
import time
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from chromium import wait_for
from preview_loop import Loop, blend, numbered_frames

from quietframe.preview import Preview
from quietframe.sources import Frame

DESKTOP_WH, PHONE_WH = (1280, 800), (390, 844)

PIXEL = "[...document.getElementById('canvas').getContext('2d').getImageData({x}, {y}, 1, 1).data].slice(0, 3)"


@pytest.fixture(autouse=True)
def quick(serve: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state and the figures come five times as often as they do."""
    monkeypatch.setattr("quietframe.preview.app._STATE_PERIOD_S", 0.2)
    monkeypatch.setattr("quietframe.preview.app._STATS_AGE_S", 0.1)


@pytest.fixture
def loop(serve: None) -> Iterator[Loop]:
    """Black and white frames in turns; the clean picture is gray, by the strength."""
    with Loop(numbered_frames(), blend) as running:
        yield running


def show(browser: Any, loop: Loop) -> None:
    browser.open(loop.preview.url)
    wait_for(lambda: browser.run("document.getElementById('canvas').dataset.index"))


def pixel(browser: Any, x: int, y: int = 5) -> list[int]:
    return list(browser.run(PIXEL.format(x=x, y=y)))


def text(browser: Any, selector: str) -> str:
    return str(browser.run(f"document.querySelector('{selector}').innerText"))


def split(browser: Any) -> int:
    return int(browser.run("document.getElementById('divider').getAttribute('aria-valuenow')"))


def status(browser: Any) -> str:
    return str(browser.run("document.getElementById('status').dataset.state"))


def figures(browser: Any) -> dict[str, str]:
    """What is seen of the figures, by their labels."""
    cells = browser.run(
        "[...document.querySelectorAll('#figures dl > div')].filter((cell) => !cell.hidden)"
        ".map((cell) => [cell.firstChild.textContent, cell.lastChild.textContent.trim()])"
    )
    return dict(cells)


def test_both_halves_are_always_of_the_same_frame(browser, serve):
    frames = (Frame(np.full((48, 64, 3), index * 37 % 256, np.uint8), index, 0) for index in itertools.count())
    with Loop(frames, lambda frame, settings: frame.pixels, period_s=0.01) as loop:
        show(browser, loop)
        levels = set()
        while len(levels) < 10:
            left, right, index = browser.run(
                f"[{PIXEL.format(x=4, y=5)}, {PIXEL.format(x=60, y=5)}, canvas.dataset.index]"
            )
            assert left == right
            assert abs(left[0] - int(index) * 37 % 256) <= 1
            levels.add(left[0])


def test_the_divider_is_dragged_by_the_mouse(browser, loop):
    show(browser, loop)
    assert split(browser) == 50
    x, y = browser.centre("#divider")
    width = browser.run("document.getElementById('picture').clientWidth")
    browser.drag((x, y), (x + width / 4, y))
    assert split(browser) == 75
    assert abs(browser.centre("#divider")[0] - (x + width / 4)) < 2
    loop.controls.change(paused=True)  # frames alternate: hold one
    wait_for(lambda: status(browser) == "paused")
    noisy = {0, 255}
    assert pixel(browser, 46)[0] in noisy
    assert pixel(browser, 50) == [63, 63, 63]
    browser.drag((x + width / 4, y), (x - 2 * width, y))
    assert split(browser) == 0
    assert pixel(browser, 0) == [63, 63, 63], "the divider moves on a picture that stands, too"
    browser.drag((x, y), (x, y))
    assert split(browser) == 50, "a click on the picture brings it there"


def test_the_divider_is_dragged_by_a_finger(browser, loop):
    browser.look(PHONE_WH, touch=True)
    show(browser, loop)
    x, y = browser.centre("#divider")
    browser.swipe((x, y), (x - 80, y))
    width = browser.run("document.getElementById('picture').clientWidth")
    assert abs(split(browser) - (50 - 8000 / width)) <= 1


def test_the_divider_is_moved_by_keys_and_says_where_it_is(browser, loop):
    show(browser, loop)
    browser.run("document.getElementById('divider').focus()")
    for key, expected in (
        ("ArrowRight", 52), ("ArrowLeft", 50), ("PageUp", 60), ("PageDown", 50), ("Home", 0), ("ArrowLeft", 0),
        ("End", 100),
    ):  # fmt: skip
        browser.key(key)
        assert split(browser) == expected
    assert browser.run("divider.getAttribute('aria-valuetext')") == "100 % camera, 0 % clean"
    assert browser.run("divider.getAttribute('role')") == "slider"


def test_the_strength_slider_changes_the_picture_and_the_loop(browser, loop):
    show(browser, loop)
    assert pixel(browser, 60) == [63, 63, 63]
    width = browser.run("document.getElementById('strength').clientWidth")
    x, y = browser.centre("#strength")
    browser.drag((x, y), (x + width / 4 - 4, y))
    wait_for(lambda: abs(loop.controls.settings.strength - 1.5) < 0.06)
    expected = round(63 * loop.controls.settings.strength)
    wait_for(lambda: abs(pixel(browser, 60)[0] - expected) <= 1)
    assert text(browser, "#strength-value") == f"{loop.controls.settings.strength:.2f}×"
    loop.controls.change(strength=0.5)  # by someone else
    wait_for(lambda: text(browser, "#strength-value") == "0.50×")
    assert browser.run("strength.valueAsNumber") == 0.5


def test_an_older_state_does_not_move_the_slider_back(browser, serve):
    fps = itertools.count(10)
    with Loop(numbered_frames(), blend, more_stats=lambda: {"fps": next(fps)}) as loop:
        show(browser, loop)
        wait_for(lambda: figures(browser))
        browser.run(
            "const answerOf = fetch; window.held = new Promise((go) => { window.go = go; });"
            "fetch = async (...args) => { await held; return answerOf(...args); };"
            "strength.value = 1.5; strength.dispatchEvent(new Event('input'))"
        )
        shown = figures(browser)
        wait_for(lambda: figures(browser) != shown)  # a state came in which the strength is still 1
        assert loop.controls.settings.strength == 1
        assert browser.run("strength.valueAsNumber") == 1.5
        browser.run("go()")
        wait_for(lambda: loop.controls.settings.strength == 1.5)
        time.sleep(0.2)
        assert browser.run("strength.valueAsNumber") == 1.5


def test_model_and_pause(browser, loop):
    show(browser, loop)
    assert browser.run("[...model.options].map((option) => option.value)") == ["camera-nano", "none"]
    browser.run("model.value = 'none'; model.dispatchEvent(new Event('change'))")
    wait_for(lambda: loop.controls.settings.model == "none")
    browser.click("#pause")
    wait_for(lambda: loop.controls.settings.paused)
    wait_for(lambda: status(browser) == "paused" and text(browser, "#pause") == "Resume")
    browser.click("#pause")
    wait_for(lambda: not loop.controls.settings.paused)
    wait_for(lambda: status(browser) == "live" and text(browser, "#pause") == "Pause")


def test_a_refusal_is_shown_and_the_control_goes_back(browser, loop):
    show(browser, loop)
    browser.run(
        "model.append(new Option('gone', 'gone')); model.value = 'gone'; model.dispatchEvent(new Event('change'))"
    )
    wait_for(lambda: "Expected model to be one of" in text(browser, "#refusal"))
    wait_for(lambda: browser.run("model.value") == "camera-nano")
    assert loop.controls.settings.model == "camera-nano"
    assert len(browser.errors) == 1 and "400" in browser.errors.pop()  # the browser notes every answer of that kind


def test_a_snapshot_is_downloaded(browser, loop, tmp_path):
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    show(browser, loop)
    browser.click("#snapshot")
    wait_for(lambda: list(tmp_path.glob("quietframe-*.zip")))
    (file,) = tmp_path.glob("quietframe-*.zip")
    archive = zipfile.ZipFile(io.BytesIO(file.read_bytes()))
    index = int(file.stem.removeprefix("quietframe-"))
    before, after = (cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), -1) for name in archive.namelist())
    assert np.all(before == 255 * (index % 2))
    assert np.all(after == 63)


def test_a_dead_source_shows_and_recovers_by_itself(browser, loop):
    show(browser, loop)
    assert status(browser) == "live"
    loop.trouble = "rtsp://camera: <b>no answer</b> for 10 s"
    wait_for(lambda: status(browser) == "trouble")
    assert text(browser, "#notice") == loop.trouble
    dimmed = "getComputedStyle(canvas).filter"
    wait_for(lambda: "brightness" in browser.run(dimmed))
    stopped_at = browser.run("canvas.dataset.index")
    loop.trouble = None
    wait_for(lambda: status(browser) == "live")
    wait_for(lambda: browser.run(dimmed) == "none")
    wait_for(lambda: browser.run("canvas.dataset.index") != stopped_at)
    assert browser.run("document.getElementById('notice').hidden")


def test_the_page_comes_back_when_the_server_does(browser, loop):
    show(browser, loop)
    port = urlsplit(loop.preview.url).port
    loop.preview.close()
    wait_for(lambda: status(browser) == "wait")
    wait_for(lambda: "has stopped" in text(browser, "#notice"))
    again = Preview(f"127.0.0.1:{port}")
    again.begin(lambda: {"fps": 12.3}, loop.controls)
    try:
        wait_for(lambda: status(browser) == "live")
        again.write(Frame(np.full((48, 64, 3), 200, np.uint8), 4711, 0), np.full((48, 64, 3), 90, np.uint8))
        wait_for(lambda: browser.run("canvas.dataset.index") == "4711")
        assert figures(browser)["frames a second"] == "12.3"
    finally:
        browser.call("Page.navigate", url="about:blank")
        again.close()


def test_a_page_of_before_a_restart_asks_for_the_new_link(browser, serve):
    with Loop(numbered_frames(), blend, token="the-first-token") as loop:
        show(browser, loop)
        port = urlsplit(loop.preview.url).port
    with Loop(numbered_frames(), blend, address=f"127.0.0.1:{port}", token="the-second-token") as loop:
        wait_for(lambda: "open the link" in text(browser, "#notice"))
        browser.call("Page.navigate", url="about:blank")
    browser.errors.clear()


def test_the_link_s_token_leaves_the_address_and_the_cookie_serves(browser, serve):
    with Loop(numbered_frames(), blend, token="a-token-for-tests") as loop:
        show(browser, loop)
        assert "token" not in browser.run("location.href")
        assert "quietframe" not in browser.run("document.cookie"), "no script can read it"
        browser.call("Page.reload")
        time.sleep(0.3)
        wait_for(lambda: browser.run("document.getElementById('canvas')?.dataset.index"))
        browser.click("#pause")
        wait_for(lambda: loop.controls.settings.paused)


def test_figures_are_shown_where_they_are_known(browser, serve):
    more: dict[str, Any] = {
        "fps": 29.94, "age_p50_ms": 12.34, "age_p95_ms": 145.6, "dropped": 31, "captured": 1000, "cpu_percent": 87.4,
        "rss_mb": 143.2, "temperature_c": None, "throttled": None, "damaged": 0, "size_wh": [640, 480],
        "model": "camera-small",
    }  # fmt: skip
    with Loop(numbered_frames(), blend, more_stats=lambda: more) as loop:
        show(browser, loop)
        wait_for(lambda: figures(browser))
        assert figures(browser) == {
            "frames a second": "29.9",
            "latency, median": "12.3 ms",
            "latency, p95": "146 ms",
            "frames dropped": "31 3 %",
            "processor": "87 %",
            "memory": "143 MB",
        }
        assert text(browser, "#what") == "camera-small · 640×480"
        more |= {"temperature_c": 81.2, "throttled": True, "damaged": 2, "reconnects": 1, "fused": 0.934}
        wait_for(lambda: "temperature" in figures(browser))
        assert figures(browser).items() >= {
            ("temperature", "81 °C"), ("throttled", "yes"), ("damaged", "2"), ("reconnected", "1 ×"),
            ("earlier frames", "93 %"),
        }  # fmt: skip
        assert browser.run("document.querySelectorAll('.warn').length") == 2


def test_the_last_minute_is_drawn(browser, serve, monkeypatch):
    monkeypatch.setattr("quietframe.preview.app._STATE_PERIOD_S", 0.6)  # of what comes sooner the page keeps the last
    fps = iter(range(10, 1000, 10))
    with Loop(numbered_frames(), blend, more_stats=lambda: {"fps": next(fps), "age_p95_ms": 7}) as loop:
        show(browser, loop)
        wait_for(
            lambda: browser.run("document.querySelector('#lane-fps .line').getAttribute('d').split('L').length") >= 4
        )
        line = browser.run("document.querySelector('#lane-fps .line').getAttribute('d')")
        points = [tuple(map(float, point.split())) for point in line.removeprefix("M").split("L")]
        assert points[-1] == (60, 1.5)  # now, and the most
        assert np.all(np.diff(points, axis=0)[:, 0] > 0.5), "time runs to the right"
        assert np.all(np.diff(points, axis=0)[:, 1] < 0), "more is higher"
        assert text(browser, "#lane-age b") == "up to 7 ms"


@pytest.mark.parametrize(("size_wh", "touch"), [(DESKTOP_WH, False), (PHONE_WH, True), ((320, 568), True)])
def test_it_fits_every_screen_in_light_and_dark(browser, loop, size_wh, touch):
    grounds = []
    for scheme in ("light", "dark"):
        browser.look(size_wh, scheme=scheme, touch=touch)
        show(browser, loop)
        assert browser.run("document.documentElement.scrollWidth") <= size_wh[0]
        overflowing = browser.run(
            "[...document.querySelectorAll('main *')].filter((node) => node.getBoundingClientRect().right >"
            " innerWidth + 0.5).map((node) => node.tagName + '#' + node.id)"
        )
        assert overflowing == []
        left, top, width, height = browser.run(
            "(({x, y, width, height}) => [x, y, width, height])(canvas.getBoundingClientRect())"
        )
        assert left >= 0 and top >= 0 and top + height <= size_wh[1], "the whole picture is seen"
        assert width / height == pytest.approx(64 / 48, rel=0.02)
        grounds.append(browser.run("getComputedStyle(document.body).backgroundColor"))
    light, dark = (sum(map(int, ground[4:-1].split(","))) for ground in grounds)
    assert light > 600
    assert dark < 150


def test_everything_that_can_be_used_has_a_name(browser, loop):
    show(browser, loop)
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    used = {
        (node["role"]["value"], node["name"]["value"])
        for node in tree
        if node.get("role", {}).get("value") in {"slider", "combobox", "button", "link"}
    }
    assert ("slider", "Divider between the camera's frame and the clean one") in used
    assert {("combobox", "Model"), ("button", "Pause"), ("link", "Snapshot")} <= used
    assert all(name for _, name in used)
    assert len([role for role, _ in used if role == "slider"]) == 2


def test_a_hidden_page_asks_for_no_pictures(browser, loop):
    show(browser, loop)
    # A page that is not shown gets no animation frame: the same is done to it here.
    browser.run("window.requestAnimationFrame = () => 0")
    time.sleep(0.3)
    held = browser.run("canvas.dataset.index")
    pair = loop.preview.stream.frames.newest
    wait_for(lambda: loop.preview.stream.frames.newest is not pair)
    time.sleep(0.3)
    assert browser.run("canvas.dataset.index") == held
    assert "message" not in vars(loop.preview.stream.frames.newest)
