"""Load Keras, which takes seconds: only once all that a training was asked for is known to be right."""

from __future__ import annotations

import logging
import os
import sys

from quietframe.descriptors import suppress_native_output
from quietframe.errors import UsageError


def load_backend() -> None:
    """Import Keras without what its backend prints. Raises UsageError for a `KERAS_BACKEND` that is not installed."""
    if "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        with suppress_native_output():  # TensorFlow's, whatever TF_CPP_MIN_LOG_LEVEL says
            import keras  # noqa: F401
    except (ImportError, ValueError) as exc:
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        raise UsageError(
            f"the Keras backend {backend!r} cannot be used ({exc}): install it, or set KERAS_BACKEND"
        ) from exc
