import numpy as np
import pytest

from quietframe_train.batches import ImageBatches, PhotoBatches, image_validation
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.corruption import NoNoise, NormalNoise
from quietframe_train.digits import ImageSet
from quietframe_train.photo_batches import VALIDATION_SIGMAS_255, PhotoDraws, loss_weights, photo_validation
from quietframe_train.recipes import RECIPES
from quietframe_train.splits import load_splits


@pytest.fixture(scope="module")
def digits(mnist_npz):
    return load_splits(RECIPES["digit-classifier"], mnist_npz, seed=1).training


@pytest.fixture(scope="module")
def photos(photo_folder):
    return load_splits(RECIPES["camera-nano"], photo_folder, seed=1)


def denoising(digits, seed=1):
    return ImageBatches(digits, NormalNoise(0.5, 0.5), classify=False, batch=32, seed=seed)


def camera(photos, seed=1):
    return PhotoBatches(PhotoDraws(photos.training, CameraNoise(), patch=32, batch=4), steps=3, seed=seed)


def test_an_epoch_shows_each_digit_once_with_its_label(digits):
    numbered = ImageSet(np.arange(70, dtype=np.uint8).reshape(70, 1, 1, 1), np.arange(70))
    batches = ImageBatches(numbered, NoNoise(), classify=True, batch=32, seed=1)
    images, labels = zip(*(batches[index] for index in range(len(batches))), strict=True)
    assert [len(part) for part in labels] == [32, 32, 6]
    seen = np.concatenate(labels)
    assert sorted(seen) == list(range(70))
    assert list(seen) != list(range(70)), "shuffled"
    assert np.allclose(np.concatenate(images).ravel() * 255, seen)


def test_each_epoch_has_a_new_order_and_new_noise(digits):
    batches = denoising(digits)
    _, clean = batches[0]
    batches.epoch = 1
    _, other_clean = batches[0]
    assert not np.array_equal(clean, other_clean)
    one = ImageSet(digits.images[:1], digits.labels[:1])
    single = denoising(one)
    first, _ = single[0]
    single.epoch = 1
    assert not np.array_equal(first, single[0][0]), "the same image, other noise"


@pytest.mark.parametrize("make", ["digits", "camera"])
def test_batches_repeat_with_seed_and_epoch_alone(make, digits, photos):
    def batches(seed):
        return denoising(digits, seed) if make == "digits" else camera(photos, seed)

    def images(batch):
        return batch[0]["image"] if make == "camera" else batch[0]

    ahead, fresh = batches(3), batches(3)
    for epoch in range(3):
        ahead.epoch = epoch
        last = images(ahead[1])
    fresh.epoch = 2
    assert np.array_equal(images(fresh[1]), last)
    assert not np.array_equal(images(fresh[0]), last)
    other = batches(4)
    other.epoch = 2
    assert not np.array_equal(images(other[1]), last)


def test_denoising_targets_are_the_clean_images(digits):
    noisy, clean = denoising(digits)[0]
    assert noisy.shape == clean.shape == (32, 28, 28, 1)
    held = {image.tobytes() for image in digits.scaled()}
    assert all(image.tobytes() in held for image in clean)
    assert float(np.mean(np.abs(noisy - clean))) > 0.2


def test_camera_batches_are_8_bit_frames_with_their_level(photos):
    batches = camera(photos)
    inputs, clean, weights = batches[0]
    assert len(batches) == 3
    assert np.array_equal(weights, loss_weights((inputs["image"] - clean) * 255))
    assert inputs["image"].shape == clean.shape == (4, 32, 32, 3)
    assert inputs["sigma"].shape == (4, 1, 1, 1)
    for images in (inputs["image"], clean):
        assert images.dtype == np.float32
        assert np.allclose(images * 255, np.rint(images * 255), atol=1e-4), "rounded, as a camera's frames are"
        assert images.min() >= 0
        assert images.max() <= 1


def test_validation_is_the_same_at_every_call_and_holds_every_level(photos):
    noise = CameraNoise()
    inputs, clean = photo_validation(photos.validation, noise, seed=1)
    again, _ = photo_validation(photos.validation, noise, seed=1)
    assert np.array_equal(inputs["image"], again["image"])
    assert len(clean) == len(photos.validation) * len(VALIDATION_SIGMAS_255)
    assert np.allclose(np.unique(inputs["sigma"]) * 255, VALIDATION_SIGMAS_255)
    height, width = clean.shape[1:3]
    assert height == width
    assert height % 8 == 0


def test_digit_validation_follows_the_task(digits):
    noisy, clean = image_validation(digits, NormalNoise(0.5, 0.5), classify=False, seed=1)
    assert np.array_equal(clean, digits.scaled())
    assert np.array_equal(noisy, image_validation(digits, NormalNoise(0.5, 0.5), classify=False, seed=1)[0])
    images, labels = image_validation(digits, NoNoise(), classify=True, seed=1)
    assert np.array_equal(images, digits.scaled())
    assert np.array_equal(labels, digits.labels)
