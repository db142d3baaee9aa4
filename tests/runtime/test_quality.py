from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from quietframe.assets import photo_bgr
from quietframe.errors import FrameError
from quietframe.noise import add_gaussian
from quietframe.quality import PSNR_CAP_DB, flicker_255, ghost_255, just_uncovered, mean_psnr_db, psnr_db, ssim


def flat(level: int, *shape: int) -> np.ndarray:
    return np.full(shape or (16, 16, 3), level, np.uint8)


@pytest.mark.parametrize(("a", "b", "expected_db"), [(0, 255, 0.0), (100, 101, 48.1308), (16, 0, 24.0484)])
def test_psnr_of_known_errors(a, b, expected_db):
    assert psnr_db(flat(a), flat(b)) == psnr_db(flat(b), flat(a)) == pytest.approx(expected_db, abs=1e-4)


def test_identical_images_are_finite_and_the_mean_is_over_images():
    assert psnr_db(photo_bgr(), photo_bgr()) == PSNR_CAP_DB
    assert mean_psnr_db(iter([(flat(0), flat(0)), (flat(0), flat(255))])) == PSNR_CAP_DB / 2
    assert mean_psnr_db([(flat(100), flat(101)), (flat(0), flat(255))]) == pytest.approx(48.1308 / 2, abs=1e-4)
    with pytest.raises(FrameError, match="at least one pair"):
        mean_psnr_db([])


def test_ssim_of_flat_images_is_known():
    """Without variance, SSIM is (2ab + C1) / (a² + b² + C1), C1 = (0.01 · 255)²."""
    c1 = 2.55**2
    assert ssim(flat(100), flat(150)) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1))
    assert ssim(photo_bgr(), photo_bgr()) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (40, 33, 3)])
def test_psnr_and_ssim_agree_with_scikit_image(shape):
    metrics = pytest.importorskip("skimage.metrics", reason="compares with scikit-image")
    rng = np.random.default_rng(4)
    clean = rng.integers(0, 256, shape, np.uint8)
    for sigma_255 in (2, 30, 100):
        noisy = add_gaussian(clean, sigma_255, rng)
        assert psnr_db(clean, noisy) == pytest.approx(metrics.peak_signal_noise_ratio(clean, noisy))
        arguments = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        expected = metrics.structural_similarity(clean, noisy, channel_axis=2 if len(shape) == 3 else None, **arguments)
        assert ssim(clean, noisy) == pytest.approx(expected, abs=1e-9)


def square_over_texture(frames: int, step: int) -> list[np.ndarray]:
    """A coloured square of 32×32 pixels that moves right over the photograph, from column 30 on."""
    square = cv2.resize(np.random.default_rng(5).integers(0, 256, (8, 8, 3), np.uint8), (32, 32))
    made = []
    for index in range(frames):
        made.append(photo_bgr()[60:156, 180:340].copy())
        made[-1][30:62, 30 + step * index : 62 + step * index] = square
    return made


def test_just_uncovered_is_what_a_square_left_in_the_last_three_frames():
    masks = list(just_uncovered(square_over_texture(6, 4)))
    left = np.zeros_like(masks[5])
    left[30:62, 38:50] = True
    assert np.mean(masks[5][left]) > 0.75
    assert np.mean(left[masks[5]]) > 0.75
    assert not masks[0].any()
    assert masks[1].sum() < masks[2].sum() < masks[3].sum()


def test_nothing_is_uncovered_where_nothing_moves_or_the_camera_turns():
    scene = photo_bgr()[60:140, 180:308]
    assert not any(mask.any() for mask in just_uncovered([scene] * 4))
    turned = [photo_bgr()[60:140, 180 + 3 * index : 308 + 3 * index] for index in range(5)]
    assert max(mask.mean() for mask in just_uncovered(turned)) < 0.02
    gray = [frame[..., 1] for frame in square_over_texture(4, 4)]
    assert list(just_uncovered(gray))[3].sum() > 100


def test_a_ghost_is_the_error_where_it_was_just_uncovered():
    mask = np.zeros((16, 16), np.bool_)
    mask[:2] = True
    error = flat(100)
    error[:2], error[2:] = 103, 200
    frames = [(flat(100), error, mask), (flat(100), flat(104), mask)]
    assert ghost_255(frames) == pytest.approx(np.sqrt((3**2 + 4**2) / 2))
    assert ghost_255([(flat(100), error, ~mask & mask)]) is None
    with pytest.raises(FrameError, match="of one shape"):
        ghost_255([(flat(0), flat(0, 8, 8, 3), mask)])


BAD: list[tuple[Any, Any, str]] = [
    (flat(0), flat(0).astype(np.float32), "Expected two uint8 images. Received: uint8 and float32"),
    (flat(0).astype(np.uint16), flat(0), "Received: uint16 and uint8"),
    (flat(0, 16, 16, 3), flat(0, 16, 16), r"of one shape. Received: \(16, 16, 3\) and \(16, 16\)"),
    (flat(0, 16, 16, 3), flat(0, 16, 17, 3), "of one shape"),
    (flat(0, 0, 16), flat(0, 0, 16), r"Received: \(0, 16\)"),
    (None, flat(0), "Received: NoneType and ndarray"),
    (flat(0), [[1]], "Received: ndarray and list"),
]


@pytest.mark.parametrize("measure", [psnr_db, ssim])
@pytest.mark.parametrize(("reference", "image", "says"), BAD, ids=[says for *_, says in BAD])
def test_what_cannot_be_compared(measure, reference, image, says):
    with pytest.raises(FrameError, match=says):
        measure(reference, image)


def test_images_too_small_for_ssim():
    with pytest.raises(FrameError, match="at least 11×11"):
        ssim(flat(0, 10, 40), flat(0, 10, 40))


@pytest.mark.parametrize(
    ("before", "now", "expected"), [(7, 7, 0), (10, 13, 3), (13, 10, 3), (-5, 5, 10), (-100, 155, 255)]
)
def test_flicker_of_known_errors(before, now, expected):
    clean = flat(100)
    assert flicker_255((clean, flat(100 + before)), (clean, flat(100 + now))) == expected


def test_flicker_is_of_the_error_whatever_moves_and_pools_over_pixels_and_channels():
    first, second = flat(100), photo_bgr()[:16, :16] // 2 + 10
    assert flicker_255((first, first + 7), (second, second + 7)) == 0
    second[0, 0, 0] += 30
    assert flicker_255((first, first), (photo_bgr()[:16, :16] // 2 + 10, second)) == pytest.approx(30 / 768)


def test_flicker_of_white_noise():
    """The difference of two errors of deviation σ has √2·σ, of which √(2/π) is the mean magnitude."""
    clean, rng = flat(128, 512, 512), np.random.default_rng(0)
    noisy = [add_gaussian(clean, 20, rng) for _ in range(2)]
    assert flicker_255((clean, noisy[0]), (clean, noisy[1])) == pytest.approx(20 * 2 / np.sqrt(np.pi), rel=0.01)


def test_flicker_is_of_frames_of_one_shape():
    for widths in ((4, 4, 5, 5), (4, 5, 4, 4)):
        a, b, c, d = (flat(0, 4, width) for width in widths)
        with pytest.raises(FrameError, match="of one shape"):
            flicker_255((a, b), (c, d))
    with pytest.raises(FrameError, match="uint8"):
        flicker_255((flat(0), flat(0)), (flat(0), flat(0).astype(float)))
