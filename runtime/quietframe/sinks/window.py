"""A window on the screen."""

from __future__ import annotations

import os
import re
import subprocess
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
        self._moving = source.moving
        if re.search(r"GUI:\s*NONE", cv2.getBuildInformation()):
            raise OutputError(
                "--show needs an OpenCV with windows: pip uninstall opencv-python-headless && pip install opencv-python"
            )
        if not _screen_answers():
            raise OutputError(f"--show: no window can be opened here (DISPLAY={os.environ.get('DISPLAY', '')!r})")
        cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`."""
        cv2.imshow(_TITLE, pixels)
        key = cv2.waitKey(1)
        while not self._moving and key < 0 and self._is_open():
            key = cv2.waitKey(50)  # not for ever: that would not notice that the window was closed
        self.wants_more = self._is_open() and key not in _CLOSING_KEYS

    def close(self) -> None:
        """See `Sink`."""
        cv2.destroyAllWindows()

    def discard(self) -> None:
        """See `Sink`."""
        cv2.destroyAllWindows()

    def _is_open(self) -> bool:
        try:
            return cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # Qt is gone with its last window
            return False


def _screen_answers() -> bool:
    """Try it in a process of its own: without a screen, Qt ends the process that asks for a window."""
    code = "import cv2; cv2.namedWindow('QuietFrame')"
    try:
        return (
            subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=30).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
