"""Files with two outputs: the clean picture and the scores, found by name, judged one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import quietframe as qf
from quietframe.card import ModelCard
from quietframe.engines import ENGINES
from quietframe_export import export_model, exporter, subject_from_run
from quietframe_export.exporter import ExportReport
from quietframe_export.formats import TARGETS, parse_targets
from quietframe_export.report import report_table
from quietframe_export.subject import Subject
from quietframe_export.verify import Answers, answer, compare
from quietframe_train.data.base import Sample


@pytest.fixture(scope="module")
def subject(composite_run: Path) -> Subject:
    subject = subject_from_run(composite_run)
    assert subject.test is not None
    few = replace(subject.test, images=subject.test.images.chosen(slice(100)))
    return replace(subject, held_out=subject.held_out[:300], test=few)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("composite")


@pytest.fixture(scope="module")
def report(subject: Subject, folder: Path) -> ExportReport:
    return export_model(subject, parse_targets("all"), folder, max_accuracy_drop_percent=1.5)


def test_every_target_passes_in_both_measures(report: ExportReport) -> None:
    lost = {file.target: file.reason for file in report.files if file.outcome != "passed"}
    assert lost.keys() <= {"openvino-int8"}, "it lost 0.83 dB on a processor without 8-bit dot products"
    assert all(reason.startswith("drops ") for reason in lost.values())
    for file in report.files:
        if file.target in lost:
            continue
        assert [found.unit for found in file.comparisons] == ["psnr_db", "accuracy_percent"]
        assert file.comparisons[1].keras > 50
        assert file.test is not None and {"psnr_db", "accuracy"} <= {metric.measure for metric in file.test}
    assert next(file for file in report.files if file.target == "tflite-int8").float_operations == 0


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_one_file_serves_every_task(report: ExportReport, subject: Subject, folder: Path, target: object) -> None:
    path = folder / f"denoise-and-classify{target.suffix}"  # type: ignore[attr-defined]
    if path.suffix == ".xml" and not path.exists():
        pytest.skip("OpenVINO's 8 bits lose too much on this processor")
    assert set(ENGINES[path.suffix](path, threads=1).outputs) == {"denoised", "scores"}
    both, denoise, classify = qf.DenoiseClassifier(path), qf.Denoiser(path), qf.Classifier(path)
    held_out = [metric for metric in both.card.metrics if metric.set == report.held_out_from]
    assert [(metric.measure, metric.drop is not None) for metric in held_out] == [("psnr_db", True), ("accuracy", True)]
    expected = answer(subject.engine, subject.card, subject.held_out[:5])
    assert expected.images is not None and expected.scores is not None
    for sample, image, scores in zip(subject.held_out, expected.images, expected.scores, strict=False):
        found = both(sample.frame)
        np.testing.assert_array_equal(found.image, denoise(sample.frame))
        assert found.scores == classify(sample.frame).scores
        assert np.abs(found.image.astype(int) - image).mean() < 4
        assert np.abs(np.array(list(found.scores.values())) - scores).max() < 0.25


def test_the_table_shows_both(report: ExportReport) -> None:
    headings = [str(column.header) for column in report_table(report).columns]
    assert headings[2:8] == ["Keras dB", "file dB", "drop", "Keras %", "file %", "drop"]


@pytest.mark.parametrize(
    ("gates", "reason"),
    [((-50.0, 100.0), "dB, more than the -50 allowed"), ((50.0, -100.0), "points, more than the -100 allowed")],
)
def test_each_measure_has_its_gate(subject: Subject, tmp_path: Path, gates: tuple[float, float], reason: str) -> None:
    (file,) = export_model(
        subject,
        parse_targets("tflite-fp32"),
        tmp_path,
        max_psnr_drop_db=gates[0],
        max_accuracy_drop_percent=gates[1],
    ).files
    assert file.outcome == "failed"
    assert reason in file.reason


def two_answers(card: ModelCard) -> tuple[list[Sample], Answers]:
    clean = np.full((28, 28), 100, np.uint8)
    samples = [Sample(frame=clean, clean=clean, label=label) for label in card.labels]
    return samples, Answers([clean + 5] * 10, np.eye(10, dtype=np.float32))


def test_each_measure_sees_its_own_output(subject: Subject) -> None:
    samples, keras = two_answers(subject.card)
    wrong_scores = Answers(keras.images, np.roll(np.eye(10, dtype=np.float32), 1, axis=1))
    pictures, scores = compare(subject.card, samples, keras, wrong_scores)
    assert (pictures.drop, scores.drop) == (0, 100)
    assert keras.images is not None
    wrong_pictures = Answers([image + 50 for image in keras.images], keras.scores)
    pictures, scores = compare(subject.card, samples, keras, wrong_pictures)
    assert pictures.drop > 10 and scores.drop == 0
    assert (pictures.max_error_255, scores.max_error_255) == (50, 0)


def test_a_file_that_the_runtime_cannot_run_is_refused(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(model: Path, *, card: ModelCard) -> None:
        raise qf.ModelLoadError(f"{model}: not a LiteRT model that runs here (no such operation)")

    monkeypatch.setattr(exporter, "open_model", unable)
    report = export_model(subject, parse_targets("tflite-fp32"), tmp_path)
    assert (report.files[0].outcome, report.files[0].reason) == (
        "refused",
        "not a LiteRT model that runs here (no such operation)",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["export.json"]
