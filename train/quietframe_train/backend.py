"""Keras and its backend, imported without their chatter."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

from quietframe.errors import UsageError


def load_backend() -> None:
    """Import Keras with the backend that `KERAS_BACKEND` names, silently.

    A command calls this before anything that imports Keras. Raises UsageError if the backend is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        with _silent_stderr():
            import keras
    except (ImportError, ValueError) as exc:
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        raise UsageError(
            f"the Keras backend {backend!r} cannot be used ({exc}): install it, or set KERAS_BACKEND"
        ) from exc
    keras.utils.disable_interactive_logging()


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Nothing reaches descriptor 2: TensorFlow writes to it when imported, whatever TF_CPP_MIN_LOG_LEVEL says."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
