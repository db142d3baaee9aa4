import keras
import pytest
from keras import layers

from quietframe.errors import UsageError
from quietframe_train.macs import count_macs, macs_per_pixel
from quietframe_train.models import BUILDERS
from quietframe_train.recipes import RECIPES


def built(name):
    config = RECIPES[name].model
    return BUILDERS[config.builder](**config.options)


def test_the_autoencoder_by_hand():
    down = 14 * 14 * 32 * 9 + 7 * 7 * 64 * 9 * 32
    latent = 2 * (7 * 7 * 64) * 16
    up = 7 * 7 * 64 * 9 * 64 + 14 * 14 * 64 * 9 * 32 + 28 * 28 * 32 * 9
    model = built("latent-autoencoder")
    assert count_macs(model) == down + latent + up
    assert macs_per_pixel(model) == (down + latent + up) / 28**2


def test_the_classifier_by_hand():
    assert count_macs(built("digit-classifier")) == 784 * 256 + 256 * 256 + 256 * 10


def test_the_camera_model_by_hand():
    half = 9 * 12 * 16 + 16 * 12  # per pixel at half size: the first and the last convolution
    quarter = 9 * 16 * 32 + 9 * 32 * 32 + 2 * 32 * 4 * 16  # and the way up and the gains from here
    quarter += 16 + 16 * 32  # the map of the noise level
    eighth = 9 * 32 * 48 + 9 * 48 * 48 + 48 * 4 * 32
    model = built("camera-nano")
    assert macs_per_pixel(model) == half / 4 + quarter / 16 + eighth / 64
    once = 16 + 16  # the layers of its mean
    assert count_macs(model, (32, 48)) == 32 * 48 * (half / 4 + quarter / 16 + eighth / 64) + once


def test_counting_leaves_the_model_as_it_was():
    model = built("latent-autoencoder")
    before = model.to_json()
    count_macs(model)
    assert model.to_json() == before
    assert model.get_layer("encoder").output.shape == (None, 16)


IMAGE = (8, 6, 4)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Conv2D(10, (3, 2), padding="same", groups=2), 8 * 6 * 10 * 6 * 2),
        (layers.Conv2D(10, 3, padding="valid"), 6 * 4 * 10 * 9 * 4),
        (layers.Conv2D(10, 3, strides=2, padding="same"), 4 * 3 * 10 * 9 * 4),
        (layers.Conv2DTranspose(10, 3, strides=2, padding="same"), 8 * 6 * 4 * 9 * 10),
        (layers.Dense(10), 8 * 6 * 4 * 10),
        (layers.BatchNormalization(), 0),
        (layers.UpSampling2D(), 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_one_layer(layer, expected):
    assert count_macs(keras.Sequential([keras.Input(IMAGE), layer])) == expected


def test_a_layer_that_is_used_twice_counts_twice():
    image = keras.Input(IMAGE)
    conv = layers.Conv2D(4, 1)
    assert count_macs(keras.Model(image, conv(conv(image)))) == 2 * 8 * 6 * 4 * 4


def test_what_cannot_be_counted_is_an_error():
    open_image = keras.Input((None, None, 3), name="picture")
    with pytest.raises(UsageError, match=r"input 'picture' is .* state its height and width"):
        count_macs(keras.Model(open_image, layers.Conv2D(4, 1)(open_image)))
    with pytest.raises(UsageError, match=r"layer 'memory' \(LSTM\): its MACs cannot be counted"):
        count_macs(keras.Sequential([keras.Input((5, 3)), layers.LSTM(4, name="memory")]))
    with pytest.raises(UsageError, match="only built functional and sequential models"):
        count_macs(keras.Sequential([layers.Dense(3)]))
