"""A small loop for the preview's tests: frames of a source, denoised and handed over, as the real one does it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quietframe.controls import Controls, Settings
from quietframe.preview import Preview
from quietframe.sources import Frame

Denoise = Callable[[Frame, Settings], NDArray[np.uint8]]


class Loop:
    """Gives a preview a frame each `period_s` until it is left. With `trouble` set, no frame comes."""

    def __init__(
        self,
        frames: Iterable[Frame],
        denoise: Denoise,
        *,
        address: str = "127.0.0.1:0",
        token: str | None = None,
        period_s: float = 1 / 30,
        models: tuple[str, ...] = ("camera-nano", "none"),
        more_stats: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._frames = frames
        self._denoise = denoise
        self._period_s = period_s
        self._more_stats = more_stats
        self._ended = threading.Event()
        self.trouble: str | None = None
        self.processed = 0
        self.controls = Controls(Settings(model=models[0]), models)
        self.preview = Preview(address, token=token)
        self.preview.begin(self.record, self.controls)
        self._thread = threading.Thread(target=self._run)

    def record(self) -> dict[str, Any]:
        """The state, as the real loop tells it."""
        return {"processed": self.processed, "trouble": self.trouble, **self._more_stats()}

    def _run(self) -> None:
        for frame in self._frames:
            settings = self.controls.settings
            if not settings.paused and self.trouble is None:
                self.preview.write(frame, self._denoise(frame, settings))
                self.processed += 1
            if self._ended.wait(self._period_s):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self._thread.join()
        self.preview.close()


def numbered_frames(size_wh: tuple[int, int] = (64, 48), *, noisy: bool = False) -> Iterable[Frame]:
    """Frames that show their index as a level, black or white in turns: `index % 2`. With noise they are large."""
    rng = np.random.default_rng(3)
    width, height = size_wh
    noise = rng.integers(0, 2, (height, width, 3), np.uint8) * 255
    index = 0
    while True:
        pixels = np.full((height, width, 3), 255 * (index % 2), np.uint8) if not noisy else np.roll(noise, index)
        yield Frame(pixels, index, time.monotonic_ns())
        index += 1


def blend(frame: Frame, settings: Settings) -> NDArray[np.uint8]:
    """A denoiser whose strength shows at once: gray of that level, 0 to 2 as 0 to 126."""
    return np.full_like(frame.pixels, round(63 * settings.strength))
