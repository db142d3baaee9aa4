"""Every error that QuietFrame raises on purpose.

::

    QuietFrameError            one line for the user: what is wrong and how to mend it
    ├── FrameError             an array that is not a frame (also a ValueError)
    ├── ModelLoadError         a model file or card that cannot be used
    ├── SourceError            an image, video, camera or stream that cannot be read
    ├── OutputError            a result that cannot be written
    │   └── OutputExistsError  there is such a file, and it is not to be replaced
    ├── UsageError             options or values that do not fit together (also a ValueError)
    └── MissingExtraError      an optional package that is not installed (also an ImportError)

The command line prints the message of any of them as one line and exits with 2.
"""

from __future__ import annotations


class QuietFrameError(Exception):
    """Base of all errors that QuietFrame raises on purpose."""


class FrameError(QuietFrameError, ValueError):
    """An array is not a frame: the message says what came and what was expected."""


class ModelLoadError(QuietFrameError):
    """A model file or its card cannot be used."""


class SourceError(QuietFrameError):
    """An image, folder, video, camera or stream cannot be read."""


class OutputError(QuietFrameError):
    """A result cannot be written."""


class OutputExistsError(OutputError):
    """A file is there already, and it is not to be replaced."""


class UsageError(QuietFrameError, ValueError):
    """Options or values that are out of range or do not fit together."""


class MissingExtraError(QuietFrameError, ImportError):
    """An optional package is not installed; the message names the command that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed: pip install 'quietframe[{extra}]'")
        self.extra = extra
