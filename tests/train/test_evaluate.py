"""What a model reaches against the same measures calculated by others."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from quietframe.card import Metric
from quietframe_train.corruption import NoNoise, NormalNoise, UniformNoise
from quietframe_train.data.images import ImageSet
from quietframe_train.evaluate import measure_images, noisy_images, predict
from quietframe_train.recipes import CLIPPED, DIGIT_NOISES, RECIPES, UNCLIPPED, UNIFORM

MEASURES = ("psnr_db", "ssim", "mse", "bce", "rmse")


@pytest.fixture(scope="module")
def digits(mnist_npz):
    with np.load(mnist_npz) as file:
        return ImageSet(file["x_test"][:30, ..., None], file["y_test"][:30].astype(np.int64))


@pytest.fixture(scope="module")
def colours():
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    return ImageSet(coarse.repeat(4, axis=1).repeat(4, axis=2), np.zeros(6, np.int64))


class Halving:
    """Moves every value halfway to 0.4: a denoiser with known results. Remembers what it was given."""

    def predict(self, images, batch_size, verbose):
        self.given, self.largest_batch = images, batch_size
        return (0.5 * images + 0.2).astype(np.float32)


class Knowing:
    """Scores that are right for all but every fifth image."""

    def __init__(self, labels):
        self.taken = np.where(np.arange(len(labels)) % 5 == 0, (labels + 1) % 10, labels)

    def predict(self, images, batch_size, verbose):
        return np.eye(10, dtype=np.float32)[self.taken]


def expected(clean_8, images):
    """Measure float images by scikit-image and Keras."""
    metrics = pytest.importorskip("skimage.metrics")
    clean = (clean_8 / 255).astype(np.float32)
    in_8_bit = np.clip(np.rint(images * 255), 0, 255).astype(np.uint8)
    squared = ((images.astype(float) - clean_8 / 255) ** 2).reshape(len(images), -1).mean(axis=1)
    ssim_options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return {
        "psnr_db": np.mean([metrics.peak_signal_noise_ratio(a, b) for a, b in zip(clean_8, in_8_bit, strict=True)]),
        "ssim": np.mean(
            [
                metrics.structural_similarity(a, b, channel_axis=-1, **ssim_options)
                for a, b in zip(clean_8, in_8_bit, strict=True)
            ]
        ),
        "mse": squared.mean(),
        "bce": float(keras.losses.BinaryCrossentropy()(clean, images)),
        "rmse": np.sqrt(squared).mean(),
    }


@pytest.mark.parametrize("noise", DIGIT_NOISES, ids=lambda noise: noise.key)
def test_digits_are_measured_as_others_do(digits, noise):
    recipe = replace(RECIPES["dense-autoencoder"], test_noises=(noise,))
    model = Halving()
    metrics = measure_images(model, recipe, digits, "digits")
    assert [(one.set, one.noise, one.measure) for one in metrics] == [("digits", noise.key, name) for name in MEASURES]
    denoised, noisy = (expected(digits.images, x) for x in (0.5 * model.given + 0.2, np.clip(model.given, 0, 1)))
    for one in metrics:
        assert one.value == pytest.approx(denoised[one.measure], rel=2e-4), one
        assert one.noisy == pytest.approx(noisy[one.measure], rel=2e-4), one


def test_colour_images_are_measured_as_others_do(colours):
    recipe = RECIPES["color-unet"]
    model = Halving()
    metrics = measure_images(model, recipe, colours, "colours")
    assert len(metrics) == 2 * len(MEASURES)
    noisy = noisy_images(colours, NormalNoise(0, 0.4, shared=True))
    assert np.array_equal(model.given, noisy), "what was measured last"
    found = {one.measure: one.value for one in metrics if one.noise == "gray0.4"}
    assert found == pytest.approx(expected(colours.images, 0.5 * noisy + 0.2), rel=2e-4)


@pytest.mark.parametrize("noise", [*DIGIT_NOISES, NoNoise()], ids=lambda noise: noise.key)
def test_noisy_images_are_what_a_device_meets(digits, noise):
    noisy = noisy_images(digits, noise)
    assert noisy.dtype == np.float32
    assert noisy.shape == digits.images.shape
    on_the_grid = np.allclose(noisy * 255, np.rint(noisy * 255), atol=1e-3)
    assert np.allclose(noisy, digits.scaled(), atol=1e-6) == (noise == NoNoise())
    if noise == UNCLIPPED:
        assert not on_the_grid
        assert noisy.min() < -0.5
        assert noisy.max() > 1.5
    else:
        assert on_the_grid
        assert noisy.min() >= 0
        assert noisy.max() <= 1


def test_noisy_images_are_the_same_at_every_call_and_for_the_first_few(digits):
    for noise in DIGIT_NOISES:
        noisy = noisy_images(digits, noise)
        assert np.array_equal(noisy, noisy_images(digits, noise))
        assert np.array_equal(noisy[:7], noisy_images(digits.chosen(slice(7)), noise)), (
            "samples.png shows what was measured"
        )
        assert len({(one - other).tobytes() for one, other in zip(noisy, digits.scaled(), strict=True)}) == 30
    assert not np.allclose(noisy_images(digits, CLIPPED), noisy_images(digits, replace(CLIPPED, sigma=0.5)), atol=0.1)


def test_accuracy_is_that_of_scikit_learn(digits):
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    model = Knowing(digits.labels)
    clean, noisy = measure_images(model, RECIPES["digit-cnn"], digits, "digits")
    assert (clean.measure, clean.noise, noisy.noise) == ("accuracy", "clean", "uniform0.9")
    assert clean.value == sklearn_metrics.accuracy_score(digits.labels, model.taken) == 0.8


def test_a_composite_is_measured_in_both_tasks(digits):
    denoiser, classifier = Halving(), Knowing(digits.labels)

    class Both:
        def predict(self, images, **options):
            return [denoiser.predict(images, **options), classifier.predict(images, **options)]

    recipe = RECIPES["denoise-and-classify"]
    metrics = measure_images(Both(), recipe, digits, "digits")
    alone = measure_images(denoiser, replace(RECIPES["dense-autoencoder"], test_noises=(UNIFORM,)), digits, "digits")
    assert metrics == [*alone, Metric("digits", "accuracy", 0.8, "uniform0.9")]


@pytest.mark.parametrize(("side", "most"), [(28, 1000), (256, 8), (1024, 1)])
def test_large_pictures_are_predicted_a_few_at_a_time(side, most):
    model = Halving()
    predict(model, np.zeros((1, side, side, 1), np.float32))
    assert 1 <= model.largest_batch <= most


def test_predict_gives_a_list_of_outputs():
    image = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(image)
    images = np.random.default_rng(0).random((3, 4, 4, 1), dtype=np.float32)
    (one,) = predict(keras.Model(image, flat), images)
    both = predict(keras.Model(image, [image, flat]), images)
    assert np.array_equal(one, images.reshape(3, 16))
    assert [output.shape for output in both] == [(3, 4, 4, 1), (3, 16)]


def test_recipes_without_noises_of_their_own_are_measured_with_what_they_train_on():
    assert RECIPES["dense-autoencoder"].measured_with == (UniformNoise(0.9),)
    assert RECIPES["camera-nano"].measured_with == ()
    assert RECIPES["color-autoencoder"].measured_with == (NormalNoise(0, 0.4, shared=True),)
