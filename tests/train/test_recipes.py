import json
from dataclasses import replace

import pytest

from quietframe.errors import UsageError
from quietframe.serde import RecordError, from_record, to_record
from quietframe_train.corruption import MixedNoise, NoNoise, NormalNoise
from quietframe_train.models import BUILDERS
from quietframe_train.recipe import EarlyStopping, Recipe
from quietframe_train.recipes import DIGIT_NOISES, RECIPES, find_recipe
from quietframe_train.run_folder import KINDS


@pytest.mark.parametrize(
    ("name", "of", "change"),
    [
        ("color-autoencoder-k02", "color-autoencoder", {"noise"}),
        ("color-autoencoder-plain-split", "color-autoencoder", {"data"}),
        ("bottleneck-autoencoder-long", "bottleneck-autoencoder", {"phases"}),
        ("bottleneck-autoencoder-deep", "bottleneck-autoencoder", {"model"}),
    ],
)
def test_variants_differ_from_their_recipe_in_one_thing(name, of, change):
    one, other = (vars(RECIPES[each]) for each in (name, of))
    words = {"name", "summary", "source", "limits"}
    assert {field for field in one if one[field] != other[field]} - words == change


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


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_every_recipe_says_what_it_is(recipe):
    for text in (recipe.summary, recipe.source, recipe.limits):
        assert text
        assert "\n" not in text
    assert recipe.model.builder in BUILDERS
    assert recipe.dtype_policy == "float32", "bfloat16 is slow where the processor emulates it"
    assert all(part in RECIPES for part in recipe.parts)


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
