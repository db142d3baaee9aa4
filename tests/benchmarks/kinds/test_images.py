from __future__ import annotations

import numpy as np
import pytest

from quietframe import Denoiser
from quietframe.errors import SourceError
from quietframe.images import Image, read_image, write_image
from quietframe.noise import add_gaussian
from quietframe.noise.estimate import estimate_noise
from quietframe.quality import psnr_db, ssim
from quietframe_bench.candidates import ImageSettings
from quietframe_bench.kinds.images import int8_drops, measure_images
from quietframe_bench.plan import find_images


def test_figures_are_those_of_the_denoiser_on_seeded_noise(blur_file, picture_folder):
    settings = ImageSettings(picture_folder, sigmas_255=(10.0, 25.0), seed=3)
    rows = measure_images([blur_file], settings)
    assert [(row.candidate, row.sigma_255) for row in rows] == [
        ("noisy input", 10),
        ("noisy input", 25),
        (blur_file.name, 10),
        (blur_file.name, 25),
    ]
    denoise = Denoiser(blur_file)
    expected = {"noisy": [], "psnr": [], "ssim": []}
    for index, path in enumerate(find_images(picture_folder)):
        clean = read_image(path).pixels
        noisy = add_gaussian(clean, 25, np.random.default_rng([3, index, 25000]))
        expected["noisy"].append(psnr_db(clean, noisy))
        expected["psnr"].append(psnr_db(clean, denoise(noisy)))
        expected["ssim"].append(ssim(clean, denoise(noisy)))
    assert len(expected["psnr"]) == 4
    assert rows[1].mean("psnr_db") == pytest.approx(np.mean(expected["noisy"]))
    assert rows[3].mean("psnr_db") == pytest.approx(np.mean(expected["psnr"]))
    assert rows[3].mean("ssim") == pytest.approx(np.mean(expected["ssim"]))
    # A 3×3 mean on smooth pictures: the noise falls to a third.
    assert 5 < rows[3].mean("psnr_db") - rows[1].mean("psnr_db") < 9.6


def test_gray_pictures_are_judged_as_gray_frames_through_a_colour_model(denoiser_file, blur_file, tmp_path):
    # Gray noise is one plane: the colour model sees it three times, and what it gives is brought back to one.
    clean = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8) + 60
    write_image(tmp_path / "gray.png", Image(clean))
    settings = ImageSettings(tmp_path, (25.0,))
    noisy, blurred, conditioned = measure_images([blur_file, denoiser_file], settings)
    frame = add_gaussian(clean, 25, np.random.default_rng([0, 0, 25000]))
    assert frame.ndim == 2
    assert noisy.mean("psnr_db") == pytest.approx(psnr_db(clean, frame))
    assert noisy.mean("estimated_sigma_255") == pytest.approx(estimate_noise(frame))
    for row, file in ((blurred, blur_file), (conditioned, denoiser_file)):
        result = Denoiser(file)(frame)
        assert result.shape == frame.shape
        assert row.mean("psnr_db") == pytest.approx(psnr_db(clean, result))
        assert row.mean("ssim") == pytest.approx(ssim(clean, result))


def test_the_level_is_estimated_and_not_the_true_one(denoiser_file, picture_folder):
    # This model adds the level that is passed to it: the brightness shows what that was.
    settings = ImageSettings(picture_folder, sigmas_255=(20.0,))
    noisy, conditioned = measure_images([denoiser_file], settings)
    estimated = noisy.mean("estimated_sigma_255")
    assert 15 < estimated < 25
    assert estimated != 20
    for name, figures in conditioned.by_image.items():
        level = noisy.by_image[name]["estimated_sigma_255"]
        noisy_mse = 255**2 / 10 ** (noisy.by_image[name]["psnr_db"] / 10)
        mse = 255**2 / 10 ** (figures["psnr_db"] / 10)
        assert mse == pytest.approx(noisy_mse + level**2, rel=0.3)


def test_the_same_seed_gives_the_same_figures(blur_file, picture_folder):
    first, again, other = (
        measure_images([blur_file], ImageSettings(picture_folder, (25.0,), seed=seed, limit=2)) for seed in (0, 0, 1)
    )
    assert [row.by_image for row in first] == [row.by_image for row in again]
    assert [row.by_image for row in first] != [row.by_image for row in other]
    assert [len(row.by_image) for row in first] == [2, 2]


def test_pictures_that_fail_are_named_and_the_others_count(blur_file, picture_folder):
    (picture_folder / "broken.png").write_bytes(b"\x89PNG not really")
    rows = measure_images([blur_file], ImageSettings(picture_folder, (25.0,)))
    for row in rows:
        assert list(row.failed_images) == ["broken.png"]
        assert row.images == 4


def test_models_that_fail_are_failed_rows(blur_file, classifier_file, picture_folder, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_text("no model")
    rows = measure_images([bad, classifier_file, blur_file], ImageSettings(picture_folder, (25.0,), limit=1))
    errors = {row.candidate: row.error for row in rows}
    assert "not a LiteRT model" in errors["bad.tflite"]
    assert "does classify, not denoise" in errors[classifier_file.name]
    assert errors[blur_file.name] is errors["noisy input"] is None


def test_int8_is_compared_with_fp32_of_the_same_name(make_model, picture_folder):
    exact = make_model("exact.fp32", dtype="float32")
    brighter = make_model("brighter.int8", dtype="uint8", offset_255=9)
    other = make_model("other.int8", dtype="uint8", card_changes={"name": "another"})
    rows = measure_images([exact, brighter, other], ImageSettings(picture_folder, (15.0, 25.0), limit=2))
    drops = int8_drops(rows)
    assert [(drop.name, drop.sigma_255, drop.int8_file, drop.fp32_file) for drop in drops] == [
        ("tiny-denoise", sigma_255, brighter.name, exact.name) for sigma_255 in (15, 25)
    ]
    by_name = {(row.candidate, row.sigma_255): row for row in rows}
    for drop in drops:
        int8, fp32 = (by_name[name, drop.sigma_255].mean("psnr_db") for name in (drop.int8_file, drop.fp32_file))
        assert drop.psnr_db == pytest.approx(int8 - fp32)
        assert drop.psnr_db < -0.3


def test_a_folder_without_pictures_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="no images"):
        find_images(tmp_path)
