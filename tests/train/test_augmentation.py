import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietframe_train.augmentation import Augmentation, augmented
from quietframe_train.corruption import NoNoise
from quietframe_train.data.images import ImageBatches, ImageSet

EVERYTHING = Augmentation(flip=True, rotate_degrees=15, shift_share=0.1, zoom_share=0.2, gain_share=0.3)


def noise_images(count, side=20, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def disc(count, side=64, radius=6):
    """A white disc in the middle of black pictures."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.tile(((x**2 + y**2 < radius**2) * 255).astype(np.uint8)[None, :, :, None], (count, 1, 1, 1))


def centres(images):
    """(N, 2) of row and column, weighted by brightness."""
    weights = images[..., 0].astype(float)
    grid = np.mgrid[: images.shape[1], : images.shape[2]]
    return np.stack([(weights * axis).sum(axis=(1, 2)) / weights.sum(axis=(1, 2)) for axis in grid], axis=1)


@given(st.integers(1, 4), st.integers(8, 33), st.sampled_from([1, 3]), st.booleans(), st.floats(0, 0.5))
def test_shape_and_dtype_are_kept(count, side, channels, flip, amount):
    how = Augmentation(flip, rotate_degrees=40 * amount, shift_share=amount, zoom_share=amount, gain_share=amount)
    images = noise_images(count, side, channels)
    before = images.copy()
    found = augmented(images, how, np.random.default_rng(1))
    assert found.shape == images.shape
    assert found.dtype == np.uint8
    assert np.array_equal(images, before), "in a new array"


def test_the_generator_decides():
    images = noise_images(4)
    assert np.array_equal(augmented(images, Augmentation(), np.random.default_rng(1)), images)
    one, again = (augmented(images, EVERYTHING, np.random.default_rng(5)) for _ in range(2))
    other = augmented(images, EVERYTHING, np.random.default_rng(6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    generator = np.random.default_rng(5)
    first, second = (augmented(images, EVERYTHING, generator) for _ in range(2))
    assert not np.array_equal(first, second), "new at every call"
    same = np.repeat(noise_images(1), 16, axis=0)
    assert len({image.tobytes() for image in augmented(same, EVERYTHING, np.random.default_rng(1))}) == 16


@pytest.mark.parametrize("channels", [1, 3])
def test_half_are_flipped_left_to_right(channels):
    images = noise_images(400, 8, channels)
    found = augmented(images, Augmentation(flip=True), np.random.default_rng(1))
    flipped = [np.array_equal(new, old[:, ::-1]) for new, old in zip(found, images, strict=True)]
    kept = [np.array_equal(new, old) for new, old in zip(found, images, strict=True)]
    assert all(one != other for one, other in zip(flipped, kept, strict=True))
    assert 150 < sum(flipped) < 250


def test_a_shift_stays_within_its_share_and_goes_every_way():
    moved = centres(augmented(disc(200), Augmentation(shift_share=0.1), np.random.default_rng(1))) - 31.5
    assert np.abs(moved).max() <= 6.4 + 0.1
    for axis in range(2):
        assert moved[:, axis].min() < -4
        assert moved[:, axis].max() > 4


def test_turning_and_zooming_keep_the_middle():
    found = augmented(disc(100), Augmentation(rotate_degrees=30, zoom_share=0.2), np.random.default_rng(1))
    assert np.abs(centres(found) - 31.5).max() < 0.1
    area = np.sqrt(found.astype(float).sum(axis=(1, 2, 3)) / disc(1).sum())
    assert 0.77 < area.min() < 0.85
    assert 1.15 < area.max() < 1.23


def test_a_turn_stays_within_its_degrees():
    bar = np.zeros((200, 65, 65, 1), np.uint8)
    bar[:, 32, 33:60] = 255  # from the middle to the right
    middles = centres(augmented(bar, Augmentation(rotate_degrees=20), np.random.default_rng(1))) - 32
    degrees = np.degrees(np.arctan2(middles[:, 0], middles[:, 1]))
    assert np.abs(degrees).max() <= 20.5
    assert degrees.min() < -15
    assert degrees.max() > 15


def test_gain_stays_within_its_share_and_saturates():
    gray = np.full((300, 8, 8, 3), 100, np.uint8)
    found = augmented(gray, Augmentation(gain_share=0.2), np.random.default_rng(1))
    assert 80 <= found.min() < 84
    assert 116 < found.max() <= 120
    assert np.all(found == found[:, :1, :1, :1]), "one gain for a picture"
    white = augmented(np.full((50, 8, 8, 3), 250, np.uint8), Augmentation(gain_share=0.2), np.random.default_rng(1))
    assert white.max() == 255
    assert white.min() >= 199


def test_what_comes_in_from_outside_repeats_the_edge():
    images = np.full((20, 32, 32, 3), 77, np.uint8)
    how = Augmentation(rotate_degrees=30, shift_share=0.3, zoom_share=0.4)
    assert np.all(augmented(images, how, np.random.default_rng(1)) == 77)


def test_batches_are_augmented_before_the_noise_and_anew_each_epoch():
    images = ImageSet(noise_images(8, channels=1), np.arange(8))
    batches = ImageBatches(
        images, NoNoise(), classify=False, batch=8, seed=(1,), augmentation=Augmentation(shift_share=0.2)
    )
    noisy, clean, _ = batches.draw(0, 0)
    assert np.array_equal(noisy, clean), "the target is the changed picture"
    assert not {image.tobytes() for image in clean} & {image.tobytes() for image in images.scaled()}
    assert np.array_equal(batches.draw(0, 0)[0], noisy)
    assert not {image.tobytes() for image in batches.draw(1, 0)[0]} & {image.tobytes() for image in noisy}
