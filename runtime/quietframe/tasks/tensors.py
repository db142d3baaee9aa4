"""From 8-bit frames to a model's tensors and back, as its card and its file say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.card import TensorSpec
from quietframe.engines import TensorInfo
from quietframe.errors import ModelLoadError
from quietframe.images import check_frame

CV_DEPTHS: Mapping[Any, int] = {np.dtype(np.uint8): cv2.CV_8U, np.dtype(np.uint16): cv2.CV_16U}
"""OpenCV's names of the types of images."""

_TO_BGR = {("rgb", 3): cv2.COLOR_RGB2BGR, ("bgr", 4): cv2.COLOR_BGRA2BGR, ("rgb", 4): cv2.COLOR_RGBA2BGR}
_FROM_BGR = {("rgb", 3): cv2.COLOR_BGR2RGB, ("bgr", 4): cv2.COLOR_BGR2BGRA, ("rgb", 4): cv2.COLOR_BGR2RGBA}


def to_bgr(frame: NDArray[Any], color: str, *, deep: bool = False) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Split a frame into what models see and its opacity.

    frame: (H, W, 3) or (H, W, 4) in the order of `color`, `bgr` or `rgb`, or (H, W) gray; uint8, with `deep` or uint16.
    Returns (H, W, 3) BGR or (H, W) gray, in C order, the frame itself where it already is that; and the alpha, (H, W),
    or None. Raises FrameError if the array is not a frame.
    """
    check_frame(frame, alpha=True, deep=deep)
    channels = frame.shape[2] if frame.ndim == 3 else 1
    code = _TO_BGR.get((color, channels))
    bgr = np.ascontiguousarray(frame) if code is None else cv2.cvtColor(frame, code)
    return bgr, cv2.extractChannel(frame, 3) if channels == 4 else None


def from_bgr(bgr: NDArray[Any], alpha: NDArray[Any] | None, color: str) -> NDArray[Any]:
    """Bring a frame back to the caller's channels: the inverse of `to_bgr`."""
    code = _FROM_BGR.get((color, 3 if alpha is None else 4)) if bgr.ndim == 3 else None
    frame = bgr if code is None else cv2.cvtColor(bgr, code)
    return frame if alpha is None else cv2.insertChannel(alpha, frame, 3)


def encode_image(frame: NDArray[Any], spec: TensorSpec, info: TensorInfo) -> NDArray[Any]:
    """Turn an image into the tensor that a model takes.

    frame: (H, W, 3) BGR for a colour model, (H, W) for a gray one; uint8, for a tensor of floats uint16 too. Returns a
    tensor of batch size 1 in the layout, colour order, value range and dtype of `spec` and `info`; the frame itself,
    without a copy, where that already fits.
    """
    if spec.colour == "RGB":
        frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    low, high = spec.value_range
    if info.is_integer and not spec.mean:
        tensor = _recoded(frame, _encoding(low, high, info)).view(info.dtype)
    else:
        tensor = np.multiply(frame, (high - low) / np.iinfo(frame.dtype).max, dtype=np.float32)
        if low:
            tensor += np.float32(low)
        if spec.mean:
            tensor = (tensor - _floats(spec.mean)) / _floats(spec.deviation)
        tensor = quantize(tensor, info)
    if spec.layout == "NCHW":
        tensor = tensor[None] if tensor.ndim == 2 else np.ascontiguousarray(tensor.transpose(2, 0, 1))
        return tensor[None]
    return tensor[None, :, :, None] if tensor.ndim == 2 else tensor[None]


def decode_image(tensor: NDArray[Any], spec: TensorSpec, info: TensorInfo, dtype: Any = np.uint8) -> NDArray[Any]:
    """Turn a model's image back into integers, rounded and clipped: the inverse of `encode_image`.

    tensor: of batch size 1. dtype: uint8, of a tensor of floats uint16 too. Returns (H, W, 3) BGR or (H, W) gray: a
    part of the tensor itself, without a copy, where that already fits. Raises ModelLoadError for floats that are NaN or
    infinite.
    """
    image = tensor[0]
    if spec.layout == "NCHW":
        image = np.ascontiguousarray(image.transpose(1, 2, 0))
    if image.shape[-1] == 1:
        image = image[:, :, 0]
    low, high = spec.value_range
    if spec.mean:
        image = dequantize(image, info) * _floats(spec.deviation) + _floats(spec.mean)
    if info.is_integer and not spec.mean:
        if info.dtype.itemsize == 1:
            image = _recoded(image.view(np.uint8), _decoding(low, high, info))
        else:
            image = _to_integers(dequantize(image, info), low, high, dtype)
    else:
        image = image.astype(np.float32, copy=False)
        if not cv2.checkRange(image.reshape(image.shape[0], -1))[0]:
            raise ModelLoadError("the result holds NaN or infinity: no image can be made of it")
        image = _to_integers(image, low, high, dtype)
    if spec.colour == "RGB":
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return image


def _floats(values: Sequence[float]) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


def quantize(values: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """Real values as the integers that a quantized tensor holds, rounded and saturated; floats stay floats."""
    if not info.is_integer:
        return np.asarray(values, info.dtype)
    limits = np.iinfo(info.dtype)
    codes = np.rint(np.asarray(values) / (info.scale or 1.0)) + info.zero_point
    return np.clip(codes, limits.min, limits.max).astype(info.dtype)


@lru_cache(maxsize=32)
def level_tensor(sigma: float, spec: TensorSpec, info: TensorInfo, image_hw: tuple[int, int]) -> NDArray[Any]:
    """The tensor that gives a model one noise level for all of an image; not to be written to.

    sigma: in the units of the card. image_hw: the image's height and width, as the model takes it. A map is one value
    in memory. Kept: of a video's frames several in a row have the same level.
    """
    sizes = dict(zip("HW", (length // spec.stride for length in image_hw), strict=True))
    shape = [sizes.get(axis, 1) for axis in spec.layout]
    if spec.layout == "N111":  # as many axes as the file has
        shape = [1] * len(info.shape)
    return np.broadcast_to(quantize(np.asarray(sigma), info), shape)


def encode_levels(levels: NDArray[np.float32], spec: TensorSpec, info: TensorInfo) -> NDArray[Any]:
    """Turn noise levels, (H, W) in the units of the card, into the tensor that a model with a map takes."""
    return quantize(levels, info)[None, :, :, None] if spec.layout == "NHWC" else quantize(levels, info)[None, None]


def dequantize(codes: NDArray[Any], info: TensorInfo) -> NDArray[np.float32]:
    """The real values that a tensor holds."""
    if not info.is_integer:
        return codes.astype(np.float32, copy=False)
    return (codes.astype(np.float32) - info.zero_point) * np.float32(info.scale or 1.0)


@lru_cache(maxsize=32)
def _encoding(low: float, high: float, info: TensorInfo) -> NDArray[Any] | None:
    """The integer that stands for each 8-bit level, for `_recoded`."""
    return _unless_same(quantize(np.linspace(low, high, 256), info))


@lru_cache(maxsize=32)
def _decoding(low: float, high: float, info: TensorInfo) -> NDArray[Any] | None:
    """The 8-bit level of each one-byte integer, seen as uint8, for `_recoded`."""
    codes = np.arange(256).astype(np.uint8).view(info.dtype)
    return _unless_same(_to_integers(dequantize(codes, info), low, high))


def _unless_same(table: NDArray[Any]) -> NDArray[Any] | None:
    """None for a table of levels that stand for themselves."""
    return None if table.dtype == np.uint8 and bool((table == np.arange(256)).all()) else table


def _recoded(image: NDArray[np.uint8], table: NDArray[Any] | None) -> NDArray[Any]:
    """`table[image]`; the image itself, uncopied, without a table."""
    if table is None:
        return image
    if table.dtype.itemsize > 1:
        return table[image]
    return cv2.LUT(image, table.view(np.uint8))  # ten times as fast as NumPy's indexing


def _to_integers(values: NDArray[np.float32], low: float, high: float, dtype: Any = np.uint8) -> NDArray[Any]:
    flat = values.reshape(values.shape[0], -1)
    scale = np.iinfo(dtype).max / (high - low)
    # OpenCV rounds and saturates in one pass; NumPy takes four.
    result = cv2.addWeighted(flat, scale, flat, 0.0, -low * scale, dtype=CV_DEPTHS[np.dtype(dtype)])
    return result.reshape(values.shape)
