import json
from dataclasses import FrozenInstanceError, dataclass, replace

import pytest

from quietframe.errors import SourceError, UsageError
from quietframe_train.corruption import MixedNoise, NoNoise, NormalNoise, UniformNoise
from quietframe_train.models import BUILDERS
from quietframe_train.recipe import (
    Constant,
    DigitData,
    EarlyStopping,
    ModelConfig,
    OptimizerConfig,
    PhotoData,
    PictureData,
)
from quietframe_train.recipe_json import recipe_from_record, to_record
from quietframe_train.recipes import DIGIT_NOISES, RECIPES, find_recipe


@dataclass(frozen=True)
class Published:
    """What the write-up of a recipe says."""

    builder: str
    noise: object
    loss: str
    batch: int
    epochs: int
    learning_rate: float = 1e-3  # Adam as Keras has it
    early_stopping: EarlyStopping | None = None
    data: object = DigitData()
    test_noises: tuple = ()


BOTTLENECK = Published(
    builder="bottleneck_autoencoder",
    noise=NormalNoise(mean=0, sigma=0.5, clip=True),
    loss="binary_crossentropy",
    batch=128,
    epochs=20,
    learning_rate=2e-4,
    early_stopping=EarlyStopping(monitor="val_loss", patience=5, restore_best=True),
)
COLOR = Published(
    builder="color_autoencoder",
    noise=NormalNoise(mean=0, sigma=0.4, clip=True, shared=True),
    loss="mse",
    batch=32,
    epochs=50,
    data=PictureData(side=256, folds=4, validation_share=0.05, split="content", split_seed=42),
)
PUBLISHED = {
    "dense-autoencoder": Published(
        builder="dense_autoencoder",
        noise=UniformNoise(0.9),
        loss="binary_crossentropy",
        batch=512,
        epochs=100,
        early_stopping=EarlyStopping(monitor="val_loss", patience=5, restore_best=False),
        data=DigitData(validation_share=0.2),
    ),
    "digit-classifier": Published(
        builder="dense_classifier",
        noise=NoNoise(),
        loss="sparse_categorical_crossentropy",
        batch=512,
        epochs=5,
        test_noises=(NoNoise(), UniformNoise(0.9)),
    ),
    "conv-autoencoder": Published(
        builder="conv_autoencoder",
        noise=NormalNoise(mean=0, sigma=0.55, clip=False),
        loss="binary_crossentropy",
        batch=150,
        epochs=30,
        data=DigitData(validation_share=0.2),
        test_noises=(NormalNoise(mean=0, sigma=0.55, clip=False), NormalNoise(mean=0, sigma=0.55, clip=True)),
    ),
    "latent-autoencoder": Published(
        builder="latent_autoencoder",
        noise=NormalNoise(mean=0.5, sigma=0.5, clip=True),
        loss="mse",
        batch=32,
        epochs=10,
        test_noises=tuple(NormalNoise(mean=0.5, sigma=sigma) for sigma in (0.5, 0.75, 1.0)),
    ),
    "color-autoencoder": COLOR,
    "color-autoencoder-k02": replace(COLOR, noise=NormalNoise(mean=0, sigma=0.2, clip=True, shared=True)),
    "color-autoencoder-plain-split": replace(COLOR, data=replace(COLOR.data, split="file")),
    "bottleneck-autoencoder": BOTTLENECK,
    "bottleneck-autoencoder-long": replace(BOTTLENECK, epochs=100),
    "bottleneck-autoencoder-deep": replace(BOTTLENECK, builder="bottleneck_autoencoder_deep"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_recipes_say_what_their_write_ups_say(name):
    recipe, said = RECIPES[name], PUBLISHED[name]
    assert recipe.model == ModelConfig(said.builder)
    assert recipe.noise == said.noise
    assert (recipe.loss, recipe.batch, recipe.epochs) == (said.loss, said.batch, said.epochs)
    assert recipe.optimizer == OptimizerConfig(learning_rate=said.learning_rate)
    assert recipe.schedule == Constant()
    assert recipe.early_stopping == said.early_stopping
    assert recipe.data == said.data
    assert recipe.test_noises == said.test_noises
    assert recipe.quantization is None
    assert recipe.steps_per_epoch is None


def test_the_composite_is_composed_of_the_published_two_and_trains_nothing():
    recipe = RECIPES["denoise-and-classify"]
    assert recipe.parts == ("dense-autoencoder", "digit-classifier")
    assert recipe.noise == RECIPES["dense-autoencoder"].noise
    assert (recipe.task, recipe.epochs, recipe.batch, recipe.loss) == ("denoise+classify", 0, 0, "")


def test_the_digit_unet_meets_the_noise_of_every_digit_design():
    mixed = RECIPES["digit-unet"].noise
    assert isinstance(mixed, MixedNoise)
    for recipe in RECIPES.values():
        if recipe.kind != "digits" or recipe.task != "denoise" or recipe.name == "digit-unet":
            continue
        for noise in recipe.measured_with:
            assert noise in DIGIT_NOISES
            assert any(covers(part, noise) for part in mixed.parts), (recipe.name, noise.key)
    assert RECIPES["digit-unet"].test_noises == DIGIT_NOISES


def covers(part, noise):
    """Whether one noise can come out of another."""
    if not (isinstance(part, NormalNoise) and isinstance(noise, NormalNoise)) or part.lowest_sigma is None:
        return part == noise
    same = replace(part, sigma=noise.sigma, lowest_sigma=None)
    return same == noise and part.lowest_sigma <= noise.sigma <= part.sigma


def test_the_color_unet_is_measured_with_both_published_noises():
    published = [RECIPES[name].noise for name in ("color-autoencoder-k02", "color-autoencoder")]
    recipe = RECIPES["color-unet"]
    assert list(recipe.test_noises) == published
    assert all(covers(recipe.noise, noise) for noise in published)
    theirs = RECIPES["color-autoencoder"].data
    assert replace(recipe.data, augmentation=None) == theirs, "the same test pictures"


def test_the_image_classifier_is_cross_validated_on_a_split_by_content():
    data = RECIPES["image-classifier"].data
    assert (data.split, data.cross_validate, data.split_seed) == ("content", True, 42)
    assert data.augmentation is not None


def test_every_digit_classifier_is_measured_clean_and_with_the_first_noise():
    for name in ("digit-classifier", "digit-cnn"):
        assert RECIPES[name].measured_with == (NoNoise(), UniformNoise(0.9))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_every_recipe_says_what_it_is(recipe):
    assert recipe.kind == {DigitData: "digits", PhotoData: "photos", PictureData: "pictures"}[type(recipe.data)]
    for text in (recipe.summary, recipe.source, recipe.limits):
        assert text
        assert "\n" not in text
    assert recipe.model.builder in BUILDERS
    assert recipe.dtype_policy in {"float32", "mixed_bfloat16"}
    assert all(part in RECIPES for part in recipe.parts)


def test_recipes_are_frozen():
    with pytest.raises(FrozenInstanceError):
        RECIPES["camera-nano"].epochs = 1


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_recipe_survives_json(recipe):
    stopping = replace(recipe, early_stopping=EarlyStopping(patience=3))
    for one in (recipe, stopping):
        assert recipe_from_record(json.loads(json.dumps(to_record(one))), origin="r.json") == one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("model"), "r.json: recipe: field 'model' is missing"),
        (lambda r: r.update(weather=1), "r.json: recipe: field 'weather' is missing or not known"),
        (lambda r: r["test_noises"][1].pop("sigma"), r"r.json: recipe.test_noises\[1\]: field 'sigma' is missing"),
        (lambda r: r["noise"].update(colour=1), "r.json: recipe.noise: field 'colour' is missing or not known"),
        (lambda r: r["noise"].update(kind="Fog"), "r.json: recipe.noise: kind 'Fog' is not known"),
        (lambda r: r.update(kind="NoNoise"), "r.json: recipe: field '.*' is missing or not known"),
    ],
)
def test_a_damaged_recipe_is_named_by_its_field(change, message):
    record = to_record(RECIPES["latent-autoencoder"])
    change(record)
    with pytest.raises(SourceError, match=message):
        recipe_from_record(record, origin="r.json")


def test_something_else_is_no_recipe():
    for record in (None, 3, {}, to_record(NoNoise())):
        with pytest.raises(SourceError, match="field 'recipe' is no recipe"):
            recipe_from_record(record, origin="r.json")


def test_a_run_of_the_version_before_is_read():
    """It told what a model was measured with by other means."""
    record = to_record(RECIPES["camera-nano"])
    for field in ("test_noises", "parts", "dtype_policy"):
        del record[field]
    record["test_sigmas"] = []
    assert recipe_from_record(record, origin="r.json") == RECIPES["camera-nano"]


def test_find_recipe_suggests_the_nearest():
    assert find_recipe("camera-nano") is RECIPES["camera-nano"]
    with pytest.raises(UsageError, match="unknown recipe 'camera-nan': did you mean 'camera-nano'"):
        find_recipe("camera-nan")
    with pytest.raises(UsageError, match="there are: dense-autoencoder, "):
        find_recipe("zzz")
