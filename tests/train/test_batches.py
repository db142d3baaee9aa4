import pickle
from dataclasses import replace

import numpy as np
import pytest

from quietframe.noise.formats import FORMATS
from quietframe_train.camera_noise import VALIDATION_SIGMAS_255, CameraNoise
from quietframe_train.corruption import NoNoise, NormalNoise
from quietframe_train.data.images import ImageBatches, ImageSet
from quietframe_train.data.photos import PhotoBatches, PhotoData, loss_weights
from quietframe_train.recipes import RECIPES

DIGITS, CAMERA = RECIPES["digit-classifier"], RECIPES["camera-nano"]


@pytest.fixture(scope="module")
def digits(mnist_npz):
    return DIGITS.data.load(mnist_npz, DIGITS, seed=1).training


@pytest.fixture(scope="module")
def photos(photo_folder):
    return CAMERA.data.load(photo_folder, CAMERA, seed=1)


def denoising(digits, seed=1):
    return ImageBatches(digits, NormalNoise(0.5, 0.5), classify=False, batch=32, seed=(seed,))


def camera(photos, seed=1):
    return PhotoBatches(PhotoData(patch=32), photos.training, CameraNoise(), batch=4, steps=3, seed=(seed,))


def test_an_epoch_shows_each_digit_once_with_its_label():
    numbered = ImageSet(np.arange(70, dtype=np.uint8).reshape(70, 1, 1, 1), np.arange(70))
    batches = ImageBatches(numbered, NoNoise(), classify=True, batch=32, seed=(1,))
    images, labels, weights = zip(*(batches.draw(0, step) for step in range(len(batches))), strict=True)
    assert [len(part) for part in labels] == [32, 32, 6]
    assert weights == (None, None, None)
    seen = np.concatenate(labels)
    assert sorted(seen) == list(range(70))
    assert list(seen) != list(range(70)), "shuffled"
    assert np.allclose(np.concatenate(images).ravel() * 255, seen)


def test_each_epoch_has_a_new_order_and_new_noise(digits):
    batches = denoising(digits)
    assert not np.array_equal(batches.draw(0, 0)[1], batches.draw(1, 0)[1])
    single = denoising(digits.chosen(slice(1)))
    assert not np.array_equal(single.draw(0, 0)[0], single.draw(1, 0)[0]), "the same image, other noise"


@pytest.mark.parametrize("make", ["digits", "camera"])
def test_batches_repeat_with_seed_epoch_and_step_alone(make, digits, photos):
    def image(seed, epoch, step, drawn_before=()):
        batches = pickle.loads(pickle.dumps(denoising(digits, seed) if make == "digits" else camera(photos, seed)))
        for place in drawn_before:
            batches.draw(*place)
        inputs = batches.draw(epoch, step)[0]
        return inputs["image"] if make == "camera" else inputs

    expected = image(3, 2, 1)
    assert np.array_equal(image(3, 2, 1, drawn_before=[(0, 0), (2, 0)]), expected)
    for place in ((3, 2, 0), (3, 1, 1), (4, 2, 1)):
        assert not np.array_equal(image(*place), expected), place


def test_phases_draw_other_batches_whatever_came_before(photos):
    whole = CAMERA.with_phases(batch=2, steps_per_epoch=2, data=None)
    main, finetune = (whole.data.batches(whole, phase, photos, seed=1).draw(0, 0)[1] for phase in whole.phases)
    assert not np.array_equal(main, finetune)
    alone = whole.from_phase("finetune")
    assert np.array_equal(alone.data.batches(alone, alone.phases[0], photos, seed=1).draw(0, 0)[1], finetune)


def test_denoising_targets_are_the_clean_images(digits):
    noisy, clean, _ = denoising(digits).draw(0, 0)
    assert noisy.shape == clean.shape == (32, 28, 28, 1)
    held = {image.tobytes() for image in digits.scaled()}
    assert all(image.tobytes() in held for image in clean)
    assert float(np.mean(np.abs(noisy - clean))) > 0.2


def test_camera_batches_are_8_bit_frames_with_their_level(photos):
    batches = camera(photos)
    inputs, clean, weights = batches.draw(0, 0)
    assert len(batches) == 3
    assert np.array_equal(weights, loss_weights((inputs["image"] - clean) * 255))
    assert replace(batches, weighted=False).draw(0, 0)[2] is None
    assert inputs["image"].shape == clean.shape == (4, 32, 32, 3)
    assert inputs["sigma"].shape == (4, 8, 8, 1)
    assert np.ptp(inputs["sigma"], axis=(1, 2)).max() == 0, "one level fills the map"
    for images in (inputs["image"], clean):
        assert images.dtype == np.float32
        assert np.allclose(images * 255, np.rint(images * 255), atol=1e-4), "rounded, as a camera's frames are"
        assert images.min() >= 0
        assert images.max() <= 1


def test_a_logarithmic_loss_counts_every_patch_alike(photos):
    main, finetune = (CAMERA.data.batches(CAMERA, phase, photos, seed=1) for phase in CAMERA.phases)
    assert (main.weighted, finetune.weighted) == (True, False)


def test_camera_validation_is_the_same_at_every_call_and_holds_every_format(photos):
    more = replace(photos, validation=photos.training)
    found = CAMERA.data.validation(CAMERA, more, seed=1)
    again = CAMERA.data.validation(CAMERA, more, seed=1)
    assert list(found) == list(FORMATS)
    assert sum(len(clean) for _, clean, _ in found.values()) == len(more.validation) * len(VALIDATION_SIGMAS_255)
    for name, (inputs, clean, weights) in found.items():
        assert np.array_equal(inputs["image"], again[name][0]["image"])
        assert weights is None
        height, width = clean.shape[1:3]
        assert inputs["sigma"].shape == (len(clean), height // 4, width // 4, 1)
        assert height == width
        assert height % 8 == 0
    few = CAMERA.data.validation(CAMERA, photos, seed=1)
    assert list(few) == list(FORMATS)[: len(photos.validation) * len(VALIDATION_SIGMAS_255)]


def test_digit_validation_follows_the_task(mnist_npz):
    for name, classify in (("latent-autoencoder", False), ("digit-classifier", True)):
        recipe = RECIPES[name]
        splits = recipe.data.load(mnist_npz, recipe, seed=1)
        ((noisy, targets, _),) = recipe.data.validation(recipe, splits, seed=1).values()
        ((again, _, _),) = recipe.data.validation(recipe, splits, seed=1).values()
        assert np.array_equal(noisy, again)
        held_out = splits.validation
        assert np.array_equal(targets, held_out.labels if classify else held_out.scaled())
        assert np.array_equal(noisy, held_out.scaled()) == classify
