import keras
import numpy as np
import pytest

from quietframe_train.layers import FakeQuantization, PixelShuffle, PixelUnshuffle, RangeLimit, SplitLuma
from quietframe_train.macs import count_macs
from quietframe_train.models import BUILDERS
from quietframe_train.models.camera import camera_unet, camera_unet_geometry
from quietframe_train.models.fixed_size import latent_autoencoder
from quietframe_train.recipes import RECIPES

DIGIT = (28, 28, 1)
PARAMETERS = {  # of the published designs, as their sources say
    "dense_autoencoder": 101_200,
    "dense_classifier": 269_322,
    "denoise_and_classify": 370_522,
    "conv_autoencoder": 47_425,
    "latent_autoencoder": 178_001,
    "bottleneck_autoencoder": 843_649,
    "color_autoencoder": 751_939,
}


def built(name):
    config = RECIPES[name].model
    return BUILDERS[config.builder](**config.options)


@pytest.fixture
def camera():
    """A new camera model, the same each time."""
    keras.utils.set_random_seed(0)
    return camera_unet(widths=(16, 48), encoder_convs=(1, 2), decoder_convs=(0,))


def begun(model):
    """The model with something in the convolutions that begin at zero."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and not layer.get_weights()[0].any():
            kernel, bias = layer.get_weights()
            layer.set_weights([rng.normal(size=kernel.shape), bias])
    return model


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_each_recipe_builds_the_model_that_it_is_known_for(recipe):
    model, kind = built(recipe.name), recipe.data.kind
    image = {"digits": DIGIT, "pictures": (getattr(recipe.data, "side", 0),) * 2 + (3,)}.get(kind, (None, None, 3))
    given = [image] * ("denoise" in recipe.task) + [(10,)] * ("classify" in recipe.task)
    assert tuple(model.inputs[0].shape[1:]) == image
    assert [tuple(output.shape[1:]) for output in model.outputs] == given + [(None, None, 1)] * (kind == "clips")
    assert PARAMETERS.get(recipe.model.builder, model.count_params()) == model.count_params()
    stated, _, rest = recipe.summary.partition("k-parameter")
    assert not rest or model.count_params() == pytest.approx(1000 * int(stated), abs=1000)


@pytest.mark.parametrize(("name", "parameters"), [("nano", 62_717), ("small", 304_781), ("base", 1_634_941)])
def test_camera_models_keep_their_size(name, parameters):
    assert built(f"camera-{name}").count_params() == parameters


def test_a_video_model_without_a_past_is_the_camera_model():
    camera, video = built("camera-nano"), built("video-nano")
    begun(camera)
    for layer in camera.layers:
        if layer.weights:
            video.get_layer(layer.name).set_weights(layer.get_weights())
    rng = np.random.default_rng(1)
    image, other = rng.random((2, 1, 32, 48, 3), dtype=np.float32)
    sigma = np.full((1, 8, 12, 1), 0.1, np.float32)
    clean, weight = video([image, other, np.zeros((1, 16, 24, 1), np.float32), sigma], training=False)
    assert not keras.ops.convert_to_numpy(weight).any()
    assert np.allclose(clean, camera([image, sigma], training=False), atol=1e-5)


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.data.kind == "digits"])
def test_digit_models_give_what_they_say(name):
    images = np.random.default_rng(0).random((2, *DIGIT), dtype=np.float32)
    for output in keras.tree.flatten(built(name).predict(images, verbose=0)):
        assert output.dtype == np.float32
        assert output.min() >= 0
        assert output.max() <= 1
        if output.shape == (2, 10):
            assert np.allclose(output.sum(axis=1), 1, atol=1e-5)


def test_our_models_are_as_small_as_they_claim():
    model = built("digit-unet")
    assert model.count_params() <= min(105_000, built("bottleneck-autoencoder").count_params() / 8)
    assert count_macs(model) <= count_macs(built("conv-autoencoder")) == pytest.approx(29e6, rel=0.03)
    assert count_macs(built("color-unet")) <= count_macs(built("color-autoencoder")) / 10


def test_every_kernel_of_the_conv_autoencoder_is_held_to_a_norm_of_2():
    kernels = [layer for layer in built("conv-autoencoder").layers if layer.weights]
    assert len(kernels) == 5
    assert [layer.kernel_constraint.max_value for layer in kernels] == [2.0] * 5
    starts = [layer.kernel_initializer for layer in kernels[:4]]
    assert all(isinstance(start, keras.initializers.HeUniform) for start in starts)


def test_the_deep_decoder_ends_at_28_by_28():
    """Its source's ends at 56x56."""
    model = built("bottleneck-autoencoder-deep")
    strides = [layer.strides for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    widths = [layer.filters for layer in model.layers if type(layer) is keras.layers.Conv2D]
    assert strides == [(2, 2)] * 3
    assert widths == [32, 64, 128]
    leaky = [layer for layer in model.layers if isinstance(layer, keras.layers.LeakyReLU)]
    assert [round(float(layer.negative_slope), 6) for layer in leaky] == [0.3] * 5  # Keras' default, as in the source
    assert model.get_layer("latent").units == 128
    assert model.output_shape == (None, *DIGIT)


@pytest.mark.parametrize("name", sorted(set(BUILDERS) - {"camera_unet", "video_unet"}))
def test_outputs_stay_float32_under_a_mixed_policy(name):
    """Else losses near 0 and 1 would round to what has no logarithm."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = BUILDERS[name]()
    finally:
        keras.config.set_dtype_policy("float32")
    assert [output.dtype for output in model.outputs] == ["float32"] * len(model.outputs)
    assert any(layer.compute_dtype != "float32" for layer in model.layers), "and the rest does not"


def test_encoder_and_decoder_are_models_that_can_be_saved(tmp_path):
    model = latent_autoencoder()
    images = np.random.default_rng(0).random((2, 28, 28, 1), dtype=np.float32)
    for part in ("encoder", "decoder"):
        model.get_layer(part).save(tmp_path / f"{part}.keras")
    encoder, decoder = (keras.models.load_model(tmp_path / f"{part}.keras") for part in ("encoder", "decoder"))
    latents = encoder.predict(images, verbose=0)
    assert latents.shape == (2, 16)
    assert np.allclose(decoder.predict(latents, verbose=0), model.predict(images, verbose=0), atol=1e-6)


def test_a_new_camera_model_is_the_identity(camera):
    image = np.random.default_rng(0).random((1, 16, 24, 3), dtype=np.float32)
    for sigma in (0.0, 0.3):
        result = camera({"image": image, "sigma": np.full((1, 4, 6, 1), sigma, np.float32)})
        assert np.allclose(result, image, atol=1e-6)


def test_a_camera_model_heeds_its_noise_level(camera):
    model = begun(camera)
    image = np.full((1, 16, 16, 3), 0.5, np.float32)
    low, high = (np.asarray(model([image, np.full((1, 4, 4, 1), sigma, np.float32)])) for sigma in (0.0, 0.2))
    assert not np.allclose(low, high)


def test_a_map_adds_features_where_it_says_so_and_its_mean_sets_the_unit(camera):
    level = keras.Model(camera.inputs, [camera.get_layer(name).output for name in ("level", "level_scale")])
    image = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    half, mean = np.zeros((1, 4, 4, 1), np.float32), np.full((1, 4, 4, 1), 0.1, np.float32)
    half[:, :2] = 0.2
    (of_half, unit), (of_mean, expected) = level([image, half]), level([image, mean])
    np.testing.assert_allclose(unit, expected, atol=1e-6)
    low, high = (np.asarray(level([image, np.full_like(mean, sigma)])[0]) for sigma in (0.0, 0.2))
    np.testing.assert_allclose(of_half, np.concatenate([high[:, :2], low[:, 2:]], axis=1), atol=1e-6)
    assert not np.allclose(of_half, of_mean)
    assert unit != level([image, np.full_like(mean, 0.2)])[1]


@pytest.mark.parametrize("unit", [0.3, 0.5, 0.7])
def test_what_an_8_bit_tensor_of_whole_levels_does_not_hold_is_added_apart(camera, unit):
    model = begun(camera)
    scale = model.get_layer("level_scale")
    scale.set_weights([np.zeros_like(scale.get_weights()[0]), np.array([unit], np.float32)])
    names = ("residual", "residual_bounded", "scaled", "excess")
    parts = keras.Model(model.inputs, [*(model.get_layer(name).output for name in names), *model.outputs])
    image = 4 * np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    free, bounded, scaled, excess, denoised = map(np.asarray, parts([image, np.full((1, 4, 4, 1), 0.1, np.float32)]))
    assert np.abs(free).max() > 1
    np.testing.assert_allclose(bounded, np.clip(free, -1, 1), atol=1e-6)
    np.testing.assert_allclose(scaled, min(unit, 0.5) * bounded, atol=1e-6)
    np.testing.assert_allclose(excess, max(unit - 0.5, 0) * bounded, atol=1e-6)
    np.testing.assert_allclose(denoised - image, PixelShuffle(2)(scaled + excess), atol=1e-5)


def test_the_last_features_have_steps_in_training():
    model = camera_unet(widths=(16, 32), encoder_convs=(1, 1), decoder_convs=(1,))
    last = keras.Model(model.inputs, model.get_layer("out0_0_quantized").output)
    inputs = [np.random.default_rng(0).random((2, 16, 16, 3), dtype=np.float32), np.full((2, 4, 4, 1), 0.1, np.float32)]
    steps = np.asarray(last(inputs, training=True)) * 255 / 6
    assert np.abs(steps - np.rint(steps)).max() < 1e-3
    assert len(np.unique(np.rint(steps))) > 50
    finer = np.asarray(last(inputs, training=False)) * 255 / 6
    assert np.abs(finer - np.rint(finer)).max() > 0.1


def test_first_filters_see_luma_or_chroma_and_most_of_luma_no_even_brightness():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 12, 16)).astype(np.float32)
    bound = np.asarray(SplitLuma()(kernel))

    def answers(frame):
        return np.asarray(keras.ops.conv(PixelUnshuffle(2)(frame), bound, padding="valid"))[0, 0, 0]

    noise = np.random.default_rng(1).normal(size=(1, 6, 6, 3)).astype(np.float32)
    gray = np.repeat(noise.mean(-1, keepdims=True), 3, axis=-1)
    assert np.abs(answers(gray)[8:]).max() < 1e-5
    assert np.abs(answers(noise - gray)[:8]).max() < 1e-5
    assert np.abs(answers(gray)[:8]).min() > 0.01
    even = np.abs(answers(np.full((1, 6, 6, 3), [0.2, 0.5, 0.9], np.float32)))
    assert np.flatnonzero(even > 1e-5).tolist() == list(range(6, 16))
    np.testing.assert_allclose(SplitLuma()(bound), bound, atol=1e-6)


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


def test_only_what_lies_beyond_the_limit_costs():
    values = np.array([[-5.0, -4.0, 0.0], [3.0, 4.0, 6.0]], np.float32)
    assert float(RangeLimit(4.0, weight=0.5)(values)) == pytest.approx(0.5 * (1 + 4) / 6)
    assert float(RangeLimit(6.0)(values)) == 0
    assert RangeLimit(**RangeLimit(3.0, 0.2).get_config()).get_config() == {"limit": 3.0, "weight": 0.2}


def test_steps_of_8_bits_are_felt_in_training_only():
    values = np.random.default_rng(0).normal(0, 2, (4, 8, 8, 3)).astype(np.float32)
    steps = FakeQuantization(3.0)
    assert np.array_equal(steps(values), values)
    rounded = np.asarray(steps(values, training=True))
    np.testing.assert_allclose(rounded, np.round(values * 255 / 6) * 6 / 255, atol=1e-6)
    assert steps.get_config()["limit"] == 3.0


def test_the_gradient_passes_steps_of_8_bits_unchanged():
    tf = pytest.importorskip("tensorflow")
    values = tf.constant([[0.013, -0.5, 7.0]])
    with tf.GradientTape() as tape:
        tape.watch(values)
        result = tf.reduce_sum(FakeQuantization(3.0)(values, training=True) * tf.constant([[1.0, 2.0, 3.0]]))
    assert tape.gradient(result, values).numpy().tolist() == [[1.0, 2.0, 3.0]]


def test_a_camera_models_outliers_are_a_part_of_its_loss(camera, tmp_path):
    camera.save(tmp_path / "m.keras")
    model = keras.models.load_model(tmp_path / "m.keras")
    zeros, wild = (np.full((1, 16, 16, 3), level, np.float32) for level in (0.0, 1e3))
    sigma = np.zeros((1, 4, 4, 1), np.float32)
    model([zeros, sigma])
    assert float(sum(model.losses)) == 0
    begun(model)([wild, sigma])
    assert float(sum(model.losses)) > 0.01


@pytest.mark.parametrize(
    ("shape", "multiple", "halo"),
    [
        (((16, 48), (1, 2), (0,), 3), 4, 13),
        (((16, 48), (1, 2), (0,), 1), 4, 11),
        (((4, 4, 4, 4), (1, 2, 2, 2), (1, 2, 2), 3), 16, 87),
        (((4, 4, 4), (2, 1, 4), (3, 0), 1), 8, 47),
    ],
)
def test_the_halo_is_how_far_a_pixel_sees(shape, multiple, halo):
    """Enough, and not a pixel more: a touched pixel, wherever it lies in a multiple, changes nothing further away.

    Weights are positive, and all that depends on the frame is zero but for what the touched pixel causes: so nothing
    cancels, and the least trace at the edge of what is seen stands alone, where a float can hold it.
    """
    assert camera_unet_geometry(*shape) == (multiple, halo)
    model = camera_unet(*shape)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.set_weights([np.full(w.shape, (w.ndim == 4) / w[..., 0].size) for w in layer.get_weights()])
    level = model.get_layer("level")
    level.set_weights([np.zeros_like(w) for w in level.get_weights()])
    middle = multiple * (halo // multiple + 1)
    sigma = np.ones((1, middle // 2 + multiple // 4, middle // 2 + multiple // 4, 1), np.float32)
    reaches = []
    for touched in range(middle, middle + multiple):
        image = np.zeros((1, 2 * middle + multiple, 2 * middle + multiple, 3), np.float32)
        image[0, touched, touched] = 1
        changed = np.argwhere(np.asarray(model([image, sigma]))[0].any(axis=-1))
        reaches.append(np.abs(changed - touched).max())
    assert max(reaches) == halo
