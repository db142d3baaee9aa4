"""Draw the pictures of docs/preview.md: `python tests/runtime/preview/draw_pictures.py docs/images`.

A camera pans over a photograph (NASA, public domain; see quietframe/assets/CREDITS.md) in a dim room; camera-nano runs.
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from chromium import Browser, wait_for
from numpy.typing import NDArray
from preview_loop import Loop

from quietframe.assets import photo_bgr
from quietframe.controls import Settings
from quietframe.noise import add_shot_read
from quietframe.noise.tracker import NoiseTracker
from quietframe.sources import Frame
from quietframe.tasks import Denoiser

SIZE_WH = (640, 480)
VIEWS = {"desktop": ((1280, 800), False, 1.0), "phone": ((390, 844), True, 2.0)}
JPEG_QUALITY = 85
SECONDS = 45


def pan() -> Iterator[Frame]:
    """A window that moves over the photograph, with shot and read noise."""
    rng = np.random.default_rng(0)
    photo = cv2.resize(photo_bgr(), (800, 800), interpolation=cv2.INTER_CUBIC)
    index = 0
    while True:
        x, y = (round(centre + 50 * turn(index / 40)) for centre, turn in ((55, math.sin), (55, math.cos)))
        clean = photo[y : y + SIZE_WH[1], x : x + SIZE_WH[0]]
        yield Frame(add_shot_read(clean, 30.0, 12.0, rng), index, time.monotonic_ns(), clean=clean)
        index += 1


class Cleaner:
    """camera-nano, and what it measures of itself."""

    def __init__(self) -> None:
        self._denoiser = Denoiser("camera-nano")
        self._level_of = NoiseTracker(30.0)
        self._frames: deque[tuple[int, float, float | None]] = deque(maxlen=90)  # done_ns, age_ms, level_255
        self._count = 0

    def __call__(self, frame: Frame, settings: Settings) -> NDArray[np.uint8]:
        self._denoiser.strength = settings.strength
        level_255 = self._level_of(frame.pixels)
        clean = self._denoiser(frame.pixels, sigma_255=level_255)
        now_ns = time.monotonic_ns()
        self._frames.append((now_ns, (now_ns - frame.captured_ns) / 1e6, level_255))
        self._count += 1
        return clean

    def stats(self) -> dict[str, Any]:
        """As the real loop tells them."""
        if len(self._frames) < 2:
            return {}
        done_ns, ages_ms, levels_255 = zip(*self._frames, strict=True)
        median, p95 = np.percentile(ages_ms, (50, 95))
        return {
            "captured": self._count,
            "dropped": 0,
            "fps": 1e9 * (len(done_ns) - 1) / (done_ns[-1] - done_ns[0]),
            "age_p50_ms": median,
            "age_p95_ms": p95,
            "denoise_p50_ms": median,
            "sigma_255": levels_255[-1],
            "size_wh": SIZE_WH,
        }


def main(folder: Path, schemes: tuple[str, ...]) -> None:
    """Write preview-NAME.jpg for each view; with several schemes, preview-NAME-SCHEME.png of all."""
    cleaner = Cleaner()
    with Loop(pan(), cleaner, period_s=1 / 50, more_stats=cleaner.stats) as loop, Browser() as browser:
        for name, (size_wh, touch, scale) in VIEWS.items():
            for scheme in schemes:
                browser.look(size_wh, scheme=scheme, touch=touch, scale=scale)
                browser.open(loop.preview.url)
                wait_for(lambda: browser.run("canvas.dataset.index"))
                time.sleep(SECONDS)
                picture = cv2.imdecode(np.frombuffer(browser.screenshot(), np.uint8), cv2.IMREAD_COLOR)
                if len(schemes) == 1:
                    target = folder / f"preview-{name}.jpg"
                    cv2.imwrite(str(target), picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
                else:
                    cv2.imwrite(str(folder / f"preview-{name}-{scheme}.png"), picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(sys.argv[2:]) or ("dark",))
