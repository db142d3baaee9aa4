import keras
import numpy as np
import pytest

from quietframe_train.layers import PixelShuffle, PixelUnshuffle
from quietframe_train.models.camera import camera_unet, camera_unet_geometry
from quietframe_train.models.digits import latent_autoencoder

NANO = {"widths": (16, 32), "encoder_convs": (1, 3), "decoder_convs": (1,)}


def test_encoder_and_decoder_are_models_that_can_be_saved(tmp_path):
    model = latent_autoencoder()
    images = np.random.default_rng(0).random((2, 28, 28, 1), dtype=np.float32)
    for part in ("encoder", "decoder"):
        model.get_layer(part).save(tmp_path / f"{part}.keras")
    encoder, decoder = (keras.models.load_model(tmp_path / f"{part}.keras") for part in ("encoder", "decoder"))
    latents = encoder.predict(images, verbose=0)
    assert latents.shape == (2, 16)
    assert np.allclose(decoder.predict(latents, verbose=0), model.predict(images, verbose=0), atol=1e-6)


def test_a_new_camera_model_is_the_identity():
    image = np.random.default_rng(0).random((1, 16, 24, 3), dtype=np.float32)
    for sigma in (0.0, 0.3):
        result = camera_unet(**NANO)({"image": image, "sigma": np.full((1, 1, 1, 1), sigma, np.float32)})
        assert np.allclose(result, image, atol=1e-6)


def test_a_camera_model_heeds_the_level_it_is_told():
    model = camera_unet(**NANO)
    kernel, bias = model.get_layer("residual").get_weights()
    model.get_layer("residual").set_weights([np.random.default_rng(0).normal(size=kernel.shape), bias])
    image = np.full((1, 16, 16, 3), 0.5, np.float32)
    low, high = (np.asarray(model([image, np.full((1, 1, 1, 1), sigma, np.float32)])) for sigma in (0.0, 0.2))
    assert not np.allclose(low, high)


@pytest.mark.parametrize("block", [2, 3])
def test_unshuffling_and_shuffling_give_the_frame_back(block):
    frames = np.random.default_rng(0).random((2, 2 * block, 3 * block, 3), dtype=np.float32)
    planes = PixelUnshuffle(block)(frames)
    assert planes.shape == (2, 2, 3, 3 * block * block)
    assert np.array_equal(np.asarray(PixelShuffle(block)(planes)), frames)


def test_the_layers_survive_saving(tmp_path):
    image = keras.Input((None, None, 3))
    keras.Model(image, PixelShuffle(3)(PixelUnshuffle(3)(image))).save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert [layer.block for layer in loaded.layers[1:]] == [3, 3]


def test_no_pixel_depends_on_what_lies_beyond_the_halo():
    multiple, halo = camera_unet_geometry(**NANO)
    model = camera_unet(**NANO)
    rng = np.random.default_rng(0)
    for layer in model.layers:  # weights that let every input through
        layer.set_weights([0.05 + 0.02 * rng.random(w.shape) for w in layer.get_weights()])
    side = 4 * ((2 * halo + 8) // 4)
    image = rng.random((1, side, side, 3), dtype=np.float32)
    touched = image.copy()
    middle = side // 2
    touched[0, middle, middle] += 1
    sigma = np.zeros((1, 1, 1, 1), np.float32)
    changed = np.argwhere(np.abs(np.asarray(model([image, sigma])) - np.asarray(model([touched, sigma])))[0] > 0)
    assert multiple == 4
    assert np.abs(changed[:, :2] - middle).max() <= halo
