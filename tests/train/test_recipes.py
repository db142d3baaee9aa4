import json
from dataclasses import FrozenInstanceError, replace

import pytest

from quietframe.errors import SourceError, UsageError
from quietframe_train.corruption import CameraNoise, NoNoise, NormalNoise
from quietframe_train.models import BUILDERS
from quietframe_train.recipe import EarlyStopping, WarmupCosine
from quietframe_train.recipe_json import recipe_from_record, to_record
from quietframe_train.recipes import RECIPES, find_recipe


@pytest.mark.parametrize(
    ("name", "parameters"), [("latent-autoencoder", 178_001), ("digit-classifier", 269_322), ("camera-nano", 31_932)]
)
def test_each_recipe_builds_a_model_of_the_size_it_is_known_for(name, parameters):
    config = RECIPES[name].model
    assert BUILDERS[config.builder](**config.options).count_params() == parameters


def test_the_recipes_say_what_the_write_ups_say():
    latent, classifier, camera = (RECIPES[n] for n in ("latent-autoencoder", "digit-classifier", "camera-nano"))
    assert latent.noise == NormalNoise(mean=0.5, sigma=0.5)
    assert (latent.loss, latent.batch, latent.epochs, latent.test_sigmas) == ("mse", 32, 10, (0.5, 0.75, 1.0))
    assert classifier.noise == NoNoise()
    assert (classifier.loss, classifier.batch, classifier.epochs) == ("sparse_categorical_crossentropy", 512, 5)
    assert isinstance(camera.noise, CameraNoise)
    assert isinstance(camera.schedule, WarmupCosine)
    assert {recipe.kind for recipe in (latent, classifier)} == {"digits"}
    assert camera.kind == "photos"


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
        (lambda r: r.pop("loss"), "r.json: recipe: field 'loss' is missing"),
        (lambda r: r["noise"].update(colour=1), "r.json: recipe.noise: field 'colour' is missing or not known"),
        (lambda r: r["noise"].update(kind="Fog"), "r.json: recipe.noise: kind 'Fog' is not known"),
        (lambda r: r.update(kind="NoNoise"), "r.json: recipe: field 'batch' is missing or not known"),
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


def test_find_recipe_suggests_the_nearest():
    assert find_recipe("camera-nano") is RECIPES["camera-nano"]
    with pytest.raises(UsageError, match="unknown recipe 'camera-nan': did you mean 'camera-nano'"):
        find_recipe("camera-nan")
    with pytest.raises(UsageError, match="there are: latent-autoencoder, "):
        find_recipe("zzz")
