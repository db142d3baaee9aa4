"""A window on the screen."""

from __future__ import annotations

import os
import re
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import OutputError
from quietframe.sinks.base import Sink
from quietframe.sources import Frame, Source

_TITLE = "QuietFrame (q or Esc closes)"
_CLOSING_KEYS = (ord("q"), 27)


class WindowSink(Sink):
    """Shows results in a window: a moving source as it comes, a picture until a key is pressed.

    Raises:
        OutputError: OpenCV was built without windows, or there is no screen.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._wait_ms = 1 if source.moving else 0
        if re.search(r"GUI:\s*NONE", cv2.getBuildInformation()):
            raise OutputError(
                "--show needs an OpenCV with windows: pip uninstall opencv-python-headless && pip install opencv-python"
            )
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise OutputError("--show needs a screen: neither DISPLAY nor WAYLAND_DISPLAY is set")
        try:
            cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as exc:
            raise OutputError(f"--show: no window could be opened ({exc.err})") from exc

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`."""
        cv2.imshow(_TITLE, pixels)
        key = cv2.waitKey(self._wait_ms) & 0xFF
        closed = cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) < 1
        self.wants_more = not closed and key not in _CLOSING_KEYS

    def close(self) -> None:
        """See `Sink`."""
        cv2.destroyWindow(_TITLE)

    def discard(self) -> None:
        """See `Sink`."""
        cv2.destroyAllWindows()
