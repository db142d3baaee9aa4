from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import quietframe as qf
from quietframe.card import Spatial
from quietframe.errors import FrameError, ModelLoadError, UsageError


def bright_band(index: int, size_hw: tuple[int, int] = (28, 28)) -> np.ndarray:
    """A dark gray picture whose band of rows with that number, of four, is bright."""
    image = np.full(size_hw, 20, np.uint8)
    rows = size_hw[0] // 4
    image[index * rows : (index + 1) * rows] = 220
    return image


KINDS = [(".tflite", dtype) for dtype in ("float32", "uint8", "int8", "int16")]
KINDS += [(".onnx", dtype) for dtype in ("float32", "uint8")]


@pytest.mark.parametrize(("suffix", "dtype"), KINDS)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_the_brightest_band_wins(make_model, tiny_models, suffix, dtype, layout):
    classify = qf.Classifier(make_model(task="classify", suffix=suffix, dtype=dtype, colour="GRAY", layout=layout))
    # Known weights: the score is the softmax of ten times the mean brightness of each band.
    logits = np.array([220, 20, 20, 20]) / 25.5
    expected = np.exp(logits) / np.exp(logits).sum()
    for index, label in enumerate(tiny_models.LABELS):
        result = classify(bright_band(index))
        assert result.label == label
        assert list(result.scores) == list(tiny_models.LABELS)
        assert result.score == max(result.scores.values()) == result.scores[label]
        assert list(result.scores.values()) == pytest.approx(np.roll(expected, index), abs=0.005)


@pytest.mark.parametrize("size_hw", [(28, 28), (56, 56), (280, 100), (16, 16), (4, 4), (400, 4)])
def test_any_size_is_resized(classifier_file, tiny_models, size_hw):
    classify = qf.Classifier(classifier_file)
    for index, label in enumerate(tiny_models.LABELS):
        image = bright_band(index, size_hw)
        kept = image.copy()
        assert classify(image).label == label
        assert np.array_equal(image, kept)


def test_one_pixel_is_a_picture(classifier_file):
    result = qf.Classifier(classifier_file)(np.full((1, 1), 90, np.uint8))
    assert list(result.scores.values()) == pytest.approx([0.25] * 4, abs=1e-5)


def test_colour_through_a_gray_model(classifier_file):
    classify = qf.Classifier(classifier_file)
    gray = bright_band(2)
    colour = np.dstack([gray, gray, gray])
    assert classify(colour) == classify(gray)
    assert classify(colour[:, ::-1]) == classify(gray)


@pytest.mark.parametrize("image", [None, "digit.png", np.zeros((28, 28)), np.zeros((28, 28, 1), np.uint8), [[0]]])
def test_what_is_no_picture_is_said(classifier_file, image):
    with pytest.raises(FrameError, match="Expected a uint8 array of shape"):
        qf.Classifier(classifier_file)(image)


def test_models_of_another_task(blur_file, classifier_file):
    with pytest.raises(ModelLoadError, match="tiny-denoise cannot classify, it is a model to denoise"):
        qf.Classifier(blur_file)
    with pytest.raises(ModelLoadError, match="cannot denoise, it is a model to classify"):
        qf.DenoiseClassifier(classifier_file)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": ("a", "b", "c")}, "3 labels for 4 scores"),
        ({"spatial": Spatial("fixed", size_hw=(28, 28), fit="tile")}, "the card's fit must be resize"),
        ({"spatial": Spatial("fixed", size_hw=(32, 32), fit="resize")}, r"is not the card's NHWC \[1, 32, 32, 1\]"),
    ],
)
def test_cards_that_do_not_fit(classifier_file, tiny_models, changes, says):
    card = tiny_models.TinyModel(task="classify", colour="GRAY").card()
    with pytest.raises((ModelLoadError, UsageError), match=says):
        qf.Classifier(classifier_file, card=replace(card, **changes))


def test_scores_of_another_number(make_model):
    """A file may leave its number of scores open; then the run tells."""

    class Engine:
        def __init__(self, engine: Any) -> None:
            self.inputs, self.card_json = engine.inputs, engine.card_json
            scores = engine.outputs["scores"]
            self.outputs = {"scores": replace(scores, shape=(1, None))}

        def run(self, inputs: Any) -> Any:
            return {"scores": np.zeros((1, 7), np.float32)}

    classify = qf.Classifier(Engine(qf.Classifier(make_model(task="classify", colour="GRAY")).engine))
    with pytest.raises(ModelLoadError, match="the model gave 7 scores for 4 labels"):
        classify(bright_band(0))


def test_one_file_serves_both_tasks(denoise_classifier_file, tiny_models):
    image = bright_band(3)
    both = qf.DenoiseClassifier(denoise_classifier_file)(image)
    alone = qf.Classifier(denoise_classifier_file)(image)
    assert (both.label, both.score, both.scores) == (alone.label, alone.score, alone.scores)
    assert both.label == tiny_models.LABELS[3]
    assert np.array_equal(both.image, qf.Denoiser(denoise_classifier_file)(image))
    assert both.image.shape == (28, 28)
    assert not np.array_equal(both.image, image)


def test_the_clean_picture_has_the_models_size(denoise_classifier_file):
    assert qf.DenoiseClassifier(denoise_classifier_file)(bright_band(0, (100, 60))).image.shape == (28, 28)


def test_rgb_and_alpha(denoise_classifier_file):
    bgr = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    expected = qf.DenoiseClassifier(denoise_classifier_file)(bgr)
    classify = qf.DenoiseClassifier(denoise_classifier_file, color="rgb")
    for image in (rgb, np.dstack([rgb, bgr[..., 0]])):
        found = classify(image)
        assert found == expected
        assert np.array_equal(found.image, expected.image)
        assert "array" not in repr(found)
    assert classify(bgr).scores != expected.scores


def stated(path, **fields):
    return replace(qf.Classifier(path).card, **fields)


@pytest.mark.parametrize(("suffix", "dtype"), KINDS)
def test_logits_become_probabilities_where_the_card_says_so(make_model, tiny_models, suffix, dtype):
    """The model's scores taken for logits: their softmax, whatever type they come in."""
    path = make_model(task="classify", suffix=suffix, dtype=dtype, colour="GRAY")
    plain = qf.Classifier(path)(bright_band(1))
    powers = np.exp(list(plain.values))
    found = qf.Classifier(path, card=stated(path, softmax=True))(bright_band(1))
    assert found.values == pytest.approx(powers / powers.sum(), abs=1e-6)
    assert (found.label, found.index, sum(found.values)) == (plain.label, 1, pytest.approx(1))


def test_labels_that_repeat(classifier_file):
    """As `crane` does in ImageNet, a bird and a machine: nothing is lost, and the index says which."""
    classify = qf.Classifier(classifier_file, card=stated(classifier_file, labels=("crane", "dog", "crane", "cat")))
    for index, label in enumerate(("crane", "dog", "crane", "cat")):
        found = classify(bright_band(index))
        assert (found.label, found.index, len(found.values)) == (label, index, 4)
        assert list(found.scores) == ["crane", "dog", "cat"]
        assert found.score == found.scores[label] == found.values[index]
