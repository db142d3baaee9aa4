"""Tasks: frames in, results out. They know what a model's numbers mean; engines do not."""

from __future__ import annotations

from quietframe.tasks.base import models
from quietframe.tasks.classify import Classification, Classifier, DenoiseClassification, DenoiseClassifier
from quietframe.tasks.denoise import Denoiser
from quietframe.tasks.video import VideoDenoiser, open_denoiser

__all__ = [
    "Classification",
    "Classifier",
    "DenoiseClassification",
    "DenoiseClassifier",
    "Denoiser",
    "VideoDenoiser",
    "models",
    "open_denoiser",
]
