import hashlib
import shutil

import cv2
import numpy as np
import pytest

from quietframe.card import DataTerms
from quietframe.errors import SourceError
from quietframe.images import read_image
from quietframe_train.data.photos import PhotoData, _listed, load_photos
from support.images import random_frame


def image(seed: int, height: int = 100, width: int = 120, channels: int = 3) -> np.ndarray:
    return random_frame(height, width, channels, seed=seed)


def test_images_are_found_in_folders_below_and_brought_to_8_bit_bgr(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    gray = image(1, channels=1)
    alpha = image(2, channels=4)
    deep = image(3)
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    cv2.imwrite(str(tmp_path / "a" / "alpha.png"), alpha)
    cv2.imwrite(str(tmp_path / "a" / "b" / "deep.PNG"), 257 * deep.astype(np.uint16))
    for suffix in (".jpg", ".bmp", ".tif", ".webp"):
        cv2.imwrite(str(tmp_path / f"other{suffix}"), image(4))
    (tmp_path / "notes.txt").write_text("not an image, and not named like one")

    photos = load_photos(tmp_path, validation_share=0.01)

    found = [*photos.training, *photos.validation]
    assert len(found) == 7
    assert photos.unreadable == []
    assert all(photo.shape == (100, 120, 3) and photo.dtype == np.uint8 for photo in found)

    def held(expected):
        return any(np.array_equal(photo, expected) for photo in found)

    assert held(np.repeat(gray, 3, axis=2))
    assert held(alpha[:, :, :3])
    assert held(deep)


def test_unusable_files_are_named_and_skipped(photo_folder, tmp_path):
    folder = shutil.copytree(photo_folder, tmp_path / "photos")
    (folder / "text.jpg").write_text("not an image")
    (folder / "empty.png").touch()
    whole = (folder / "0.png").read_bytes()
    (folder / "below" / "cut.png").write_bytes(whole[: len(whole) // 50])
    cv2.imwrite(str(folder / "tiny.png"), image(1, 95, 300))

    photos = load_photos(folder, validation_share=0.1)

    assert len(photos.training) + len(photos.validation) == 6
    assert len(photos.unreadable) == 4
    for name in ("text.jpg", "empty.png", "cut.png", "tiny.png: 300x95 is smaller than 96"):
        assert sum(name in line for line in photos.unreadable) == 1, name


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5])
def test_identical_files_stay_on_one_side_of_the_split(tmp_path, share):
    for index in range(10):
        cv2.imwrite(str(tmp_path / f"{index:02}.png"), image(index))
        shutil.copy(tmp_path / f"{index:02}.png", tmp_path / f"{19 - index:02}-twin.png")
    photos = load_photos(tmp_path, validation_share=share)
    training, validation = ({photo.tobytes() for photo in side} for side in (photos.training, photos.validation))
    assert not training & validation
    assert len(training) + len(validation) == 10
    assert len(validation) == max(1, round(share * 10))
    assert len(photos.training) == 2 * len(training)


def test_the_split_does_not_depend_on_names(tmp_path):
    for index in range(8):
        for folder, name in (("one", index), ("two", 7 - index)):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), image(index))
    one, two = (load_photos(tmp_path / folder, validation_share=0.25) for folder in ("one", "two"))
    assert {p.tobytes() for p in one.validation} == {p.tobytes() for p in two.validation}


def test_limit_takes_so_many(photo_folder):
    photos = load_photos(photo_folder, validation_share=0.1, limit=3)
    assert (len(photos.training), len(photos.validation)) == (2, 1)


def test_folders_without_two_images_are_errors(tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        load_photos(tmp_path / "missing", validation_share=0.1)
    with pytest.raises(SourceError, match=r"0 usable images \(0 skipped\), at least 2"):
        load_photos(tmp_path, validation_share=0.1)
    cv2.imwrite(str(tmp_path / "one.png"), image(1))
    shutil.copy(tmp_path / "one.png", tmp_path / "twin.png")
    (tmp_path / "bad.png").touch()
    with pytest.raises(SourceError, match=r"1 usable images \(1 skipped\), at least 2 different ones"):
        load_photos(tmp_path, validation_share=0.1)


def test_listed_files_validate_and_without_one_of_them_a_share_does(photo_folder, tmp_path, monkeypatch):
    folder = shutil.copytree(photo_folder, tmp_path / "photos")
    digest = hashlib.sha256((folder / "2.png").read_bytes()).hexdigest()
    monkeypatch.setattr("quietframe_train.data.photos._listed", lambda name: {digest, "ab" * 32} if name else set())
    found = load_photos(folder, validation_share=0.5, validation_list="a list")
    assert len(found.validation) == 1
    assert np.array_equal(found.validation[0], read_image(folder / "2.png", to_8bit=True).bgr)
    (folder / "2.png").unlink()
    found = load_photos(folder, validation_share=0.4, validation_list="a list")
    assert (len(found.training), len(found.validation)) == (3, 2)


def test_the_list_of_the_camera_recipes_is_a_tenth_of_the_photographs(real_data):
    name = PhotoData().validation_list
    files = [path for path in (real_data / "photos").iterdir() if path.suffix == ".jpg"]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    assert _listed(name) == set(sorted(digests)[: round(len(digests) / 10)])


def test_licences_are_counted_from_the_manifest(photo_folder, tmp_path):
    folder = shutil.copytree(photo_folder, tmp_path / "photos")
    manifest = folder / "manifest.csv"
    assert load_photos(folder, validation_share=0.1).terms is None
    manifest.write_text("file,licence\n0.png,CC0\n1.png,MIT\n2.png,CC0\n")
    assert load_photos(folder, validation_share=0.1).terms == DataTerms("photos", "CC0 (2), MIT (1)")
    manifest.write_text("file,width\n0.png,3\n")
    assert load_photos(folder, validation_share=0.1).terms is None
