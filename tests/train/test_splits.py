import numpy as np
import pytest

from quietframe.card import DataTerms
from quietframe.errors import UsageError
from quietframe_train.recipes import RECIPES
from quietframe_train.splits import UNKNOWN_TERMS, ImageSplits, PhotoSet, describe_data, fingerprint, load_splits


def test_each_recipe_gets_its_kind_of_data(mnist_npz, photo_folder, picture_folder):
    assert isinstance(load_splits(RECIPES["digit-classifier"], mnist_npz, seed=1), ImageSplits)
    assert isinstance(load_splits(RECIPES["camera-nano"], photo_folder, seed=1), PhotoSet)
    pictures = load_splits(RECIPES["color-unet"], picture_folder, seed=1)
    assert isinstance(pictures, ImageSplits)
    assert (pictures.test.images.shape[1:], pictures.classes) == ((256, 256, 3), ())
    pictures = load_splits(RECIPES["image-classifier"], picture_folder, seed=1)
    assert (pictures.test.images.shape[1:], pictures.classes) == ((128, 128, 3), ("dark", "light"))


def test_photographs_need_a_folder():
    with pytest.raises(UsageError, match=r"camera-nano trains on pictures of yours: pass --data FOLDER$"):
        load_splits(RECIPES["camera-nano"], None, seed=1)


@pytest.mark.parametrize("name", ["digit-classifier", "camera-nano", "image-classifier"])
def test_the_fingerprint_is_of_what_trains_and_validates(name, mnist_npz, photo_folder, picture_folder):
    path = {"digits": mnist_npz, "photos": photo_folder, "pictures": picture_folder}[RECIPES[name].kind]

    def prints(**options):
        return fingerprint(load_splits(RECIPES[name], path, **({"seed": 1} | options)))

    assert prints() == prints()
    assert prints() != prints(limit=10 if name == "image-classifier" else 4)


def test_terms_are_stated_or_unknown_but_never_guessed(mnist_npz, photo_folder):
    photos = load_splits(RECIPES["camera-nano"], photo_folder, seed=1)
    digits = load_splits(RECIPES["digit-classifier"], mnist_npz, seed=1)
    assert describe_data(photos, photo_folder, None, None) == DataTerms(photo_folder.name, UNKNOWN_TERMS)
    assert describe_data(photos, photo_folder, "BSDS500", "research") == DataTerms("BSDS500", "research")
    assert describe_data(digits, mnist_npz, None, None) == DataTerms("mnist.npz", UNKNOWN_TERMS)
    known = ImageSplits(digits.training, digits.validation, digits.test, terms=DataTerms("MNIST", "CC"))
    assert describe_data(known, None, None, None) == DataTerms("MNIST", "CC")
    assert describe_data(known, None, None, "mine") == DataTerms("MNIST", "mine")


def test_the_digits_of_a_split_share_no_memory_with_the_test_set(mnist_npz):
    splits = load_splits(RECIPES["digit-classifier"], mnist_npz, seed=1)
    assert not np.shares_memory(splits.training.images, splits.test.images)
