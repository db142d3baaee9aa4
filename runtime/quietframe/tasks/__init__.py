"""Tasks: frames in, results out. They know what a model's numbers mean; engines do not."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quietframe.tasks.classify import Classification, Classifier, DenoiseClassification, DenoiseClassifier
    from quietframe.tasks.denoise import Denoiser

__all__ = ["Classification", "Classifier", "DenoiseClassification", "DenoiseClassifier", "Denoiser"]


def __getattr__(name: str) -> Any:
    """Import a task when it is first used: a denoiser starts without the classifier's code."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "denoise" if name == "Denoiser" else "classify"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
