"""`quietframe results`, on run folders that are made here: tiny models that compute what is known by heart."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from quietframe.card import DataTerms
from quietframe.cli import main
from quietframe.errors import OutputError, SourceError
from quietframe_bench import results as results_room
from quietframe_bench.results.collect import by_noise, collect, split_figure
from quietframe_bench.results.figures import MOST_BYTES, copy_picture
from quietframe_bench.results.markdown import duration, gain, millions, table
from quietframe_bench.results.measured import chance, confuse
from quietframe_bench.results.models import FileModel
from quietframe_bench.results.page import MARK, check_page
from quietframe_bench.results.reported import REPORTED
from quietframe_train.models import BUILDERS
from quietframe_train.recipes import RECIPES
from quietframe_train.run_folder import Run, write_json, write_recipe

CLASSES = 4  # of the tiny classifier: which band of rows is bright


def bands(count, rng):
    """28×28 digits of a kind: the band of rows that the label names is bright."""
    labels = rng.integers(CLASSES, size=count).astype(np.uint8)
    images = np.zeros((count, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[7 * label : 7 * label + 7, 4:24] = 255
    return images, labels


@pytest.fixture(scope="module")
def digits_npz(tmp_path_factory):
    rng = np.random.default_rng(3)
    (x_train, y_train), (x_test, y_test) = bands(30, rng), bands(24, rng)
    path = tmp_path_factory.mktemp("digits") / "mnist.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture
def make_run(tmp_path, digits_npz):
    """A function that makes a finished run folder below `runs`: `make_run(recipe, figures, …)` gives its path."""

    def make(recipe, figures=None, *, folder="", data=digits_npz, seed=0, epochs=None, history=(), **metrics):
        recipe = RECIPES[recipe].with_epochs(epochs) if epochs else RECIPES[recipe]
        path = tmp_path / "runs" / (folder or recipe.name)
        path.mkdir(parents=True)
        splits = recipe.data.load(data, recipe, seed=seed)
        run = Run(
            folder=path,
            recipe=recipe,
            seed=seed,
            limit=None,
            data_path=data,
            data=DataTerms("bands", "made up"),
            data_sha256=splits.sha256,
            versions={"keras": "3.99", "backend": "tensorflow"},
            created="2026-02-03T04:05:06+00:00",
        )
        write_recipe(run)
        (path / "model.keras").write_bytes(recipe.name.encode())
        if history:
            rows = "".join(f"main,{epoch},{loss},{loss}\n" for epoch, loss in enumerate(history, 1))
            (path / "history.csv").write_text(f"phase,epoch,loss,val_loss\n{rows}")
        if figures is not None:
            basics = {
                "parameters": 101_200,
                "macs_per_pixel": 128.0,
                "epochs_run": run.epochs,
                "training_seconds": 123.4,
                "training_images": len(splits.training),
                "validation_images": len(splits.validation),
                "test_images": len(splits.test),
                "skipped_files": [],
                "sets": {"bands test": figures},
            }
            write_json(path / "metrics.json", basics | metrics)
        return path

    return make


@pytest.fixture
def add_export(make_model):
    """A function that puts a tiny model into a run folder, as exports of several precisions."""

    def add(run, targets=("tflite-fp32", "tflite-int8"), *, test=None, int8_images=40, **fields):
        out = run / "export"
        out.mkdir()
        files = []
        for target in targets:
            precision = target.removeprefix("tflite-")
            model = make_model(f"{run.name}.{precision}", dtype="uint8" if precision == "int8" else "float32", **fields)
            model.rename(out / model.name)
            unit, drop = ("accuracy_percent", 0.25) if fields["task"] == "classify" else ("psnr_db", 0.125)
            files.append(
                {
                    "target": target,
                    "outcome": "passed",
                    "file": model.name,
                    "reason": "",
                    "size_bytes": 2048,
                    "comparisons": [{"unit": unit, "drop": drop}],
                    "test": test,
                    "test_images": int8_images if precision == "int8" else 40,
                }
            )
        refused = {"target": "onnx-int8", "outcome": "refused", "file": None, "reason": "has no such operator"}
        files.append(refused | {"size_bytes": 0, "comparisons": [], "test": None})
        digest = hashlib.sha256((run / "model.keras").read_bytes()).hexdigest()
        report = {"source_sha256": digest, "held_out_from": "9 frames", "test_images": 40, "files": files}
        (out / "export.json").write_text(json.dumps(report))

    return add


DENOISER = {"task": "denoise", "colour": "GRAY", "size_hw": (28, 28), "blur": True}
CLASSIFIER = {"task": "classify", "colour": "GRAY"}


def denoised(noise, bce, psnr_db, ssim):
    return {
        f"psnr_db_{noise}": psnr_db,
        f"ssim_{noise}": ssim,
        f"mse_{noise}": 0.0123456,
        f"bce_{noise}": bce,
        f"rmse_{noise}": 0.0777777,
        f"noisy_psnr_db_{noise}": 6.54321,
    }


@pytest.fixture
def results(tmp_path, capfd, monkeypatch):
    """Run `quietframe results …`: (exit code, the page or "", standard error)."""
    monkeypatch.setattr("quietframe_bench.results.digits.SIGMAS", (0.0, 0.5))
    monkeypatch.setattr("quietframe_bench.results.figures.SIGMAS", (0.0, 0.5))
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()

    def run(*args, latency=False):
        args = [*args, "--out", page, *([] if latency else ["--no-latency"])]
        with pytest.raises(SystemExit) as done:
            main(["results", *map(str, args)])
        err = capfd.readouterr().err
        return done.value.code, page.read_text(encoding="utf-8") if page.exists() else "", err

    run.page = page
    return run


def rows_of(page, heading):
    """The cells of the tables below a heading, row by row."""
    part = re.split(r"^#+ ", page.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return [line[2:-2].split(" | ") for line in part.splitlines() if line[:1] == "|"]


def test_figures_of_the_page_are_those_of_the_run_folder(results, make_run, tmp_path):
    figures = denoised("uniform0.9", 0.098765, 18.7654, 0.87654)
    make_run("dense-autoencoder", figures, epochs_run=61, history=[0.5, 0.25])
    make_run("digit-classifier", {"accuracy": 0.97654, "accuracy_uniform0.9": 0.20123})
    code, page, err = results(tmp_path / "runs")
    assert code == 1  # nothing was exported, and what stands for the Keras models cannot be read
    assert "failed: digit-classifier: model.keras: not a Keras model that can be read" in err
    row = next(row for row in rows_of(page, "Digit denoisers") if "dense-autoencoder" in row[0])
    assert row[1:] == [
        *("101,200", "0.1 M", "61 of 100", "2 min", "uniform[0, 0.9)"),
        *("6.54", "18.77", "0.8765", "0.0123", "0.0988"),
    ]
    clean, noisy = (row for row in rows_of(page, "Classifiers") if row[5] in ("clean", "uniform[0, 0.9)"))
    assert (clean[6], noisy[6]) == ("0.9765", "0.2012")
    ours = {row[1]: row[2:4] for row in rows_of(page, "Beside the sources") if row[0] == "`digit-classifier`"}
    assert ours == {
        "accuracy, clean": ["0.976", "0.9765 (5 epochs, seed 0)"],
        "accuracy, uniform[0, 0.9)": ["0.197", "0.2012 (5 epochs, seed 0)"],
    }


def test_what_is_missing_is_said(results, make_run, add_export, tmp_path):
    make_run("dense-autoencoder", denoised("uniform0.9", 0.1, 18, 0.9))
    stale = make_run("digit-classifier", {"accuracy": 0.9})
    add_export(stale, **CLASSIFIER)
    (stale / "model.keras").write_bytes(b"trained again")
    make_run("latent-autoencoder", history=[0.3, 0.2, 0.1])
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "recipe.json").write_text("{}")
    code, page, err = results(tmp_path / "runs")
    assert code == 1
    assert "failed: broken: recipe.json: format None is not known here" in err
    missing = page.partition("## What was not run or measured")[2]
    assert "No run folder: `denoise-and-classify`, `conv-autoencoder`" in missing
    assert "`dense-autoencoder`: not exported." in missing
    assert "`digit-classifier`: the exported files are of an earlier training: export it again." in missing
    assert "`latent-autoencoder`: the training is not finished (3 of 10 epochs)." in missing
    assert "`broken`: cannot be read: recipe.json: format None" in missing
    assert "Latency was not measured (`--no-latency`)." in missing
    row = next(row for row in rows_of(page, "Digit denoisers") if "latent-autoencoder" in row[0])
    assert row[1:5] == ["–", "–", "3 of 10", "not finished"]
    assert "**Not finished**: 3 of 10 epochs are done." in page
    assert "latency ms" not in page
    assert str(tmp_path) not in page


def test_accuracies_are_measured_with_the_exported_files(results, make_run, add_export, tmp_path):
    design = make_run("dense-autoencoder", denoised("uniform0.9", 0.1, 18.0, 0.9), macs_per_pixel=1000.0)
    add_export(design, **DENOISER)
    unet = make_run("digit-unet", denoised("uniform0.9", 0.09, 19.5, 0.9), parameters=95_329)
    add_export(unet, **DENOISER, offset_255=0)
    reader = make_run("digit-classifier", {"accuracy": 1.0, "accuracy_uniform0.9": 1.0})
    add_export(reader, **CLASSIFIER, test={"accuracy": 0.75})
    one = make_run("denoise-and-classify", {**denoised("uniform0.9", 0.1, 18, 0.9), "accuracy_uniform0.9": 0.5})
    add_export(one, task="denoise+classify", colour="GRAY", blur=True)
    numbers = tmp_path / "results.json"
    code, page, err = results(tmp_path / "runs", "--json", numbers, latency=True)
    assert (code, [line for line in err.splitlines() if "failed" in line]) == (0, [])
    document = json.loads(numbers.read_text())
    read = {
        (r["noise"], r["denoiser"], r["classifier"], r["precision"]): (r["accuracy"], r["files"])
        for r in document["readings"]
    }
    assert read["clean", None, "digit-classifier", "float"] == (1.0, ["digit-classifier.fp32.tflite"])
    behind = ["digit-unet.int8.tflite", "digit-classifier.int8.tflite"]
    assert read["uniform0.9", "digit-unet", "digit-classifier", "int8"] == (1.0, behind)
    assert read["uniform0.9", None, "denoise-and-classify", "float"][1] == ["denoise-and-classify.fp32.tflite"]
    assert ("uniform0.9", "digit-unet", "denoise-and-classify", "float") not in read
    assert {r["accuracy"] for r in document["readings"]} == {1.0}  # the bands stay the brightest in any noise
    assert document["robustness"]["files"] == {
        name: f"{name}.fp32.tflite" for name in ("dense-autoencoder", "digit-unet")
    }
    assert document["robustness"]["psnr_db"]["None"][0] is None  # clean digits beside themselves
    heading = "digit-unet against each design, on that design's own noise"
    (duel,) = [row for row in rows_of(page, heading) if "dense" in row[0]]
    assert duel[2:] == [
        "0.1000 → **0.0900** (−0.0100)",
        "18.00 → **19.50** (+1.50)",
        "0.9000 → 0.9000 (0.0000)",
        "1.0000 → 1.0000 (0.0000)",
    ]
    assert "is ahead in 2 of 4 comparisons. Behind or level: SSIM of dense-autoencoder" in page
    files = rows_of(page, "digit-classifier")
    assert files[0] == ["file", "KiB", "drop against Keras", "latency ms", "outcome"]
    assert files[2][:3] == ["`tflite-fp32`", "2.0", "−0.25 points"]
    assert float(files[2][3]) > 0
    assert files[4] == ["`onnx-int8`", "–", "–", "–", "refused: has no such operator"]
    assert ["accuracy, clean", "1.0000", "0.7500", "0.7500"] in files
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert {"images/results/robustness.png", "images/results/confusion-digits.png"} <= set(pictures)
    assert all((results.page.parent / picture).stat().st_size < 150_000 for picture in pictures)


def test_noise_that_is_not_clipped_meets_a_float_file_as_it_is(make_model):
    images = np.full((2, 28, 28, 1), -0.2, np.float32)
    images[1] = 1.3
    float_file = make_model("float", **DENOISER | {"offset_255": 100})
    shifted = FileModel("float", float_file).denoise(images)
    assert shifted.shape == images.shape
    assert np.unique(shifted[0]).tolist() == [49]  # −0.2 × 255 + 100, not 0 + 100
    assert FileModel("int8", make_model("int8", **DENOISER, dtype="uint8")).denoise(images) is None


def test_keras_stands_in_where_nothing_was_exported(results, make_run, tmp_path):
    run = make_run("digit-classifier", {"accuracy": 0.1, "accuracy_uniform0.9": 0.1})
    keras.utils.set_random_seed(1)
    BUILDERS["dense_classifier"]().save(run / "model.keras")
    code, page, _ = results(run)
    assert code == 0
    assert "Not exported, so run otherwise: digit-classifier in Keras." in page
    assert {"clean", "uniform[0, 0.9)"} <= {row[0] for row in rows_of(page, "Accuracy alone and behind denoisers")}


def test_data_are_found_by_content(results, make_run, add_export, digits_npz, tmp_path):
    run = make_run("digit-classifier", {"accuracy": 1.0})
    add_export(run, **CLASSIFIER)
    record = json.loads((run / "recipe.json").read_text())
    record["data_path"] = "/gone/mnist.npz"
    (run / "recipe.json").write_text(json.dumps(record))
    other = tmp_path / "other.npz"
    arrays = dict(np.load(digits_npz))
    np.savez(other, **arrays | {"x_train": 255 - arrays["x_train"]})
    code, page, _ = results(run, "--data", other)
    assert code == 0
    assert "bands, which digit-classifier was trained on, was not found" in page
    assert "## Accuracy alone" not in page
    code, page, _ = results(run, "--data", other, "--data", digits_npz)
    assert code == 0
    assert "bands test, 24 images" in page


def test_seeds_have_a_mean(results, make_run, tmp_path):
    for seed, accuracy in ((0, 0.97), (2, 0.98), (3, 0.975)):
        folder = f"digit-classifier{f'-s{seed}' if seed else ''}"
        make_run("digit-classifier", {"accuracy": accuracy}, folder=folder, seed=seed)
    _, page, _ = results(tmp_path / "runs")
    each = "0.9700 (seed 0), 0.9800 (seed 2), 0.9750 (seed 3)"
    assert ["`digit-classifier`", "accuracy, clean", each, "0.9750"] in rows_of(page, "Classifiers")


def test_bottleneck_says_when_it_reached_its_source(results, make_run, tmp_path):
    make_run("bottleneck-autoencoder", denoised("normal0.5", 0.0941, 18, 0.9), history=[0.2, 0.0950, 0.0945])
    make_run("bottleneck-autoencoder-long", denoised("normal0.5", 0.09, 19, 0.9), history=[0.2, 0.0939, 0.08])
    _, page, _ = results(tmp_path / "runs")
    remarks = {row[0]: row[4] for row in rows_of(page, "Beside the sources") if len(row) == 5}
    assert "stays above it (lowest: 0.0945)" in remarks["`bottleneck-autoencoder`"]
    assert "at or below it from epoch 2 on" in remarks["`bottleneck-autoencoder-long`"]


@pytest.fixture
def two_classes(tmp_path):
    """Sixteen dark and sixteen bright pictures, each in a folder of its class."""
    rng = np.random.default_rng(5)
    for name, level in (("bright", 200), ("dark", 20)):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for index in range(16):
            picture = np.clip(level + rng.normal(0, 9, (40, 40, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "classes" / name / f"{index}.png"), picture)
    return tmp_path / "classes"


def test_picture_classifiers_have_a_confusion_matrix_and_their_folds(results, make_run, two_classes, tmp_path):
    folds = {"accuracy": [0.9, 1.0, 0.8]}
    run = make_run("image-classifier", {"accuracy": 0.5}, data=two_classes, cross_validation=folds)
    model = BUILDERS["small_cnn"](**RECIPES["image-classifier"].model.options, classes=2)
    model.save(run / "model.keras")
    numbers = tmp_path / "results.json"
    code, page, _ = results(run, "--json", numbers)
    assert code == 0
    (matrix,) = json.loads(numbers.read_text())["confusions"]["image-classifier"]
    assert matrix["classes"] == ["bright", "dark"]
    assert np.sum(matrix["counts"]) == len(
        RECIPES["image-classifier"].data.load(two_classes, RECIPES["image-classifier"], seed=0).test
    )
    assert "![Confusion matrix of image-classifier](images/results/confusion-image-classifier.png)" in page
    assert "0.9000 ± 0.1000 over 3 folds" in page


def test_colour_runs_stand_beside_the_source_after_as_many_epochs(results, make_run, two_classes, tmp_path):
    run = make_run("color-autoencoder", {"rmse_gray0.4": 0.0612}, data=two_classes, macs_per_pixel=1000.0)
    image = keras.Input((256, 256, 3), name="image")
    keras.Model(image, keras.layers.AveragePooling2D(3, 1, "same", name="denoised")(image)).save(run / "model.keras")
    early = make_run("color-autoencoder", {"rmse_gray0.4": 0.0912}, folder="color-autoencoder-10-epochs",
                     data=two_classes, epochs=10, macs_per_pixel=1000.0)  # fmt: skip
    make_run("color-unet", {"rmse_gray0.2": 0.03, "rmse_gray0.4": 0.05}, data=two_classes, macs_per_pixel=80.0)
    _, page, _ = results(tmp_path / "runs")
    rows = {(row[0], row[1]): row[2:] for row in rows_of(page, "Colour: error, split and work")}
    assert rows["`color-autoencoder`", "gray N(0, 0.4²)"][2:5] == ["0.0612", "–", "0.0632"]
    low, high = map(float, rows["`color-autoencoder`", "gray N(0, 0.4²)"][5].split(" to "))
    assert 0.1 < low < high < 0.4  # a mean of nine pixels leaves a third of the noise, and the clipping's offset
    assert rows[f"`{early.name}`", "gray N(0, 0.4²)"][:5] == ["10 of 50", "by content, 8 test", "0.0912", "–", "0.0984"]
    assert rows["`color-unet`", "gray N(0, 0.2²)"][2:] == ["0.0300", "–", "–", "–", "5.24 M", "1/12.5"]


def test_chance_of_a_mean_of_few():
    each = np.arange(8.0)
    whole, single = chance(each, 9), chance(each, 1)
    assert (whole.images, whole.low, whole.high) == (8, 3.5, 3.5)
    assert (single.low, single.high) == (0, 7)
    assert single.low < chance(each, 4).low < 3.5 < chance(each, 4).high < single.high


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "empty: no run folder of quietframe train to read"),
        (["bad"], "bad/recipe.json: format 7 is not known here"),
        (["empty", "--data", "gone.npz"], "gone.npz: no such file or folder"),
        (["empty", "--json", "no/where.json"], "no/where.json: no such folder: no"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(results, tmp_path, monkeypatch, args, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "recipe.json").write_text('{"format": 7}')
    code, page, err = results(*args)
    assert (code, page) == (2, "")
    assert err.startswith(f"quietframe: error: {said}")
    assert len(err.splitlines()) == 1


def test_figures_of_a_part_of_the_test_set_say_so(results, make_run, add_export):
    run = make_run("latent-autoencoder", denoised("normal0.5mean0.5", 0.11, 18.6, 0.8))
    add_export(run, test={"psnr_db_normal0.5mean0.5": 18.5}, int8_images=7, **DENOISER)
    _, page, _ = results(run, "--no-latency")
    assert "| figure | Keras | tflite-fp32 | tflite-int8 (7 images) |" in page
    assert "whole but where a number of images stands:" in page


def test_an_unreadable_export_report_names_itself(make_run):
    run = make_run("digit-classifier", {"accuracy": 0.9})
    (run / "export").mkdir()
    (run / "export" / "export.json").write_text("{}")
    with pytest.raises(SourceError, match=r"export\.json: not a report of quietframe export"):
        collect([run])


def test_reports_with_one_comparison_are_read_too(make_run, add_export):
    run = make_run("digit-classifier", {"accuracy": 0.9})
    add_export(run, **CLASSIFIER)
    path = run / "export" / "export.json"
    report = json.loads(path.read_text())
    for file in report["files"]:
        file["comparison"] = next(iter(file.pop("comparisons")), None)
    path.write_text(json.dumps(report))
    (run / "export" / "digit-classifier.int8.tflite").unlink()
    (entry,) = collect([run]).entries
    assert [(file.outcome, dict(file.drops)) for file in entry.files] == [
        ("passed", {"accuracy_percent": 0.25}),
        ("missing", {"accuracy_percent": 0.25}),
        ("refused", {}),
    ]


def test_a_page_of_somebody_else_is_not_replaced(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# Mine\n")
    with pytest.raises(OutputError, match="was not written by quietframe results"):
        check_page(page)
    page.write_text(f"{MARK}\n")
    check_page(page)
    with pytest.raises(OutputError, match="no such folder"):
        check_page(tmp_path / "gone" / "results.md")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("accuracy", ("accuracy", "clean")),
        ("accuracy_uniform0.9", ("accuracy", "uniform0.9")),
        ("noisy_psnr_db_normal0.5mean0.5", ("noisy_psnr_db", "normal0.5mean0.5")),
        ("psnr_db_sigma25", ("psnr_db", "sigma25")),
        ("sharpness", ("sharpness", "")),
    ],
)
def test_figures_are_taken_apart(name, parts):
    assert split_figure(name) == parts


def test_figures_go_by_noise():
    found = by_noise({"bce_gray0.4": 1.0, "accuracy": 2.0, "noisy_bce_gray0.4": 3.0})
    assert found == {"gray0.4": {"bce": 1.0, "noisy_bce": 3.0}, "clean": {"accuracy": 2.0}}


def test_a_main_run_is_named_like_its_recipe(make_run):
    runs = [make_run("digit-classifier", {"accuracy": 0.9}, folder=name) for name in ("a", "digit-classifier")]
    collection = collect(runs)
    assert [entry.name for entry in collection.entries] == ["digit-classifier", "digit-classifier (a)"]
    assert [entry.name for entry in collection.main("digits", "classify")] == ["digit-classifier"]
    assert collection.main("digits", "denoise") == []


def test_every_reported_figure_is_one_that_its_recipe_measures():
    for name, reported in REPORTED.items():
        keys = {noise.key for noise in RECIPES[name].measured_with}
        assert {split_figure(one.figure)[1] for one in reported} <= keys


def test_confusion_counts():
    found = confuse("t", "ab", np.asarray([0, 0, 1]), np.asarray([0, 1, 1]))
    assert found.counts.tolist() == [[1, 1], [0, 1]]
    assert found.accuracy == pytest.approx(2 / 3)


def test_copies_are_small_and_keep_their_shape(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1500, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "noise.png"), noise)
    copy = copy_picture(tmp_path / "noise.png", tmp_path / "copy.of")
    assert copy.name == "copy.of.jpg"
    assert copy.stat().st_size <= MOST_BYTES
    height, width = cv2.imread(str(copy)).shape[:2]
    assert height / width == pytest.approx(900 / 1500, rel=0.01)
    cv2.imwrite(str(tmp_path / "plain.png"), np.zeros((20, 30, 3), np.uint8))
    assert copy_picture(tmp_path / "plain.png", tmp_path / "plain-copy").suffix == ".png"
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(SourceError, match="not a picture"):
        copy_picture(tmp_path / "text.png", tmp_path / "text-copy")


def test_numbers_in_words():
    assert [duration(value) for value in (None, 59.6, 150, 8000)] == ["–", "60 s", "2 min", "2 h 13 min"]
    assert [millions(value) for value in (None, 29.2e6, 2.5e9)] == ["–", "29.2 M", "2.5 G"]
    assert [gain("psnr_db", value) for value in (1.234, -1.234, -0.0001)] == ["+1.23", "−1.23", "0.00"]
    assert table(["a", "b", "c:"], [["1|2", "3", "4"]]) == "| a | b | c |\n| --- | ---: | --- |\n| 1\\|2 | 3 | 4 |"


def test_importing_it_imports_no_other_room():
    """The contract in CONTRIBUTING.md: train and export are imported inside functions."""
    modules = ", ".join(path.stem for path in Path(results_room.__file__).parent.glob("[!_]*.py"))
    code = f"from quietframe_bench.results import {modules}\nimport sys\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "quietframe_bench" in loaded
    assert not loaded & {"quietframe_train", "quietframe_export", "keras", "tensorflow", "matplotlib"}


def test_a_recipe_of_ones_own_has_a_row(results, make_run, tmp_path):
    run = make_run("dense-autoencoder", denoised("uniform0.9", 0.1, 18.0, 0.9), folder="mine")
    record = json.loads((run / "recipe.json").read_text())
    record["recipe"]["name"] = "mine"
    (run / "recipe.json").write_text(json.dumps(record))
    (entry,) = collect([run]).entries
    assert (entry.recipe, entry.name) == ("mine", "mine")
    assert replace(entry, files=()).finished
    _, page, _ = results(run)
    assert any(row[0] == "[`mine`](#mine)" for row in rows_of(page, "Digit denoisers"))
    assert "### mine" in page
