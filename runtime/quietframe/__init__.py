"""QuietFrame: clean camera frames, in real time, on small computers.

>>> import quietframe as qf
>>> denoise = qf.Denoiser("camera-small")
>>> clean_bgr = denoise(frame_bgr)  # (H, W, 3) uint8 in, the same out
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quietframe.card import ModelCard
    from quietframe.errors import (
        FrameError,
        MissingExtraError,
        ModelLoadError,
        OutputError,
        QuietFrameError,
        SourceError,
        UsageError,
    )
    from quietframe.images import Image, read_image, write_image
    from quietframe.noise.estimate import estimate_noise
    from quietframe.noise.tracker import NoiseTracker
    from quietframe.pipeline import Pipeline, PipelineConfig
    from quietframe.quality import psnr
    from quietframe.sinks import Sink, open_sink
    from quietframe.sources import Frame, Source, open_source
    from quietframe.tasks import (
        Classification,
        Classifier,
        DenoiseClassification,
        DenoiseClassifier,
        Denoiser,
        VideoDenoiser,
        models,
    )
    from quietframe.zoo import builtin_models

__version__ = "0.1.0"

# ONNX Runtime from 1.29 on sends usage data to Microsoft and leaves an identifier in the user's cache folder, unless
# this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "card": ("ModelCard",),
    "errors": (
        "FrameError",
        "MissingExtraError",
        "ModelLoadError",
        "OutputError",
        "QuietFrameError",
        "SourceError",
        "UsageError",
    ),
    "images": ("Image", "read_image", "write_image"),
    "noise.estimate": ("estimate_noise",),
    "noise.tracker": ("NoiseTracker",),
    "quality": ("psnr",),
    "pipeline": ("Pipeline", "PipelineConfig"),
    "sinks": ("Sink", "open_sink"),
    "sources": ("Frame", "Source", "open_source"),
    "tasks": (
        "Classification",
        "Classifier",
        "DenoiseClassification",
        "DenoiseClassifier",
        "Denoiser",
        "VideoDenoiser",
        "models",
    ),
    "zoo": ("builtin_models",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Classification",
    "Classifier",
    "DenoiseClassification",
    "DenoiseClassifier",
    "Denoiser",
    "Frame",
    "FrameError",
    "Image",
    "MissingExtraError",
    "ModelCard",
    "ModelLoadError",
    "NoiseTracker",
    "OutputError",
    "Pipeline",
    "PipelineConfig",
    "QuietFrameError",
    "Sink",
    "Source",
    "SourceError",
    "UsageError",
    "VideoDenoiser",
    "builtin_models",
    "estimate_noise",
    "models",
    "open_sink",
    "open_source",
    "psnr",
    "read_image",
    "write_image",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `quietframe --help` needs neither NumPy nor OpenCV."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
