"""What a run is exported as: its card, and where its frames come from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from quietframe.card import Spatial
from quietframe.errors import SourceError, UsageError
from quietframe_export.subject import subject_from_run


def test_a_colour_denoiser(colour_run: Path) -> None:
    subject = subject_from_run(colour_run)
    card = subject.card
    for spec, name in ((card.inputs[0], "image"), (card.outputs[0], "denoised")):
        assert (spec.name, spec.role, spec.channels, spec.colour, spec.value_range) == (name, "image", 3, "BGR", (0, 1))
    assert card.spatial == Spatial("fixed", size_hw=(32, 32), fit="resize")
    assert (card.task, card.conditioning, card.labels) == ("denoise", "none", ())
    assert card.noise == "additive, gray N(mean 0, sigma 0.05 to 0.5) on [0, 1], clipped"
    assert card.data.terms == "unknown: not stated when the model was trained"
    assert subject.calibrated_with.startswith(f"{len(subject.calibration)} frames from training images")
    assert {inputs["image"].shape for inputs in subject.calibration} == {(1, 32, 32, 3)}
    assert all(inputs["image"].min() >= 0 and inputs["image"].max() <= 1 for inputs in subject.calibration)


def test_a_classifier_of_folders(folder_classifier_run: Path) -> None:
    subject = subject_from_run(folder_classifier_run)
    (scores,) = subject.card.outputs
    assert (scores.name, scores.role, scores.channels) == ("scores", "scores", 2)
    assert subject.card.labels == ("disc", "square")
    assert subject.card.inputs[0].colour == "BGR"
    assert {sample.label for sample in subject.held_out} == {"disc", "square"}
    assert len(subject.held_out) == 1000


def test_a_model_that_does_both(composite_run: Path) -> None:
    card = subject_from_run(composite_run).card
    assert [(spec.name, spec.role, spec.channels) for spec in card.outputs] == [
        ("denoised", "image", 1),
        ("scores", "scores", 10),
    ]
    assert card.task == "denoise+classify"
    assert card.labels == tuple("0123456789")


def test_other_classes_than_at_the_training(folder_classifier_run: Path, class_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(class_folder, other)
    (other / "square").rename(other / "box")
    with pytest.raises(SourceError, match=r"classes disc, square; the data hold box, disc: pass its own with --data"):
        subject_from_run(folder_classifier_run, data=other)


def test_pictures_calibrate_with_their_training_split(colour_run: Path, photo_folder: Path) -> None:
    with pytest.raises(UsageError, match="--calibrate is for camera models"):
        subject_from_run(colour_run, calibrate=photo_folder)


def test_unclipped_noise_is_clipped_for_files(unclipped_run: Path) -> None:
    subject = subject_from_run(unclipped_run)
    values = np.concatenate([inputs["image"].ravel() for inputs in subject.calibration])
    assert (values.min(), values.max()) == (0, 1)
    np.testing.assert_allclose(values * 255, np.rint(values * 255), atol=1e-3)
    assert "not clipped" in subject.card.noise
