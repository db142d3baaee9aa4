import json
from dataclasses import FrozenInstanceError, dataclass, replace

import pytest

from quietframe.errors import UsageError
from quietframe.serde import RecordError, from_record, to_record
from quietframe_train.corruption import MixedNoise, NoNoise, NormalNoise, UniformNoise
from quietframe_train.data.digits import DigitData
from quietframe_train.data.photos import PhotoData
from quietframe_train.data.pictures import PictureData
from quietframe_train.models import BUILDERS
from quietframe_train.recipe import Constant, EarlyStopping, ModelConfig, OptimizerConfig, Recipe
from quietframe_train.recipes import DIGIT_NOISES, RECIPES, find_recipe
from quietframe_train.run_folder import KINDS


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
    (phase,) = recipe.phases
    assert (phase.loss, phase.batch, phase.epochs) == (said.loss, said.batch, said.epochs)
    assert phase.optimizer == OptimizerConfig(learning_rate=said.learning_rate)
    assert phase.schedule == Constant()
    assert phase.early_stopping == said.early_stopping
    assert phase.steps_per_epoch is None
    assert recipe.data == said.data
    assert recipe.test_noises == said.test_noises


def test_the_composite_is_composed_of_the_published_two_and_trains_nothing():
    recipe = RECIPES["denoise-and-classify"]
    assert recipe.parts == ("dense-autoencoder", "digit-classifier")
    assert recipe.noise == RECIPES["dense-autoencoder"].noise
    assert (recipe.task, recipe.epochs, recipe.phases) == ("denoise+classify", 0, ())


def test_the_digit_unet_meets_the_noise_of_every_digit_design():
    mixed = RECIPES["digit-unet"].noise
    assert isinstance(mixed, MixedNoise)
    for recipe in RECIPES.values():
        if recipe.data.kind != "digits" or recipe.task != "denoise" or recipe.name == "digit-unet":
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
    assert recipe.data.kind == {DigitData: "digits", PhotoData: "photos", PictureData: "pictures"}[type(recipe.data)]
    for text in (recipe.summary, recipe.source, recipe.limits):
        assert text
        assert "\n" not in text
    assert recipe.model.builder in BUILDERS
    assert recipe.dtype_policy in {"float32", "mixed_bfloat16"}
    assert all(part in RECIPES for part in recipe.parts)


def test_recipes_are_frozen():
    with pytest.raises(FrozenInstanceError):
        RECIPES["camera-nano"].phases = ()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_recipe_survives_json(recipe):
    stopping = recipe.with_phases(early_stopping=EarlyStopping(patience=3))
    for one in (recipe, stopping):
        assert from_record(json.loads(json.dumps(to_record(one))), Recipe, KINDS, "recipe") == one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("model"), "recipe: field 'model' is missing"),
        (lambda r: r.update(weather=1), "recipe: field 'weather' is not known"),
        (lambda r: r["test_noises"][1].pop("sigma"), r"recipe.test_noises\[1\]: field 'sigma' is missing"),
        (
            lambda r: r["phases"][0].update(epochs="two"),
            r"recipe.phases\[0\].epochs: expected a whole number, received",
        ),
        (lambda r: r["noise"].update(colour=1), "recipe.noise: field 'colour' is not known"),
        (lambda r: r["noise"].update(kind="Fog"), "recipe.noise: kind 'Fog' is not known"),
        (lambda r: r.update(kind="NoNoise"), "recipe: field '.*' is not known"),
        (lambda r: r.update(data=r["noise"]), "recipe.data: expected Data, received NormalNoise"),
    ],
)
def test_a_damaged_recipe_is_named_by_its_field(change, message):
    record = json.loads(json.dumps(to_record(RECIPES["latent-autoencoder"])))
    change(record)
    with pytest.raises(RecordError, match=f"^{message}"):
        from_record(record, Recipe, KINDS, "recipe")


def test_something_else_is_no_recipe():
    for record in (None, 3, {}, to_record(NoNoise())):
        with pytest.raises(RecordError, match="recipe: expected "):
            from_record(record, Recipe, KINDS, "recipe")


def test_epochs_change_in_proportion_and_never_to_none():
    camera = RECIPES["camera-small"]
    first, second = camera.phases
    assert [phase.epochs for phase in camera.with_epochs(2 * first.epochs).phases] == [
        2 * first.epochs,
        2 * second.epochs,
    ]
    assert [phase.epochs for phase in camera.with_epochs(1).phases] == [1, 1]
    assert camera.with_epochs(first.epochs) == camera


def test_find_recipe_suggests_the_nearest():
    assert find_recipe("camera-nano") is RECIPES["camera-nano"]
    with pytest.raises(UsageError, match="unknown recipe 'camera-nan': did you mean 'camera-nano'"):
        find_recipe("camera-nan")
    with pytest.raises(UsageError, match="there are: dense-autoencoder, "):
        find_recipe("zzz")
