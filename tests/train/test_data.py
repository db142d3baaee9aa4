"""What every kind of data does alike."""

from dataclasses import replace

import numpy as np
import pytest

from quietframe.card import DataTerms
from quietframe.errors import UsageError
from quietframe_train.data.base import UNKNOWN_TERMS
from quietframe_train.recipes import RECIPES
from support.process import run_python


def load(name, path, **options):
    return RECIPES[name].data.load(path, RECIPES[name], **options)


@pytest.mark.parametrize("name", ["digit-classifier", "camera-nano", "image-classifier"])
def test_the_hash_is_of_what_trains_and_validates(name, mnist_npz, photo_folder, picture_folder):
    path = {"digits": mnist_npz, "photos": photo_folder, "pictures": picture_folder}[RECIPES[name].data.kind]
    whole = load(name, path, seed=1).sha256
    assert whole == load(name, path, seed=1).sha256
    assert whole != load(name, path, seed=1, limit=10 if name == "image-classifier" else 4).sha256


def test_terms_are_stated_or_unknown_but_never_guessed(mnist_npz, photo_folder):
    photos, digits = load("camera-nano", photo_folder), load("digit-classifier", mnist_npz)
    describe = RECIPES["camera-nano"].data.describe
    assert describe(photos, photo_folder, None, None) == DataTerms(photo_folder.name, UNKNOWN_TERMS)
    assert describe(photos, photo_folder, "BSDS500", "research") == DataTerms("BSDS500", "research")
    describe = RECIPES["digit-classifier"].data.describe
    assert describe(digits, mnist_npz, None, None) == DataTerms("mnist.npz", UNKNOWN_TERMS)
    known = replace(digits, terms=DataTerms("MNIST", "CC"))
    assert describe(known, None, None, None) == DataTerms("MNIST", "CC")
    assert describe(known, None, None, "mine") == DataTerms("MNIST", "mine")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("camera-nano", r"needs --data FOLDER \(a folder of photographs\)"),
        ("color-unet", r"needs --data FOLDER \(a folder of images\)"),
        ("image-classifier", r"needs --data FOLDER \(a folder for each class\)"),
    ],
)
def test_recipes_of_folders_ask_for_one(name, says):
    with pytest.raises(UsageError, match=f"^{name} {says}$"):
        load(name, None)


def test_the_digits_of_a_split_share_no_memory_with_the_test_set(mnist_npz):
    splits = load("digit-classifier", mnist_npz)
    assert not np.shares_memory(splits.training.images, splits.test.images)


def test_reading_data_needs_no_keras():
    code = "import sys, quietframe_train.data.digits, quietframe_train.data.pictures"
    run_python("-c", f"{code}; sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)")
