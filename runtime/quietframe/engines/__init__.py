"""Engines, by file suffix. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from quietframe.engines.base import Engine, TensorInfo
from quietframe.engines.litert import LiteRtEngine
from quietframe.engines.onnx import OnnxEngine

ENGINES: Mapping[str, Callable[..., Engine]] = {".tflite": LiteRtEngine, ".onnx": OnnxEngine}

__all__ = ["ENGINES", "Engine", "LiteRtEngine", "OnnxEngine", "TensorInfo"]
