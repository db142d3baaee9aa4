"""Batches of a camera recipe that JAX draws on the device that trains: cutting, turning and white noise take it next to
no time. A sensor's frames come from `makers` and are drawn here from a stock of them.

The frames are distributed as `CameraNoise` distributes them; JAX alone, no Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from quietframe.noise import MAX_SIGMA_255
from quietframe_train.camera_noise import TOLD_255, CameraNoise
from quietframe_train.photo_batches import weight_under

STOCK_SIDE = 128
"""Side of the stock's frames, in pixels; smaller patches are cut from them."""

_LUMA_BGR = ((0.114,), (0.587,), (0.299,))


class PhotoBank(NamedTuple):
    """Photographs on the device.

    Attributes:
        images: (N, height, width, 3) uint8 BGR, those that stand turned to lie, in the top left corner.
        sizes: (N, 2) int32, height and width of each.
    """

    images: Any
    sizes: Any


class Stock(NamedTuple):
    """Frames of sensors: clean and noisy (N, STOCK_SIDE, STOCK_SIDE, 3) uint8 BGR, and the told levels (N,) float32."""

    clean: Any
    noisy: Any
    told_255: Any


class Frames(NamedTuple):
    """As `Stock`, in float32 8-bit levels, of the side that was asked for."""

    clean: Any
    noisy: Any
    told_255: Any


def photo_bank(photos: Sequence[NDArray[np.uint8]]) -> PhotoBank:
    """Photographs, (H, W, 3) uint8 BGR of many sizes, put on the device."""
    lying = [photo if photo.shape[0] <= photo.shape[1] else photo.swapaxes(0, 1) for photo in photos]
    sizes = np.array([photo.shape[:2] for photo in lying])
    images = np.zeros((len(lying), *sizes.max(axis=0), 3), np.uint8)
    for image, photo in zip(images, lying, strict=True):
        image[: photo.shape[0], : photo.shape[1]] = photo
    return PhotoBank(jnp.asarray(images), jnp.asarray(sizes, jnp.int32))


def empty_stock(count: int) -> Stock:
    """Room for so many frames."""
    frames = jnp.zeros((count, STOCK_SIDE, STOCK_SIDE, 3), jnp.uint8)
    return Stock(frames, frames.copy(), jnp.zeros(count))


def stock_share(noise: CameraNoise) -> float:
    """The share of a batch that comes from the stock: a sensor's frames, and those without noise."""
    return noise.sensor_share + noise.quiet_share


def stock_noise(noise: CameraNoise) -> CameraNoise:
    """What makes the stock: the same noise without the white frames."""
    share = stock_share(noise)
    return replace(noise, sensor_share=noise.sensor_share / share, quiet_share=noise.quiet_share / share + 1e-6)


def draw_batch(
    key: Any, bank: PhotoBank, stock: Stock, noise: CameraNoise, count: int, side: int, *, weighed: bool
) -> tuple[dict[str, Any], Any, Any]:
    """Inputs, targets and weights of a step, as of `PhotoDraws`; to be traced."""
    few = max(1, round(count * stock_share(noise)))
    of_white, of_stock = jax.random.split(key)
    parts = white_frames(of_white, bank, noise, count - few, side), stocked_frames(of_stock, stock, few, side)
    clean, noisy, told_255 = (jnp.concatenate(values) for values in zip(*parts, strict=True))
    told_255 = jnp.clip(told_255, 0, MAX_SIGMA_255).reshape(-1, 1, 1, 1)
    weights = weight_under(jnp.std(noisy - clean, axis=(1, 2, 3))) if weighed else jnp.ones(count)
    return {"image": noisy / 255, "sigma": told_255 / 255}, clean / 255, weights


def white_frames(key: Any, bank: PhotoBank, noise: CameraNoise, count: int, side: int) -> Frames:
    """Patches of photographs, or flat frames, with white noise: `CameraNoise` without its other kinds."""
    keys = iter(jax.random.split(key, 9))
    clean = _patches(next(keys), bank, count, side).astype(jnp.float32)
    clean = jnp.where(_some(next(keys), noise.flat_share, count), _flat(next(keys), noise, count, side), clean)
    gray = _some(next(keys), noise.gray_share, count)
    clean = jnp.where(gray, jnp.round(clean @ jnp.asarray(_LUMA_BGR)), clean)
    sigma_255 = _between(next(keys), 0, noise.max_sigma_255, count)
    values = jax.random.normal(next(keys), clean.shape)
    noisy = clean + sigma_255 * jnp.where(gray, values[..., :1], values)
    least, most = (jnp.maximum(level, TOLD_255) for level in noise.told_span(sigma_255, of=jnp))
    about = jnp.exp(_between(next(keys), jnp.log(least), jnp.log(most), count))
    less = _between(next(keys), 0, least, count)
    told_255 = jnp.where(_some(next(keys), noise.understated_share, count), less, about)
    return Frames(clean, jnp.clip(jnp.round(noisy), 0, 255), told_255.ravel())


def stocked_frames(key: Any, stock: Stock, count: int, side: int) -> Frames:
    """Frames of the stock, cut and turned at random."""
    of_which, of_place, of_turn = jax.random.split(key, 3)
    which = jax.random.randint(of_which, (count,), 0, len(stock.told_255))
    corners = jax.random.randint(of_place, (count, 2), 0, STOCK_SIDE - side + 1)
    pair = (_turned(of_turn, _cut(images, which, corners, side)) for images in (stock.clean, stock.noisy))
    clean, noisy = (image.astype(jnp.float32) for image in pair)
    return Frames(clean, noisy, stock.told_255[which])


def _patches(key: Any, bank: PhotoBank, count: int, side: int) -> Any:
    of_which, of_place, of_turn = jax.random.split(key, 3)
    which = jax.random.randint(of_which, (count,), 0, len(bank.images))
    room = bank.sizes[which] - side
    corners = jnp.minimum((jax.random.uniform(of_place, (count, 2)) * (room + 1)).astype(jnp.int32), room)
    return _turned(of_turn, _cut(bank.images, which, corners, side))


def _cut(images: Any, which: Any, corners: Any, side: int) -> Any:
    def one(index: Any, corner: Any) -> Any:
        return jax.lax.dynamic_slice(images, (index, corner[0], corner[1], 0), (1, side, side, 3))[0]

    return jax.vmap(one)(which, corners)


def _turned(key: Any, images: Any) -> Any:
    """Each image in one of its eight positions; the same ones for the same key."""
    upside, aside, across = jax.random.bernoulli(key, 0.5, (3, len(images), 1, 1, 1))
    images = jnp.where(upside, images[:, ::-1], images)
    images = jnp.where(aside, images[:, :, ::-1], images)
    return jnp.where(across, images.swapaxes(1, 2), images)


def _flat(key: Any, noise: CameraNoise, count: int, side: int) -> Any:
    """As `camera_noise.flat_frame`, cut from a frame of the width that it would have."""
    keys = iter(jax.random.split(key, 7))
    near_gray = _between(next(keys), 0, 255, count) + 15 * jax.random.normal(next(keys), (count, 1, 1, 3))
    any_colour = _between(next(keys), 0, 255, count, 3)
    start = jnp.where(_some(next(keys), 0.5, count), near_gray, any_colour)
    change = _between(next(keys), -30, 30, count, 3) * _some(next(keys), 0.5, count)
    width = noise.source_side(side)
    left = _between(next(keys), 0, width - side, count)
    slope = (left + jnp.arange(side)[None, None, :, None]) / (width - 1)
    return jnp.broadcast_to(jnp.clip(jnp.round(start + change * slope), 0, 255), (count, side, side, 3))


def _some(key: Any, share: float, count: int) -> Any:
    return jax.random.bernoulli(key, float(share), (count, 1, 1, 1))


def _between(key: Any, low: Any, high: Any, count: int, channels: int = 1) -> Any:
    return jax.random.uniform(key, (count, 1, 1, channels), minval=low, maxval=high)
