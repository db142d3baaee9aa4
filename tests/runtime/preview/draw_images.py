"""Draw the images of docs/preview.md: `python tests/runtime/preview/draw_images.py docs/images`.

A camera pans over a photograph (NASA, public domain; see quietframe/assets/CREDITS.md) in a dim room; camera-nano runs.
"""

from __future__ import annotations

import sys
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
from quietframe.demo import PanSource
from quietframe.preview import Preview
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


def main(folder: Path, seconds: float = SECONDS) -> None:
    """Write preview-NAME.jpg for each view."""
    preview = Preview("127.0.0.1:0")
    pipeline = Pipeline(Camera(), "camera-nano", [preview])
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    try:
        wait_for(lambda: pipeline.record().get("processed"))
        with Browser() as browser:
            for name, (size_wh, touch, scale) in VIEWS.items():
                browser.look(size_wh, scheme="dark", touch=touch, scale=scale)
                browser.open(preview.url)
                wait_for(lambda: browser.run("canvas.dataset.index"))
                time.sleep(seconds)
                image = cv2.imdecode(np.frombuffer(browser.screenshot(), np.uint8), cv2.IMREAD_COLOR)
                options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
                cv2.imwrite(str(folder / f"preview-{name}.jpg"), image, options)
    finally:
        pipeline.stop()
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(float, sys.argv[2:]))
