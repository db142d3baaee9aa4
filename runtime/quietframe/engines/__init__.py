"""Engines, by file suffix. A new one is a file and its class in `ENGINES`."""

from __future__ import annotations

from collections.abc import Mapping

from quietframe.engines.base import Engine, EngineClass, TensorInfo
from quietframe.engines.litert import LiteRtEngine
from quietframe.engines.onnx import OnnxEngine
from quietframe.engines.openvino import OpenVinoEngine

_ENGINES: tuple[EngineClass, ...] = (LiteRtEngine, OnnxEngine, OpenVinoEngine)

ENGINES: Mapping[str, EngineClass] = {suffix: engine for engine in _ENGINES for suffix in engine.suffixes}
"""The class that opens a file, by the file's suffix in lower case."""

__all__ = ["ENGINES", "Engine", "EngineClass", "LiteRtEngine", "OnnxEngine", "OpenVinoEngine", "TensorInfo"]
