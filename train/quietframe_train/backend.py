"""Import Keras and its backend without their chatter."""

from __future__ import annotations

import logging
import os

from quietframe.descriptors import suppress_native_output
from quietframe.errors import UsageError


def load_backend() -> None:
    """Import Keras with the backend that `KERAS_BACKEND` names, silently.

    A command calls this before anything that imports Keras. Raises UsageError if the backend is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        with suppress_native_output():  # TensorFlow's, whatever TF_CPP_MIN_LOG_LEVEL says
            import keras
    except (ImportError, ValueError) as exc:
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        raise UsageError(
            f"the Keras backend {backend!r} cannot be used ({exc}): install it, or set KERAS_BACKEND"
        ) from exc
    keras.utils.disable_interactive_logging()
