from __future__ import annotations

import cv2
import numpy as np
import pytest

from quietframe import Classifier
from quietframe.errors import UsageError
from quietframe_bench.kinds.accuracy import accuracy


@pytest.fixture
def sorted_folder(classifier_file, tmp_path):
    """Nine pictures in folders of the label that the classifier gives them, and one in the folder of another."""
    folder, classify = tmp_path / "sorted", Classifier(classifier_file)
    rng = np.random.default_rng(0)
    labels = classify.card.labels
    for index in range(10):
        picture = rng.integers(0, 256, (28, 28), np.uint8)
        label = classify(picture).label
        if index == 9:
            label = labels[(labels.index(label) + 1) % len(labels)]
        (folder / label).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / label / f"{index}.png"), picture)
    return folder


def test_the_accuracy_is_the_share_of_right_answers(classifier_file, sorted_folder, rows_of):
    (row,), out = rows_of("accuracy", sorted_folder, classifier_file)
    assert (row["kind"], len(row["answers"]), row["accuracy"]) == ("accuracy", 10, 0.9)
    low, high = row["accuracy_95"]
    assert (low, high) == (pytest.approx(0.596, abs=0.001), pytest.approx(0.982, abs=0.001))  # Wilson's, 9 of 10
    assert "0.9000" in out and "0.5958 to 0.9821" in out
    shares = [share for share in row["accuracy_by_class"].values() if share is not None]
    assert min(shares) < 1
    assert len(row["samples_ns"]) == 10


def test_a_limit_takes_pictures_of_all_classes(classifier_file, sorted_folder):
    (row,) = accuracy([classifier_file], sorted_folder, limit=5)
    assert len(row.answers) == 5
    assert len(set(row.classes.values())) == len(list(sorted_folder.iterdir()))


def test_a_broken_picture_is_named_and_exit_1(classifier_file, sorted_folder, bench):
    broken = next(sorted_folder.rglob("*.png"))
    broken.write_bytes(b"\x89PNG no")
    code, out, err = bench("accuracy", sorted_folder, classifier_file)
    assert code == 1
    assert broken.name in err
    assert " 9 " in out


def test_folders_that_are_no_labels_are_said(classifier_file, sorted_folder, bench):
    (sorted_folder / "unheard of").mkdir()
    next(sorted_folder.rglob("*.png")).rename(sorted_folder / "unheard of" / "a.png")
    code, _, err = bench("accuracy", sorted_folder, classifier_file)
    assert code == 1
    assert "'unheard of'" in err
    assert "named as its labels" in err


def test_a_denoiser_is_a_failed_row(denoiser_file, classifier_file, sorted_folder):
    failed, good = accuracy([denoiser_file, classifier_file], sorted_folder)
    assert "classify" in failed.error
    assert good.accuracy == 0.9


def test_pictures_beside_the_folders_are_refused(classifier_file, sorted_folder):
    next(sorted_folder.rglob("*.png")).rename(sorted_folder / "a.png")
    with pytest.raises(UsageError, match="one folder for each class"):
        accuracy([classifier_file], sorted_folder)


def test_a_model_must_be_named(sorted_folder, bench):
    code, _, err = bench("accuracy", sorted_folder)
    assert code == 2
    assert "name its file" in err
