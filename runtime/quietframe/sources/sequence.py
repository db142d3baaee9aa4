"""`sequence:25:shots/*.png`, images as the frames of a video."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from quietframe.errors import SourceError
from quietframe.sources.base import Frame, Options, Source
from quietframe.sources.images import ImageSource, is_images

_PREFIX = "sequence:"
_EXAMPLE = "sequence:25:shots/*.png, 25 being frames a second"


def is_sequence(spec: str) -> bool:
    """`sequence:` with a frame rate and images behind it."""
    return spec.startswith(_PREFIX)


class SequenceSource(Source):
    """Gives the images of a folder or glob, sorted by path, as a moving source. Transparency is left out.

    Raises:
        SourceError: no frame rate, or no images; those that cannot be read are passed over, and `failures` says so.
    """

    def __init__(self, spec: str, options: Options) -> None:
        super().__init__()
        rate, _, images = spec.removeprefix(_PREFIX).partition(":")
        try:
            self.fps = float(rate)
        except ValueError:
            self.fps = 0.0
        if not 0.1 <= self.fps <= 1000:
            raise SourceError(f"{spec}: expected a frame rate in [0.1, 1000] first, as in {_EXAMPLE}")
        if not is_images(images):
            raise SourceError(f"{spec}: no such folder or images: expected {_EXAMPLE}")
        self._images = ImageSource(images, options)
        self.files = self._images.files
        self.frame_count = self._images.frame_count
        self.failures = self._images.failures

    def __iter__(self) -> Iterator[Frame]:
        self._images.keep_16bit = self.keep_16bit
        for index, frame in enumerate(self._images):
            yield replace(frame, index=index, name="", alpha=None, metadata=None, captured_ns=time.monotonic_ns())
