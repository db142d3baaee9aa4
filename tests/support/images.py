"""Frames and image files for tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def rng(seed: int = 0) -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(seed)


def random_frame(*shape: int, seed: int = 0) -> np.ndarray:
    """Random uint8 pixels."""
    return rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_image(path: Path, pixels: np.ndarray | int = 100, shape: tuple[int, ...] = (48, 64, 3)) -> Path:
    """Write an image, or one of a single level and a shape; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(shape, pixels, np.uint8) if isinstance(pixels, int) else pixels)
    return path


def files_below(folder: Path) -> list[str]:
    """All files in a folder and below but models, hidden ones as well."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.endswith((".tflite", ".onnx")))
