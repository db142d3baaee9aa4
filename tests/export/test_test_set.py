"""What a file reaches on the test set stands beside what training measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quietframe_export import export_model, subject_from_run
from quietframe_export import report as tables
from quietframe_export.formats import parse_targets

FIDELITY = ("psnr_db", "ssim", "mse", "bce", "rmse")


@pytest.mark.parametrize("kind", ["composite_run", "autoencoder_run", "classifier_run", "colour_run", "unclipped_run"])
def test_float_files_reach_what_training_measured(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    subject = subject_from_run(request.getfixturevalue(kind))
    subject = replace(subject, held_out=subject.held_out[:20])
    assert subject.test is not None
    for file in export_model(subject, parse_targets("tflite-fp32,onnx-fp32"), tmp_path).files:
        assert file.test is not None
        assert len(file.test) == len(subject.test.keras) > 0
        for found, expected in zip(file.test, subject.test.keras, strict=True):
            assert (found.set, found.noise, found.measure) == (expected.set, expected.noise, expected.measure)
            assert found.value == pytest.approx(expected.value, rel=2e-3, abs=1e-4), found
        assert file.test_images == len(subject.test.images)


def test_noise_that_does_not_fit_8_bits(unclipped_run: Path, tmp_path: Path) -> None:
    """Float files are given it as it is; the others would see it clipped, which is another noise."""
    subject = subject_from_run(unclipped_run)
    targets = parse_targets("tflite-fp16,tflite-int8")
    test = replace(subject.test, images=subject.test.images.chosen(slice(40)))  # type: ignore
    subject = replace(subject, test=test, held_out=subject.held_out[:20])
    report = export_model(subject, targets, tmp_path)
    unclipped = {("normal0.55unclipped", name) for name in FIDELITY}
    clipped = {("normal0.55", name) for name in FIDELITY}
    for file in report.files:
        assert file.test is not None
        both = file.target == "tflite-fp16"
        assert {(metric.noise, metric.measure) for metric in file.test} == (unclipped | clipped if both else clipped)
    table = tables.test_table(report)
    assert table is not None and table.row_count == 10


def test_of_a_slow_file_a_part_is_measured(make_run: Callable[..., Path], tmp_path: Path) -> None:
    subject = subject_from_run(make_run("dense-autoencoder", 20, batch=32))
    subject = replace(subject, held_out=subject.held_out[:20])
    pixels = subject.card.macs_per_pixel * 28 * 28
    slow, fast = parse_targets("tflite-int16x8,tflite-int8")
    report = export_model(subject, [replace(slow, max_test_macs=50.5 * pixels), fast], tmp_path)
    assert [file.test_images for file in report.files] == [50, 397]
    assert report.test_images == 397


def test_noisy_images_are_drawn_once(autoencoder_run: Path) -> None:
    test = subject_from_run(autoencoder_run).test
    assert test is not None
    assert test.noisy is test.noisy
    assert list(test.noisy) == ["normal0.5mean0.5", "normal0.75mean0.5", "normal1mean0.5"]
    assert all(images.dtype == np.uint8 for images in test.noisy.values())
