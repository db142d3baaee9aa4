import shutil
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietframe.errors import SourceError
from quietframe_train.data.pictures import PictureData, _deal
from quietframe_train.recipes import RECIPES
from support.images import random_frame

SIDE = 24
DATA = PictureData(side=SIDE, folds=4, validation_share=0.1)
PARTS = ("training", "validation", "test")


def load_pictures(folder, data, *, classify=False, **options):
    return data.load(folder, RECIPES["image-classifier" if classify else "color-unet"], **options)


def image(seed, height=24, width=24):
    """Pixels at random: no two seeds look alike."""
    return random_frame(height, width, 3, seed=seed)


def write(folder, count, first_seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:03}.png"), image(first_seed + index))
    return folder


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Two classes of 20 and 12 pictures, each there twice; three of class `b` are in class `a`, too."""
    folder = tmp_path_factory.mktemp("twins")
    for name, count, seed in (("a", 20, 0), ("b", 12, 100)):
        write(folder / name, count, seed)
        for index in range(count):
            shutil.copy(folder / name / f"{index:03}.png", folder / name / f"{(7 * index) % 50:03}-twin.png")
    for index in range(3):
        shutil.copy(folder / "b" / f"{index:03}.png", folder / "a" / f"from-b-{index}.png")
    return folder


def pixels(part):
    return {image.tobytes() for image in part.images}


def sides(splits):
    return {name: pixels(getattr(splits, name)) for name in PARTS}


@pytest.mark.parametrize("classify", [True, False])
@pytest.mark.parametrize("fold", range(4))
def test_twins_stay_on_one_side_across_classes_too(twins, fold, classify):
    splits = load_pictures(twins, DATA, fold=fold, classify=classify)
    found = sides(splits)
    assert sum(len(found[name]) for name in PARTS) == 32 == len(set.union(*found.values()))
    assert sum(len(getattr(splits, name)) for name in PARTS) == 2 * 32 + 3, "no file is lost"


def test_twins_in_another_format_are_twins(tmp_path):
    write(tmp_path, 12)
    for index in range(12):
        cv2.imwrite(str(tmp_path / f"{99 - index}.bmp"), image(index))
    found = sides(load_pictures(tmp_path, DATA))
    assert sum(map(len, found.values())) == len(set.union(*found.values())) == 12


def test_a_split_by_files_leaves_twins_on_both_sides(twins):
    found = sides(load_pictures(twins, replace(DATA, split="file")))
    assert found["test"] & found["training"]
    assert len(set.union(*found.values())) == 32


@pytest.mark.parametrize(("folds", "split"), [(3, "content"), (5, "content"), (4, "file")])
def test_folds_are_disjoint_and_cover_everything(twins, folds, split):
    data = replace(DATA, folds=folds, split=split)
    tests = [load_pictures(twins, data, fold=fold, classify=True).test for fold in range(folds)]
    assert sum(map(len, tests)) == 67
    if split == "content":
        assert sum(len(pixels(test)) for test in tests) == len(set().union(*map(pixels, tests))) == 32


def test_each_fold_has_its_share_of_each_class(picture_folder):
    data = replace(DATA, folds=5)
    tests = [load_pictures(picture_folder, data, fold=fold, classify=True) for fold in range(5)]
    for splits in tests:
        counts = Counter(splits.test.labels.tolist())
        assert set(counts.values()) <= {2, 3}, "twelve of each class in five folds"
        assert set(splits.training.labels.tolist()) == {0, 1}


@given(st.lists(st.integers(3, 30), min_size=1, max_size=5), st.integers(3, 6), st.floats(0.01, 0.5), st.data())
def test_every_part_gets_its_own_and_every_class_trains(sizes, folds, share, draw):
    labels = [index for index, size in enumerate(sizes) for _ in range(size)]
    if len(labels) < max(folds, 4):
        return
    data = PictureData(folds=folds, validation_share=share)
    fold = draw.draw(st.integers(0, folds - 1))
    test, validation, training = _deal([[index] for index in range(len(labels))], labels, data, fold)
    assert sorted(test + validation + training) == list(range(len(labels)))
    assert test
    assert validation
    assert {labels[index] for index in training} == set(range(len(sizes)))
    assert abs(len(test) - len(labels) / folds) < 1


def test_shares_are_as_stated(tmp_path):
    splits = load_pictures(write(tmp_path, 100), replace(DATA, validation_share=0.2))
    assert [len(getattr(splits, name)) for name in PARTS] == [60, 15, 25]


def test_the_split_repeats_and_knows_no_training_seed(twins):
    one, again = (load_pictures(twins, DATA, classify=True) for _ in range(2))
    for name in PARTS:
        assert np.array_equal(getattr(one, name).images, getattr(again, name).images)
        assert np.array_equal(getattr(one, name).labels, getattr(again, name).labels)
    recipe = replace(RECIPES["image-classifier"], data=DATA)
    assert len({recipe.data.load(twins, recipe, seed=seed).sha256 for seed in range(3)}) == 1
    other = load_pictures(twins, replace(DATA, split_seed=43), classify=True)
    assert pixels(other.test) != pixels(one.test)


def test_labels_stay_with_their_images(picture_folder):
    splits = load_pictures(picture_folder, DATA, classify=True)
    assert splits.classes == ("dark", "light")
    for name in PARTS:
        part = getattr(splits, name)
        assert part.images.dtype == np.uint8
        assert part.labels.dtype == np.int64
        assert part.images.shape == (len(part), SIDE, SIDE, 3)
        assert np.array_equal(part.images.mean(axis=(1, 2, 3)) > 110, part.labels == 1)


def test_without_classes_sub_folders_mean_nothing(picture_folder):
    splits = load_pictures(picture_folder, DATA)
    assert splits.classes == ()
    assert not splits.training.labels.any()


def test_classes_reach_into_folders_below(tmp_path):
    write(tmp_path / "cats" / "2024" / "may", 6)
    write(tmp_path / "dogs", 6, 50)
    splits = load_pictures(tmp_path, DATA, classify=True)
    assert splits.classes == ("cats", "dogs")
    assert sum(getattr(splits, name).labels.sum() for name in PARTS) == 6


@pytest.mark.parametrize("limit", [12, 31, 66])
def test_limit_takes_so_many_evenly(twins, limit):
    splits = load_pictures(twins, DATA, classify=True, limit=limit)
    labels = np.concatenate([getattr(splits, name).labels for name in PARTS])
    assert len(labels) == limit
    assert abs(np.mean(labels == 1) - 24 / 67) < 0.1, "the last class is not cut off"
    assert len(load_pictures(twins, DATA, limit=1000).test) == len(load_pictures(twins, DATA).test)


def test_images_are_resized_by_area_or_linearly(tmp_path):
    large, small = image(4, 61, 40), image(5, 9, 40)
    for index, each in enumerate((image(1), image(2), image(3), large, small)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), each)
    splits = load_pictures(tmp_path, DATA)
    found = pixels(splits.training) | pixels(splits.validation) | pixels(splits.test)
    for each, method in ((large, cv2.INTER_AREA), (small, cv2.INTER_LINEAR)):
        assert cv2.resize(each, (SIDE, SIDE), interpolation=method).tobytes() in found


def test_what_cannot_be_used_is_named_and_skipped(tmp_path, picture_folder):
    folder = shutil.copytree(picture_folder, tmp_path / "pictures")
    (folder / "dark" / "text.jpg").write_text("not an image")
    (folder / "light" / "empty.png").touch()
    (folder / "notes.txt").write_text("not named like an image")
    cv2.imwrite(str(folder / "stray.png"), image(1))
    splits = load_pictures(folder, DATA, classify=True)
    assert sum(len(getattr(splits, name)) for name in PARTS) == 24
    assert len(splits.unreadable) == 3
    for words in ("text.jpg", "empty.png", "stray.png: lies in no sub-folder"):
        assert sum(words in line for line in splits.unreadable) == 1, words


def test_folders_that_cannot_be_split_are_errors(tmp_path):
    with pytest.raises(SourceError, match=r"missing: no such folder of images"):
        load_pictures(tmp_path / "missing", DATA)
    (tmp_path / "mnist.npz").touch()
    with pytest.raises(SourceError, match=r"mnist.npz: is a file, expected a folder of images"):
        load_pictures(tmp_path / "mnist.npz", DATA)
    with pytest.raises(SourceError, match=r"0 different images \(0 files skipped\), at least 4 are needed"):
        load_pictures(tmp_path, DATA)
    write(tmp_path, 3)
    shutil.copy(tmp_path / "000.png", tmp_path / "twin.png")
    (tmp_path / "bad.png").touch()
    with pytest.raises(SourceError, match=r"3 different images \(1 files skipped\), at least 4 are needed"):
        load_pictures(tmp_path, DATA)
    with pytest.raises(SourceError, match=r"0 sub-folders with images, at least 2 are needed"):
        load_pictures(tmp_path, DATA, classify=True)
    write(tmp_path / "one", 9, 20)
    with pytest.raises(SourceError, match=r"1 sub-folders with images, at least 2 are needed"):
        load_pictures(tmp_path, DATA, classify=True)
    write(tmp_path / "two", 2, 40)
    (tmp_path / "two" / "broken.jpg").write_text("not an image")
    with pytest.raises(SourceError, match=r"two: 2 different images that can be read, at least 3 of each class"):
        load_pictures(tmp_path, DATA, classify=True)


def test_four_pictures_are_enough(tmp_path):
    splits = load_pictures(write(tmp_path, 4), DATA)
    assert [len(getattr(splits, name)) for name in PARTS] == [2, 1, 1]


def test_the_mri_slices_split_with_no_twin_across(real_data):
    """Its 253 files hold many twins; the source's own split has them on both sides."""
    folder = real_data / "brain_mri"
    found, plain = (
        sides(RECIPES[name].data.load(folder, RECIPES[name], seed=1))
        for name in ("image-classifier", "color-autoencoder-plain-split")
    )
    assert sum(map(len, found.values())) == len(set.union(*found.values()))
    assert plain["test"] & plain["training"]
