"""Draw the images of docs/preview.md and docs/serve.md: `python tests/runtime/preview/draw_images.py docs/images`.

Cameras look at a photograph (NASA, public domain; see quietframe/assets/CREDITS.md) in a dim room.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from chromium import Browser, wait_for

from quietframe import Pipeline
from quietframe.assets import photo_bgr
from quietframe.demo import READ_255, SHOT_255, PanSource
from quietframe.noise import add_shot_read
from quietframe.preview import Preview
from quietframe.serve import Cameras, read_config
from quietframe.sources import Frame

VIEWS = {"desktop": ((1280, 800), False, 1.0), "phone": ((390, 844), True, 2.0)}
JPEG_QUALITY = 85
SECONDS = 45


class Camera(PanSource):
    """The demonstration's clip, again and again, as a camera gives it."""

    endless = True
    real_time = True

    def __iter__(self) -> Iterator[Frame]:
        frames = list(super().__iter__())
        for index in count():
            if self._cancelled.wait(1 / 30):
                return
            yield replace(frames[index % len(frames)], index=index, captured_ns=time.monotonic_ns())


WALL = """
[server]
address = "127.0.0.1:0"
[defaults]
max_fps = 5
"""
OTHERS = """
[[camera]]
name = "workshop"
source = "test:?frames=0&fps=5"
schedule = [{from = "00:00", to = "23:59:59", paused = true}]
[[camera]]
name = "gate"
source = "rtsp://127.0.0.1:9/live"
"""
VIEWED = {"door": (140, 0), "hall": (0, 150), "desk": (192, 272), "shelf": (192, 100)}
CLIP_SIZE_WH, CLIP_FPS = (320, 240), 5


def write_clip(path: Path, left_top: tuple[int, int], seconds: float) -> None:
    """What a camera records that looks at a part of the photograph."""
    (width, height), (left, top) = CLIP_SIZE_WH, left_top
    clean = np.ascontiguousarray(photo_bgr()[top : top + height, left : left + width])
    rng = np.random.default_rng(1)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), CLIP_FPS, CLIP_SIZE_WH)
    for _ in range(round(seconds * CLIP_FPS)):
        writer.write(add_shot_read(clean, SHOT_255, READ_255, rng))
    writer.release()


def save(browser: Browser, path: Path) -> None:
    image = cv2.imdecode(np.frombuffer(browser.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def draw_pages(browser: Browser, folder: Path, seconds: float) -> None:
    """Write preview-NAME.jpg for each view, of camera-nano."""
    preview = Preview("127.0.0.1:0")
    pipeline = Pipeline(Camera(), "camera-nano", [preview])
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    try:
        wait_for(lambda: pipeline.record().get("processed"))
        for name, (size_wh, touch, scale) in VIEWS.items():
            browser.look(size_wh, scheme="dark", touch=touch, scale=scale)
            browser.open(preview.url)
            wait_for(lambda: browser.run("canvas.dataset.index"))
            time.sleep(seconds)
            save(browser, folder / f"preview-{name}.jpg")
    finally:
        pipeline.stop()
        thread.join()


def draw_wall(browser: Browser, path: Path, seconds: float) -> None:
    """Write the wall of six cameras, one of them broken and one paused."""
    with tempfile.TemporaryDirectory() as clips:
        text = WALL
        for name, left_top in VIEWED.items():
            write_clip(Path(clips, f"{name}.avi"), left_top, seconds + 60)
            text += f'[[camera]]\nname = "{name}"\nsource = "{clips}/{name}.avi"\n'
        config = Path(clips, "cameras.toml")
        config.write_text(text + OTHERS, encoding="utf-8")
        cameras = Cameras(read_config(config))
        thread = threading.Thread(target=cameras.run)
        thread.start()
        try:
            wait_for(lambda: ":0/" not in cameras.url)
            browser.look((1280, 800), scheme="dark")
            browser.open(cameras.url)
            wait_for(lambda: browser.run("document.querySelectorAll('.tile[data-state=live]').length") == len(VIEWED))
            time.sleep(seconds)
            save(browser, path)
        finally:
            cameras.stop()
            thread.join()


def main(folder: Path, seconds: float = SECONDS) -> None:
    """Draw all of them."""
    with Browser() as browser:
        draw_pages(browser, folder, seconds)
        draw_wall(browser, folder / "preview-wall.jpg", seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(float, sys.argv[2:]))
