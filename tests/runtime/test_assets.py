from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import quietframe.assets
from quietframe.assets import digits, photo_bgr
from quietframe.quality import psnr_db

FOLDER = Path(quietframe.assets.__file__).parent


def test_photo_is_a_colour_frame():
    photo = photo_bgr()
    assert photo.shape == (512, 512, 3)
    assert photo.dtype == np.uint8
    assert photo.flags.c_contiguous


def test_photo_is_the_one_that_the_credits_name():
    data = pytest.importorskip("skimage.data", reason="the photograph's source is scikit-image")
    assert psnr_db(np.ascontiguousarray(data.astronaut()[:, :, ::-1]), photo_bgr()) > 42


def test_digits_are_white_on_black_in_the_middle():
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


def test_every_asset_is_credited_and_small():
    credits_text = (FOLDER / "CREDITS.md").read_text(encoding="utf-8")
    assets = [path for path in FOLDER.iterdir() if path.suffix in {".jpg", ".npz"}]
    assert {path.name for path in assets} == {"astronaut.jpg", "digits.npz", "noise_level.npz"}
    for path in assets:
        assert f"## {path.name}" in credits_text
        assert path.stat().st_size <= 250_000
