from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import quietframe.assets
from quietframe.assets import digits, photo_bgr
from quietframe.quality import psnr_db

FOLDER = Path(quietframe.assets.__file__).parent


def test_photo_is_a_colour_frame() -> None:
    photo = photo_bgr()
    assert photo.shape == (512, 512, 3)
    assert photo.dtype == np.uint8
    assert photo.flags.c_contiguous


def test_photo_is_the_one_that_the_credits_name() -> None:
    data = pytest.importorskip("skimage.data", reason="the photograph's source is scikit-image")
    assert psnr_db(np.ascontiguousarray(data.astronaut()[:, :, ::-1]), photo_bgr()) > 42


def test_digits_are_white_on_black_in_the_middle() -> None:
    images, labels = digits()
    assert images.shape == (40, 28, 28)
    assert images.dtype == np.uint8
    assert labels.shape == (40,)
    assert np.bincount(labels).tolist() == [4] * 10
    assert labels[:10].tolist() == list(range(10))
    assert (images.max(axis=(1, 2)) > 200).all()
    for image in images:
        rows, columns = np.nonzero(image)
        assert max(np.ptp(rows), np.ptp(columns)) < 20
        share = image / image.sum()
        assert abs(share.sum(axis=1) @ np.arange(28) - 13.5) < 0.6
        assert abs(share.sum(axis=0) @ np.arange(28) - 13.5) < 0.6


def as_mnist(small: np.ndarray) -> np.ndarray:
    """A digit of 8x8 in 0 to 16 as MNIST shows one: firm strokes, 20 pixels long, the centre of mass in the middle."""
    large = cv2.resize((small / 16).astype(np.float32), (64, 64), interpolation=cv2.INTER_CUBIC)
    firm = np.clip((np.clip(large, 0, 1) - 0.2) / 0.6, 0, 1)
    rows, columns = np.nonzero(firm > 0.1)
    firm = firm[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = 20 / max(firm.shape)
    height, width = (round(side * scale) for side in firm.shape)
    digit = cv2.resize(firm, (width, height), interpolation=cv2.INTER_AREA)
    share = digit / digit.sum()
    top = round(13.5 - float(share.sum(axis=1) @ np.arange(height)))
    left = round(13.5 - float(share.sum(axis=0) @ np.arange(width)))
    picture = np.zeros((28, 28), np.uint8)
    picture[top : top + height, left : left + width] = np.rint(255 * digit)
    return picture


def test_digits_are_the_first_of_each_class_in_scikit_learns_set() -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits' source is scikit-learn")
    source = datasets.load_digits()
    keep = sorted(index for digit in range(10) for index in np.flatnonzero(source.target == digit)[:4])
    images, labels = digits()
    assert labels.tolist() == source.target[keep].tolist()
    for image, original in zip(images, source.images[keep], strict=True):
        assert np.abs(image.astype(int) - as_mnist(original)).max() <= 1  # OpenCV's versions round differently


def test_every_asset_is_credited_and_small() -> None:
    credits_text = (FOLDER / "CREDITS.md").read_text(encoding="utf-8")
    assets = [path for path in FOLDER.iterdir() if path.suffix in {".jpg", ".npz"}]
    assert {path.name for path in assets} == {"astronaut.jpg", "digits.npz", "noise_level.npz"}
    for path in assets:
        assert f"## {path.name}" in credits_text
        assert path.stat().st_size <= 250_000
